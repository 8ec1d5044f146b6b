"""Genomes as people name them: a preset, a file, or the first digits of an id in a store."""

from pathlib import Path

import msgspec

from genome import Genome
from node.errors import NotFoundError
from node.store.records import Reader

__all__ = ["genome_of_file", "named_genome"]

MOST_BYTES = 64 * 1024


def genome_of_file(path: Path) -> Genome:
    """The genome in a JSON file as `eqmesh genome export` writes it. Raises NotFoundError, GenomeError."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise NotFoundError(
            f"{path} cannot be read: {error.strerror}. Name a JSON file of a genome."
        ) from error
    if len(body) > MOST_BYTES:
        raise NotFoundError(f"a genome's file has at most {MOST_BYTES} bytes, {path} has {len(body)}.")
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise NotFoundError(
            f"{path} is no JSON: {error}. `eqmesh genome export` writes such a file."
        ) from error
    if isinstance(document, dict):
        document = {key: document[key] for key in ("space", "genes") if key in document}
    return Genome.from_json(document)


def named_genome(text: str, store: Path) -> Genome:
    """The genome that `text` names: a file where it ends in .json or exists, else an id in `store`."""
    if text.endswith(".json") or Path(text).is_file():
        return genome_of_file(Path(text))
    with Reader(store) as reader:
        return reader.genome(reader.resolve(text))

"""Genomes as people name them: a preset, a file, or the first digits of an id in a store."""

from pathlib import Path

import msgspec

from evaluator.tasks import DatasetTask, Task
from genome import Genome
from genome.spaces import SPACES
from node.errors import NotFoundError
from node.store.records import Reader

__all__ = ["genome_of_file", "named_genome", "space_source"]

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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
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


def space_source(genome: Genome, given: str, task: Task) -> str:
    """Where the space of a genome is found: as `given`, else empty for the task's own, else a built-in one's name.

    A task without networks has its own space alone.
    """
    if given or genome.space == task.space.id or not isinstance(task, DatasetTask):
        return given
    return next((name for name, space in SPACES.items() if space.id == genome.space), given)

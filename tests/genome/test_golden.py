import json

import pytest

from genome import Genome
from tests.genome.golden import FOLDER, documents

NAMES = (
    "genomes.json",
    "presets.json",
    "births.json",
    "mlp-1.json",
    "family-presets.json",
    "family-1.json",
    "cube-1.json",
    "conv-1.json",
    "incremental-1.json",
    "lineage.csv",
    "lineage.graphml",
    "lineage.newick",
    "lineage.dot",
    "lineage.json",
)


def test_every_golden_document_is_held() -> None:
    assert set(documents()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_golden_documents_never_change(name: str) -> None:
    assert documents()[name] == (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["genomes.json", "presets.json", "family-presets.json"])
def test_golden_bytes_decode_to_the_golden_genomes(name: str) -> None:
    golden = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    for entry in golden.values():
        genome = Genome.decode(bytes.fromhex(entry["bytes"]))
        assert genome.id == entry["id"]
        assert genome == Genome.from_json({"space": entry["space"], "genes": entry["genes"]})

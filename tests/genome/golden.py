"""Documents that must never change, and the code that writes those that are missing.

`python -m tests.genome.golden` writes what does not exist yet into tests/golden. It never overwrites: an id or a
birth that was ever published stays, and a changed operator or format gets a new version instead.
"""

import json
from pathlib import Path

from genome import MLP, PRESETS, Birth, Entry, Genome, Lineage, preset, replay
from genome.formats import FORMATS, export
from genome.spaces import SPACES

FOLDER = Path(__file__).parent.parent / "golden"

EDGES = {
    "empty": Genome("toy/1", {}),
    "types": Genome("toy/1", {"whole": 1, "real": 1.0, "word": "1"}),
    "integers": Genome("toy/9999", {"a": 0, "b": 127, "c": 128, "d": -33, "e": 2**63 - 1, "f": -(2**63)}),
    "floats": Genome("toy/1", {"a": 0.1, "b": -0.0, "c": 5e-324, "d": 1.7976931348623157e308}),
    "words": Genome("toy/1", {"a": "", "b": "x" * 64, "c": "~ !"}),
    "order": Genome("toy/1", [("b", 2), ("a", 1), ("B", 3), ("a.b", 4), ("a_b", 5)]),
}

# Not the presets: their numbers may be tuned, and births must not change with them.
PARENTS = (
    MLP.genome(MLP.repair({"output": "mse", "optimizer": "sgd", "width1": 100, "beta_mse": 0.123456789})),
    MLP.genome(MLP.repair({"depth": 3, "optimizer": "muon", "scheme": "synchronous", "momentum": 0.95})),
    MLP.genome(MLP.repair({"credit": "backprop", "optimizer": "adamw", "lr_adam": 0.001})),
)


def lineage() -> Lineage:
    """A small lineage with a crossover, a failure, an unknown parent and names that need escaping."""
    return Lineage(
        [
            Entry("aa", (), "preset/ep", 0, {"accuracy": 0.5, "size & cost": 2.0}),
            Entry("bb", (), "random/1", 1, {"accuracy": 0.25, "size & cost": 1.5}),
            Entry("cc", ("aa", "bb"), "cross/1", 2, {"accuracy": 0.75, "size & cost": 1e-9}),
            Entry("d'd", ("cc",), "mutate/1", 3, None),
            Entry(
                '<e"e>', ("d'd", "ff"), "cross/1", 4, {"accuracy": float("nan"), "size & cost": float("inf")}
            ),
        ]
    )


def documents() -> dict[str, str]:
    """Text by file name."""
    every = {name: preset(name) for name in PRESETS}
    presets = {name: found for name, found in every.items() if found.space == MLP.id}
    family = {name: found for name, found in every.items() if found.space != MLP.id}
    presets["shallow@fashion-mnist"] = preset("shallow", "fashion-mnist")
    genomes = {**EDGES, **{f"parent {number}": parent for number, parent in enumerate(PARENTS)}}
    parents = {parent.id: parent for parent in PARENTS}
    one, two, three = parents
    births = []
    for seed in (0, 1, 2, 7, 2**31, 2**63 - 1):
        for operator, known in (
            ("random/1", ()),
            ("mutate/1", (one,)),
            ("mutate/1", (two,)),
            ("cross/1", (one, two)),
            ("cross/1", (three, two)),
        ):
            child = replay(Birth(known, operator, seed), MLP, parents)
            births.append({"parents": known, "operator": operator, "seed": seed, "child": child.id})
    tables = {space.name: {gene.name: gene.table for gene in space.genes} for space in SPACES.values()}
    return {
        "genomes.json": _json({name: _held(genome) for name, genome in genomes.items()}),
        "presets.json": _json({name: _held(genome) for name, genome in presets.items()}),
        "births.json": _json(births),
        "mlp-1.json": _json(tables["mlp"]),
        "family-presets.json": _json({name: _held(genome) for name, genome in family.items()}),
        **{f"{name}-1.json": _json(tables[name]) for name in ("family", "cube", "conv", "incremental")},
        **{f"lineage.{name}": export(lineage(), name) for name in FORMATS},
    }


def _held(genome: Genome) -> dict[str, object]:
    return {**genome.as_json(), "bytes": genome.canonical().hex(), "id": genome.id}


def _json(document: object) -> str:
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    for name, text in documents().items():
        path = FOLDER / name
        if not path.exists():
            path.write_text(text, encoding="utf-8")

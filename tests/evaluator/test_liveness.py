"""No phantom knobs: wherever a gene is expressed, another value of it gives another trained network."""

from typing import Any

import pytest

from evaluator.build import build
from evaluator.plan import Plan
from evaluator.tasks import resolve
from evaluator.train import fingerprint, train
from genome import Choice, Genome, preset
from genome.spaces import MLP

KEY = bytes(range(32))
DATA = resolve("digits").load()  # type: ignore[attr-defined]
X, Y = DATA.train_x[:96], DATA.train_y[:96]

_SMALL = {"width1": 24, "width2": 16, "width3": 12, "batch": 32}
CONTEXTS: dict[str, dict[str, Any]] = {
    "shallow": dict(preset("shallow").values),
    "deep": dict(preset("deep").values) | {"free_steps": 3},
    "mse": dict(preset("ep").values),
    "smep": dict(preset("smep").values) | {"gamma": 0.3, "tolerance": 0.1},
    "backprop": dict(preset("backprop").values),
    "backprop-deep": dict(preset("backprop-deep").values) | {"depth": 3, "skip": "two"},
    "three-synchronous": dict(preset("deep").values)
    | {
        "depth": 3,
        "scheme": "synchronous",
        "step_size": 0.5,
        "optimizer": "sgd",
        "lr_sgd": 0.1,
        "momentum": 0.5,
    },
    "tolerant": dict(preset("ep").values) | {"stop": "tolerance", "tolerance": 1e-2, "free_steps": 16},
    "decayed": dict(preset("shallow").values)
    | {"optimizer": "adamw", "weight_decay": 1e-2, "estimate": "one-sided"},
    "linearised": dict(preset("deep").values)
    | {"estimate": "linearised", "skip": "two", "optimizer": "adam", "gain": 1.0},
    "capped": dict(preset("ep").values) | {"spectral": "clip", "gamma": 0.3},
}
FILL = {
    "gain": 0.5,
    "beta_ce": 0.5,
    "beta_mse": 0.2,
    "scheme": "block",
    "order": "forward-backward",
    "free_steps": 3,
    "stop": "fixed",
    "spectral": "off",
    "lr_adam": 0.004,
    "momentum": 0.9,
    "lr_sgd": 0.05,
    "lr_muon": 0.02,
    "lr_bias": 1e-3,
    "ns_steps": 3,
    "weight_decay": 1e-2,
    "tolerance": 0.1,
    "step_size": 0.5,
    "gamma": 0.3,
    "estimate": "centred",
    "nudged_steps": 2,
    "clip": 1.0,
}


def genome(context: str, **changes: Any) -> Genome:
    return MLP.genome(FILL | CONTEXTS[context] | _SMALL | changes)


def trajectory(found: Genome) -> str:
    learner = build(dict(found.values), inputs=64, classes=10, seed=KEY, arithmetic="fp32", backend="auto")
    plan = Plan(
        examples=len(X),
        epochs=2,
        batch=int(found["batch"]),
        key=KEY,
        schedule=str(found["schedule"]),
        checkpoints=1,
    )
    train(learner, X, Y, plan, score=lambda _: 0.0)
    # Weights alone: a counter or an optimizer's slot would make a dead gene look alive.
    return fingerprint(learner.parameters())


def others(found: Genome, name: str) -> list[Any]:
    """Values to hold against the present one: every option of a choice, both ends of a range."""
    gene = MLP.by_name[name]
    levels = [level for level in gene.table if not name.startswith("width") or int(level) <= 64]
    tried = levels if isinstance(gene, Choice) else [levels[0], levels[-1]]
    return [value for value in tried if value != found[name]]


CASES = [
    pytest.param(context, name, id=f"{context}-{name}")
    for context in CONTEXTS
    for name in MLP.expressed(genome(context).as_json()["genes"])  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("context", "name"), CASES)
def test_another_value_gives_another_network(context: str, name: str) -> None:
    """Every option of a choice has to; of a range one end is enough (a cap beyond reach binds nothing)."""
    found = genome(context)
    before = trajectory(found)
    changed = [genome(context, **{name: value}) for value in others(found, name)]
    assert found.id not in {other.id for other in changed}
    alive = [trajectory(other) != before for other in changed]
    assert all(alive) if isinstance(MLP.by_name[name], Choice) else any(alive)


def test_every_gene_is_tried_where_it_is_expressed() -> None:
    assert {case.values[1] for case in CASES} == set(MLP.by_name)

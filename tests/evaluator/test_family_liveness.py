"""No phantom knobs in the spaces of the family: wherever a gene is expressed, another value gives another network."""

import functools
from typing import Any

import pytest

from evaluator.build import build
from evaluator.curriculum import curriculum_of
from evaluator.plan import Plan
from evaluator.tasks import resolve
from evaluator.train import fingerprint, train
from genome import Choice, Genome, SearchSpace, preset
from genome.spaces import CONV, CUBE, FAMILY, SPACES

KEY = bytes(range(32))
TASK = resolve("digits")
DATA = TASK.load()  # type: ignore[attr-defined]
X, Y = DATA.train_x[:96], DATA.train_y[:96]

SMALL = {
    "width1": 16,
    "width2": 12,
    "width3": 8,
    "batch": 16,
    "side": 3,
    "channels1": 4,
    "channels2": 4,
    "channels3": 2,
}
ASLEEP = {"sleep": "on", "sleep_every": 4, "sleep_rate": 0.01, "sleep_steps": 2}
STOPPED = {"stop": "tolerance", "tolerance": 0.02}
CAPPED = {"spectral": "clip", "gamma": 0.3}
# Name: the preset that it is made from, and what is changed.
CONTEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    "holomorphic": ("holomorphic", {**ASLEEP, "damping": 0.8, "settle_momentum": 0.2}),
    "coupled": ("coupled", {**STOPPED, "optimizer": "adamw", "weight_decay": 0.01}),
    "contrastive-hebbian": ("contrastive-hebbian", {**CAPPED, "optimizer": "muon", "depth": 2}),
    "held-synchronous": ("coupled", {"scheme": "synchronous"}),
    "continual": ("continual", {"depth": 3, **STOPPED, "momentum": 0.5}),
    "predictive-coding": ("predictive-coding", {"weight_bits": "8"}),
    "feedback-alignment": ("feedback-alignment", {"depth": 2}),
    "kolen-pollack": ("kolen-pollack", {}),
    "mirror": ("kolen-pollack", {"feedback": "mirror", "feedback_rate": 0.05, "schedule": "cosine"}),
    "homeostatic": ("homeostatic", {"depth": 2}),
    "sdmep": ("sdmep", {"gamma": 0.3, **STOPPED, "curriculum": "hard-first"}),
    "sparse": ("sparse", {"damping": 0.5}),
    "synchronous": ("sparse", {"depth": 3, "skip": "two", "scheme": "synchronous", "step_size": 0.5, **ASLEEP}),
    "linearised": ("sparse", {"estimate": "linearised", "depth": 2}),
    "backprop": ("sparse", {"credit": "backprop", "depth": 3, "optimizer": "dion", "curriculum": "easy-first"}),
    "looped": ("looped", {"gamma": 0.3}),
    "cube": ("cube", {**STOPPED, **ASLEEP, "curriculum": "easy-first"}),
    "cube-untied": ("cube", {"feedback": "homeostatic", "settle_momentum": 0.3, **CAPPED}),
    "cube-sgd": ("cube", {"optimizer": "sgd", "scheme": "synchronous"}),
    "cube-muon": ("cube", {"optimizer": "muon", "damping": 0.5}),
    "cube-dion": ("cube", {"optimizer": "dion", "feedback": "mirror"}),
    "cube-adamw": ("cube", {"optimizer": "adamw"}),
    "cube-clip": ("cube", {"activation": "clip"}),
    "cube-coupled": ("cube", {"output": "mse", "rule_mse": "coupled", "tolerance": 0.1, "free_steps": 12}),
    "conv-sgd": ("conv", {"layers": 2, "optimizer": "sgd", "scheme": "synchronous"}),
    "conv-muon": ("conv", {"optimizer": "muon"}),
    "conv-dion": ("conv", {"optimizer": "dion"}),
    "conv-adamw": ("conv", {"optimizer": "adamw", "rule_ce": "predictive-coding"}),
    "cube-holomorphic": ("cube", {"rule_ce": "holomorphic", "output": "ce"}),
    "conv": ("conv", {**ASLEEP, "layers": 3, "settle_momentum": 0.3}),
    "conv-four": ("conv", {"layers": 4, "pool": "avg", "gain": 1.0}),
    "conv-mse": ("conv", {"output": "mse", "layers": 2, **CAPPED, **STOPPED}),
    "conv-shallow": ("conv", {"kernel": "5", "pool": "avg", "curriculum": "hard-first"}),
}  # fmt: skip
FILL = {
    "activation": "clip", "activation_smooth": "tanh", "clip": 0.9, "gain": 0.5, "beta_ce": 0.5, "beta_mse": 0.2,
    "scheme": "block", "order": "forward-backward", "free_steps": 6, "nudged_steps": 3, "stop": "fixed",
    "tolerance": 0.02, "step_size": 0.5, "damping": 1.0, "settle_momentum": 0.0, "keep": 0.8, "weight_bits": "32",
    "sleep": "off", "sleep_every": 4, "sleep_rate": 0.01, "sleep_steps": 2, "feedback": "tied", "feedback_rate": 0.05,
    "homeostasis": 0.1, "points": 4, "optimizer": "adam", "lr_adam": 0.01, "lr_sgd": 0.1, "lr_muon": 0.02,
    "lr_dion": 0.02, "lr_bias": 0.003, "momentum": 0.5, "weight_decay": 0.01, "ns_steps": 3, "rank_fraction": 0.5,
    "error_feedback": 0.5, "spectral": "off", "gamma": 0.3, "rule_ce": "plain", "rule_mse": "plain",
    "estimate": "centred", "looped": "off", "depth": 2, "loop_depth": 4, "skip": "none", "kernel": "3", "pool": "max",
    "curriculum": "none", "pace": 0.9,
}  # fmt: skip


def space_of(context: str) -> SearchSpace:
    return SPACES[preset(CONTEXTS[context][0]).space.removesuffix("/1")]


def genome(context: str, **changes: Any) -> Genome:
    space, (base, changed) = space_of(context), CONTEXTS[context]
    values = FILL | dict(preset(base).values) | changed | SMALL | changes
    return space.genome({name: value for name, value in values.items() if name in space.by_name})


@functools.cache
def trajectory(found: Genome) -> str:
    # A fourth pool leaves nothing of 8 x 8 pixels: there every pixel is taken as four.
    scale = 2 if dict(found.values).get("layers") == 4 else 1
    x = X.reshape(-1, 8, 8).repeat(scale, 1).repeat(scale, 2).reshape(len(X), -1)
    learner = build(
        dict(found.values),
        inputs=x.shape[1],
        classes=10,
        seed=KEY,
        arithmetic="fp32",
        backend="auto",
        image=(1, 8 * scale, 8 * scale),
    )
    plan = Plan(
        examples=len(X),
        epochs=2,
        batch=int(found["batch"]),
        key=KEY,
        schedule=str(found["schedule"]),
        checkpoints=1,
        curriculum=curriculum_of(dict(found.values)),
    )
    train(learner, x, Y, plan, score=None)
    # Forward weights alone: feedback of its own is there whether it is read or not.
    return fingerprint({name: value for name, value in learner.parameters().items() if name[0] != "f"})


def others(found: Genome, space: SearchSpace, name: str) -> list[Any]:
    """Values to hold against the present one: every option of a choice, both ends of a range."""
    gene = space.by_name[name]
    levels = [level for level in gene.table if not name.startswith("width") or int(level) <= 64]
    tried = levels if isinstance(gene, Choice) else [levels[0], levels[-1]]
    return [value for value in tried if value != found[name]]


CASES = [
    pytest.param(context, name, id=f"{context}-{name}")
    for context in CONTEXTS
    for name in dict(genome(context).values)
    # One option, which is read and cannot be another.
    if len(space_of(context).by_name[name].table) > 1
]


@pytest.mark.parametrize(("context", "name"), CASES)
def test_another_value_gives_another_network(context: str, name: str) -> None:
    """Every option of a choice has to; of a range one end is enough (a cap beyond reach binds nothing)."""
    found, space = genome(context), space_of(context)
    changed = [genome(context, **{name: value}) for value in others(found, space, name)]
    assert found.id not in {other.id for other in changed}
    alive = [trajectory(other) != trajectory(found) for other in changed]
    assert all(alive) if isinstance(space.by_name[name], Choice) else any(alive)


@pytest.mark.parametrize("space", [FAMILY, CUBE, CONV], ids=lambda space: space.name)
def test_every_gene_is_tried_where_it_is_expressed(space: SearchSpace) -> None:
    tried = {case.values[1] for case in CASES if space_of(str(case.values[0])) is space}
    assert tried == {gene.name for gene in space.genes if len(gene.table) > 1}

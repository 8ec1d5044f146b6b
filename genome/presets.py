"""Known good genomes to start from and to compare with. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from genome.conditions import Value
from genome.errors import GenomeError
from genome.genome import Genome
from genome.incremental import REGIMES
from genome.quoting import hint, show
from genome.space import SearchSpace
from genome.spaces import CONV, CUBE, FAMILY, INCREMENTAL, MLP

__all__ = ["PRESETS", "preset", "preset_operator"]


@dataclass(frozen=True)
class _Preset:
    doc: str
    values: Mapping[str, Value]
    by_task: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    space: SearchSpace = MLP


_SHALLOW: dict[str, Value] = {
    "credit": "ep", "depth": 1, "width1": 512, "skip": "none", "output": "ce", "clip": 1.0, "estimate": "centred",
    "beta_ce": 1.0, "nudged_steps": 1, "optimizer": "adam", "lr_adam": 0.004, "batch": 128, "schedule": "linear",
}  # fmt: skip
_DEEP: dict[str, Value] = {
    "credit": "ep", "depth": 2, "width1": 512, "width2": 512, "skip": "none", "output": "ce", "clip": 1.0,
    "gain": 0.5, "estimate": "centred", "beta_ce": 1.0, "scheme": "block", "order": "forward-backward",
    "free_steps": 6, "nudged_steps": 3, "stop": "fixed", "optimizer": "muon", "lr_muon": 0.02, "lr_bias": 0.001,
    "momentum": 0.95, "ns_steps": 3, "spectral": "off", "batch": 512, "schedule": "linear",
}  # fmt: skip
_EP: dict[str, Value] = {
    "credit": "ep", "depth": 1, "width1": 256, "skip": "none", "output": "mse", "clip": 1.0,
    "estimate": "centred", "beta_mse": 0.2, "scheme": "block", "order": "forward-backward", "free_steps": 4,
    "nudged_steps": 2, "stop": "fixed", "optimizer": "sgd", "lr_sgd": 0.1, "momentum": 0.9, "spectral": "off",
    "batch": 128, "schedule": "linear",
}  # fmt: skip
_MUON: dict[str, Value] = {
    "optimizer": "muon", "lr_muon": 0.02, "lr_bias": 0.001, "momentum": 0.95, "ns_steps": 5, "spectral": "clip",
    "gamma": 1.0,
}  # fmt: skip
_BASELINE: dict[str, Value] = {**_EP, "credit": "backprop", "lr_sgd": 0.2}
# What a genome of the family has beyond `mlp/1`, at its plain values.
_OPEN: dict[str, Value] = {
    "credit": "ep", "clip": 1.0, "activation": "clip", "keep": 1.0, "weight_bits": "32", "feedback": "tied",
    "damping": 1.0, "settle_momentum": 0.0, "sleep": "off", "scheme": "block", "order": "forward-backward",
    "stop": "fixed", "spectral": "off", "optimizer": "adam", "lr_adam": 0.01, "batch": 16, "schedule": "linear",
    "curriculum": "none",
}  # fmt: skip
_OPEN_CE: dict[str, Value] = {
    **_OPEN, "output": "ce", "rule_ce": "plain", "estimate": "centred", "beta_ce": 0.5, "free_steps": 6,
    "nudged_steps": 3, "gain": 0.5,
}  # fmt: skip
_DENSE: dict[str, Value] = {"looped": "off", "skip": "none", "depth": 1, "width1": 128}
_FAMILY_CE: dict[str, Value] = {**_OPEN_CE, **_DENSE}
_FAMILY_TWO: dict[str, Value] = {**_FAMILY_CE, "depth": 2, "width2": 64, "lr_adam": 0.003}
_FAMILY_MSE: dict[str, Value] = {
    **_OPEN, **_DENSE, "output": "mse", "rule_mse": "plain", "estimate": "centred", "beta_mse": 0.2, "free_steps": 6,
    "nudged_steps": 4, "optimizer": "sgd", "lr_sgd": 0.1, "momentum": 0.9, "batch": 32,
}  # fmt: skip
# The shape of 'ep' and its sweeps, on the tasks where optimizers are compared.
_AS_EP: dict[str, Value] = {"width1": 256, "batch": 128, "free_steps": 4, "nudged_steps": 2}


def _family(doc: str, base: Mapping[str, Value], space: SearchSpace = FAMILY, /, **changes: Value) -> _Preset:
    """A preset of the family; genes of the base that its space does not have are left out."""
    merged = {**base, **changes}
    return _Preset(doc, {name: merged[name] for name in merged if name in space.by_name}, space=space)


_ALL = {
    "backprop": _Preset(
        "Backpropagation baseline in the shape of 'shallow', with Adam.",
        {**_SHALLOW, "credit": "backprop"},
    ),
    "backprop-deep": _Preset(
        "Backpropagation baseline in the shape of 'deep', with Adam.",
        {**_DEEP, "credit": "backprop", "gain": 1.0, "optimizer": "adam", "lr_adam": 0.002, "batch": 128},
    ),
    "ep": _Preset("Vanilla EP: output inside the energy, centred estimate, SGD with momentum.", _EP),
    "smep": _Preset("SMEP: vanilla EP with Muon and spectral clipping.", {**_EP, **_MUON}),
    "muon": _Preset("Vanilla EP with Muon, no spectral clipping.", {**_EP, **_MUON, "spectral": "off"}),
    "sgd": _Preset("Backpropagation baseline in the shape of 'ep', with SGD.", _BASELINE),
    "adam": _Preset(
        "Backpropagation baseline in the shape of 'ep', with Adam.",
        {**_BASELINE, "optimizer": "adam", "lr_adam": 0.002},
    ),
    "adamw": _Preset(
        "Backpropagation baseline in the shape of 'ep', with AdamW.",
        {**_BASELINE, "optimizer": "adamw", "lr_adam": 0.002, "weight_decay": 0.01},
    ),
    "shallow": _Preset(
        "EP seed genome, one hidden layer: softmax readout, one nudged sweep, Adam.",
        _SHALLOW,
        {"fashion-mnist": {"lr_adam": 0.002}},
    ),
    "deep": _Preset("EP seed genome, two hidden layers: block sweeps, Muon.", _DEEP),
    "deep-capped": _Preset(
        "Two hidden layers that settle in three sweeps: 'deep' with its spectral norm clipped at 1.",
        {**_DEEP, "free_steps": 2, "nudged_steps": 1, "spectral": "clip", "gamma": 1.0, "lr_muon": 0.04},
    ),
    "backprop-family": _family(
        "Backpropagation in the shape of the family's presets, with Adam: the baseline of its searches.",
        _FAMILY_CE,
        credit="backprop",
    ),
    "holomorphic": _family(
        "Holomorphic EP: four complex nudges on a circle, logistic states, two hidden layers.",
        _FAMILY_TWO,
        rule_ce="holomorphic",
        activation_smooth="logistic",
        points=4,
        # As logits grow, the poles of the softmax come nearer: a circle of radius 0.5 diverged within 40 epochs.
        beta_ce=0.2,
        lr_adam=0.005,
    ),
    "coupled": _family(
        "Coupled learning: the output is held a little nearer to and further from the label.",
        _FAMILY_MSE,
        rule_mse="coupled",
    ),
    "contrastive-hebbian": _family(
        "Contrastive Hebbian learning: the output is held at the label, and compared with the free phase.",
        _FAMILY_MSE,
        rule_mse="contrastive-hebbian",
    ),
    "continual": _family(
        "Continual EP: the weights move at every sweep of the nudged phase, by SGD.",
        _FAMILY_CE,
        rule_ce="continual",
        nudged_steps=2,
        lr_sgd=0.2,
        momentum=0.0,
    ),
    "predictive-coding": _family(
        "Predictive coding: values and their errors settle, tanh, two hidden layers.",
        _FAMILY_TWO,
        rule_ce="predictive-coding",
        activation="tanh",
        step_size=0.1,
        nudged_steps=8,
    ),
    "feedback-alignment": _family(
        "Centred EP whose states come down through random weights that never learn.",
        _FAMILY_CE,
        feedback="fixed",
    ),
    "kolen-pollack": _family(
        "Centred EP whose feedback takes the forward weights' steps, while both decay.",
        _FAMILY_CE,
        feedback="kolen-pollack",
        feedback_rate=0.001,
    ),
    "homeostatic": _family(
        "Centred EP whose feedback learns by the rule and by a pull towards a symmetric Jacobian.",
        _FAMILY_CE,
        feedback="homeostatic",
        homeostasis=0.1,
        activation="logistic",
    ),
    "sdmep": replace(
        _family(
            "SDMEP: EP with a squared error, Dion with error feedback, and spectral clipping.",
            _FAMILY_MSE,
            optimizer="dion",
            lr_dion=0.02,
            lr_bias=0.001,
            momentum=0.95,
            rank_fraction=0.25,
            error_feedback=1.0,
            spectral="clip",
            gamma=1.0,
            batch=16,
        ),
        by_task={"mnist": _AS_EP, "fashion-mnist": _AS_EP},
    ),
    "sparse": _family(
        "Centred EP with three of ten hidden units active at once.", _FAMILY_CE, keep=0.3, lr_adam=0.003
    ),
    "ternary": _family(
        "Centred EP on weights of three values, learned behind them in float32.", _FAMILY_CE, weight_bits="2"
    ),
    "looped": _family(
        "Centred EP with four hidden layers that share the weights between them, tanh, capped.",
        _FAMILY_TWO,
        looped="on",
        loop_depth=4,
        width1=96,
        activation="tanh",
        free_steps=8,
        nudged_steps=4,
        spectral="clip",
        gamma=0.7,
    ),
    "cube": _family(
        "Centred EP on a cube of 4 x 4 x 4 units that know their neighbours alone, tanh.",
        _OPEN_CE,
        CUBE,
        side=4,
        activation="tanh",
        gain=1.0,
        free_steps=8,
        nudged_steps=4,
        lr_adam=0.003,
    ),
    "conv": _family(
        "Centred EP with 16 filters of 3 x 3 and a maximum pool, for tasks whose inputs are images.",
        _OPEN_CE,
        CONV,
        layers=1,
        channels1=16,
        kernel="3",
        pool="max",
        free_steps=4,
    ),
    "conv-small": _family(
        "Centred EP with 64 filters of 5 x 5 and a maximum pool: an epoch of CIFAR-10 in a minute of one core.",
        _OPEN_CE,
        CONV,
        layers=1,
        channels1=64,
        kernel="5",
        pool="max",
        lr_adam=0.001,
        batch=64,
    ),
    "conv-recipe": _family(
        "What published EP networks of four convolutions are, on CIFAR-10: two months of one core.",
        _OPEN,
        CONV,
        output="mse",
        rule_mse="plain",
        estimate="centred",
        layers=4,
        channels1=128,
        channels2=256,
        channels3=512,
        kernel="3",
        pool="max",
        gain=0.5,
        beta_mse=0.2,
        free_steps=60,
        nudged_steps=20,
        optimizer="sgd",
        lr_sgd=0.03,
        momentum=0.9,
        batch=128,
        schedule="cosine",
    ),
    **{name: _Preset(each.doc, each.values, each.by_task, INCREMENTAL) for name, each in REGIMES.items()},
}

PRESETS: Mapping[str, str] = MappingProxyType({name: entry.doc for name, entry in _ALL.items()})
"""What each preset is, by name."""


def preset(name: str, task: str | None = None) -> Genome:
    """The preset's genome, of the space that it is of, with the numbers tuned for `task` where there are such.

    Raises GenomeError for a name that is no preset, with the nearest one that is. A task without numbers of
    its own gets the general ones.
    """
    entry = _entry(name)
    tuned = entry.by_task.get(task, {}) if task is not None else {}
    return entry.space.genome({**entry.values, **tuned})


def preset_operator(name: str, task: str | None = None) -> str:
    """The birth operator of `preset(name, task)`: 'preset/NAME', or 'preset/NAME@TASK' where the task matters."""
    return f"preset/{name}@{task}" if task in _entry(name).by_task else f"preset/{name}"


def _entry(name: str) -> _Preset:
    if not isinstance(name, str) or name not in _ALL:
        raise GenomeError(f"a preset expects one of {', '.join(_ALL)}; got {show(name)}.{hint(name, _ALL)}")
    return _ALL[name]

"""Known good genomes to start from and to compare with. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from genome.conditions import Value
from genome.errors import GenomeError
from genome.genome import Genome
from genome.quoting import hint, show
from genome.spaces import MLP

__all__ = ["PRESETS", "preset", "preset_operator"]


@dataclass(frozen=True)
class _Preset:
    doc: str
    values: Mapping[str, Value]
    by_task: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)


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
    "shallow": _Preset(
        "EP seed genome, one hidden layer: softmax readout, one nudged sweep, Adam.",
        _SHALLOW,
        {"fashion-mnist": {"lr_adam": 0.002}},
    ),
    "deep": _Preset("EP seed genome, two hidden layers: block sweeps, Muon.", _DEEP),
}

PRESETS: Mapping[str, str] = MappingProxyType({name: entry.doc for name, entry in _ALL.items()})
"""What each preset is, by name."""


def preset(name: str, task: str | None = None) -> Genome:
    """The preset's genome of space 'mlp/1', with the numbers tuned for `task` where there are such.

    Raises GenomeError for a name that is no preset, with the nearest one that is. A task without numbers of
    its own gets the general ones.
    """
    entry = _entry(name)
    return MLP.genome({**entry.values, **(entry.by_task.get(task, {}) if task is not None else {})})


def preset_operator(name: str, task: str | None = None) -> str:
    """The birth operator of `preset(name, task)`: 'preset/NAME', or 'preset/NAME@TASK' where the task matters."""
    return f"preset/{name}@{task}" if task in _entry(name).by_task else f"preset/{name}"


def _entry(name: str) -> _Preset:
    if not isinstance(name, str) or name not in _ALL:
        raise GenomeError(f"a preset expects one of {', '.join(_ALL)}; got {show(name)}.{hint(name, _ALL)}")
    return _ALL[name]

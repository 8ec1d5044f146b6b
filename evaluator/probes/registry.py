"""All probes by name, and the one way to run them. Pure."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec

from evaluator.errors import EvaluatorError
from evaluator.probes.alignment import Alignment, AlignmentSettings, alignment
from evaluator.probes.difficulty import Difficulty, DifficultySettings, difficulty
from evaluator.probes.energy import Energy, EnergySettings, energy
from evaluator.probes.lyapunov import Lyapunov, LyapunovSettings, lyapunov
from evaluator.probes.oscillation import Oscillation, OscillationSettings, oscillation
from evaluator.probes.propagation import Propagation, PropagationSettings, propagation
from evaluator.probes.robustness import Robustness, RobustnessSettings, robustness
from evaluator.probes.scaling import Scaling, ScalingSettings, scaling
from evaluator.probes.subject import Network, Samples, check_fit
from evaluator.probes.tolerance import Tolerance, ToleranceSettings, tolerance

__all__ = ["PROBES", "Probe", "run_probe", "table"]

Settings = TypeVar("Settings", bound=msgspec.Struct)


@dataclass(frozen=True)
class Probe(Generic[Settings]):
    """A question by name: what it is told, what it answers, and the pure function between."""

    name: str
    description: str
    settings: type[Settings]
    result: type[msgspec.Struct]
    run: Callable[[Network, Samples, bytes, Settings], msgspec.Struct]


# Any: each probe has settings of its own, which `run_probe` reads into the type that the probe names.
AnyProbe = Probe[Any]


def table(probes: Iterable[AnyProbe]) -> Mapping[str, AnyProbe]:
    """Return probes by name, read-only. Raises EvaluatorError for a name that stands twice."""
    found: dict[str, AnyProbe] = {}
    for probe in probes:
        if probe.name in found:
            raise EvaluatorError(
                f"the name of a probe may stand once, got {probe.name!r} twice. Rename one of them."
            )
        found[probe.name] = probe
    return MappingProxyType(found)


PROBES: Mapping[str, AnyProbe] = table(
    (
        Probe(
            "alignment",
            "Cosine of the rule's gradient with the exact one, by parameter.",
            AlignmentSettings,
            Alignment,
            alignment,
        ),
        Probe(
            "difficulty",
            "Settling sweeps of a sample against its margin.",
            DifficultySettings,
            Difficulty,
            difficulty,
        ),
        Probe(
            "energy",
            "Picojoules of training and inference, as a range from a table of 45 nm.",
            EnergySettings,
            Energy,
            energy,
        ),
        Probe(
            "lyapunov",
            "Largest Lyapunov exponent of the free sweep.",
            LyapunovSettings,
            Lyapunov,
            lyapunov,
        ),
        Probe(
            "oscillation",
            "What each sample's free phase ends in: rest, a cycle, divergence.",
            OscillationSettings,
            Oscillation,
            oscillation,
        ),
        Probe(
            "robustness",
            "Accuracy under FGSM and PGD, with checks against masked gradients.",
            RobustnessSettings,
            Robustness,
            robustness,
        ),
        Probe(
            "scaling",
            "Power-law exponent of measured errors, or that there is none.",
            ScalingSettings,
            Scaling,
            scaling,
        ),
        Probe(
            "signal",
            "How much of a push at the output reaches the first layer.",
            PropagationSettings,
            Propagation,
            propagation,
        ),
        Probe(
            "tolerance",
            "Accuracy under noise on weights and states, and without units.",
            ToleranceSettings,
            Tolerance,
            tolerance,
        ),
    )
)


def run_probe(name: str, network: Network, data: Samples, seed: bytes, **settings: object) -> msgspec.Struct:
    """Run the probe of that name and return its result, a `PROBES[name].result`.

    `seed` is 32 bytes; `settings` are fields of `PROBES[name].settings`. Raises EvaluatorError for a name, a setting
    or data that do not fit, KernelError or DivergedError where the network cannot be probed so.
    """
    if name not in PROBES:
        close = difflib.get_close_matches(name, PROBES, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(PROBES)}."
        raise EvaluatorError(f"expected the name of a probe, got {name!r}. {hint}")
    probe = PROBES[name]
    if len(seed) != 32:
        raise EvaluatorError(f"expected a seed of 32 bytes, got {len(seed)}.")
    check_fit(network, data)
    try:
        chosen = msgspec.convert(settings, probe.settings)
    except msgspec.ValidationError as error:
        fields = ", ".join(probe.settings.__struct_fields__)
        raise EvaluatorError(
            f"expected settings of the probe {name!r} ({fields}), got: {error}. Correct or drop it."
        ) from error
    return probe.run(network, data, seed, chosen)

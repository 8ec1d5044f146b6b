"""All probes by name, and the one way to run them. Pure."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

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
from evaluator.probes.subject import Network, Samples, Subject, check_fit
from evaluator.probes.tolerance import Tolerance, ToleranceSettings, tolerance
from evaluator.shape import is_plain, rule_name
from evaluator.tasks import DatasetTask
from genome import Value

__all__ = ["PROBES", "Needs", "Probe", "refusal", "require_one_head", "run_probe", "table"]

Settings = TypeVar("Settings", bound=msgspec.Struct)


Needs = Literal["scores", "sweeps", "equilibrium"]


@dataclass(frozen=True)
class Probe(Generic[Settings]):
    """A question by name: what it is told, what it answers, and the pure function between.

    `needs` is what a network must have for it: "scores" any has that learns by Equilibrium Propagation or a relative;
    "sweeps" means a prediction that settles; "equilibrium" the engine's energy, whose adjoint has a closed form.
    """

    name: str
    description: str
    settings: type[Settings]
    result: type[msgspec.Struct]
    run: Callable[[Any, Samples, bytes, Settings], msgspec.Struct]
    needs: Needs = "scores"


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
            "equilibrium",
        ),
        Probe(
            "difficulty",
            "Settling sweeps of a sample against its margin.",
            DifficultySettings,
            Difficulty,
            difficulty,
            "sweeps",
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
            "sweeps",
        ),
        Probe(
            "oscillation",
            "What each sample's free phase ends in: rest, a cycle, divergence.",
            OscillationSettings,
            Oscillation,
            oscillation,
            "sweeps",
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
            "equilibrium",
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


def refusal(name: str, values: Mapping[str, Value]) -> str:
    """Say why the probe `name` cannot follow a genome's network; empty where it can. Builds nothing.

    Raises EvaluatorError for a name that is no probe's.
    """
    needs = find(name).needs
    if values.get("credit") != "ep":
        return (
            "a probe follows a network that settles, so it expects a genome with credit=ep, got "
            f"credit={values.get('credit')}. Name another genome."
        )
    if needs == "equilibrium" and not is_plain(values):
        return (
            f"the probe {name!r} holds a network against the adjoint of its equilibrium, which is known in closed form "
            "for the engine's alone: a genome of the rule plain on dense layers with clipped states, tied weights of "
            f"32 bits and no other gene of the family. This one has the rule {rule_name(values)!r}, or other genes. "
            "Ask robustness, tolerance, lyapunov, oscillation, difficulty or energy of it."
        )
    if needs == "sweeps" and rule_name(values) == "predictive-coding":
        return (
            f"the probe {name!r} follows the free sweeps before a prediction; predictive coding predicts by one pass "
            "without any. Ask robustness, tolerance or energy of it."
        )
    return ""


def require_one_head(task: DatasetTask) -> None:
    """Raise EvaluatorError for a task of several data sets, whose networks have a readout for each."""
    if task.heads:
        raise EvaluatorError(
            f"a probe follows a network with one readout, task {task.name!r} has {len(task.heads)}. Ask it of one of "
            "its data sets."
        )


def find(name: str) -> AnyProbe:
    """Return the probe of that name; raises EvaluatorError that suggests the nearest one."""
    if name not in PROBES:
        close = difflib.get_close_matches(name, PROBES, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(PROBES)}."
        raise EvaluatorError(f"expected the name of a probe, got {name!r}. {hint}")
    return PROBES[name]


def run_probe(name: str, network: Subject, data: Samples, seed: bytes, **settings: object) -> msgspec.Struct:
    """Run the probe of that name and return its result, a `PROBES[name].result`.

    `seed` is 32 bytes; `settings` are fields of `PROBES[name].settings`. Raises EvaluatorError for a name, a setting
    or data that do not fit, or a network that has not what the probe needs, KernelError or DivergedError where the
    network cannot be probed so.
    """
    probe = find(name)
    if len(seed) != 32:
        raise EvaluatorError(f"expected a seed of 32 bytes, got {len(seed)}.")
    if not isinstance(network, Network) and (why := refusal(name, network.genes)):
        raise EvaluatorError(why)
    check_fit(network, data)
    try:
        chosen = msgspec.convert(settings, probe.settings)
    except msgspec.ValidationError as error:
        fields = ", ".join(probe.settings.__struct_fields__)
        raise EvaluatorError(
            f"expected settings of the probe {name!r} ({fields}), got: {error}. Correct or drop it."
        ) from error
    return probe.run(network, data, seed, chosen)

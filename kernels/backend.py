"""Backends: who does the arithmetic, and why the others were refused."""

from collections.abc import Mapping
from typing import Protocol

from kernels.errors import KernelError
from kernels.learner import Array, Learner
from kernels.rules import ARITHMETIC, ArithmeticName, OptimizerSettings, Rule
from kernels.topology import Topology

__all__ = ["Backend", "choose_backend"]


class Backend(Protocol):
    """Makes learners of Equilibrium Propagation."""

    name: str

    def refusal(self, arithmetic: ArithmeticName) -> str | None:
        """Return why this backend cannot serve here, or None."""

    def learner(
        self,
        topology: Topology,
        parameters: Mapping[str, Array],
        rule: Rule,
        optimizer: OptimizerSettings,
        *,
        batch: int,
        arithmetic: ArithmeticName,
    ) -> Learner:
        """Return a learner of one network."""


class TorchCpu:
    """The fast backend of the CPU."""

    name = "torch-cpu"

    def refusal(self, arithmetic: ArithmeticName) -> str | None:  # noqa: ARG002
        """Never refuses: every arithmetic class runs on the CPU."""
        return None

    def learner(
        self,
        topology: Topology,
        parameters: Mapping[str, Array],
        rule: Rule,
        optimizer: OptimizerSettings,
        *,
        batch: int,
        arithmetic: ArithmeticName,
    ) -> Learner:
        """Return a learner of one network."""
        from kernels.backends.torch_backend import TorchLearner  # noqa: PLC0415

        return TorchLearner(topology, parameters, rule, optimizer, batch=batch, arithmetic=arithmetic)


class ReferenceCpu:
    """The arbiter: float64 NumPy, slow, for comparison."""

    name = "reference"

    def refusal(self, arithmetic: ArithmeticName) -> str | None:
        """Refuse exact-1 and bf16, which the arbiter does not imitate: it is float64 throughout."""
        return None if arithmetic == "fp32" else f"it computes in float64 and has no {arithmetic}"

    def learner(
        self,
        topology: Topology,
        parameters: Mapping[str, Array],
        rule: Rule,
        optimizer: OptimizerSettings,
        *,
        batch: int,
        arithmetic: ArithmeticName,  # noqa: ARG002
    ) -> Learner:
        """Return a learner of one network."""
        from kernels.backends.reference_learner import ReferenceLearner  # noqa: PLC0415

        return ReferenceLearner(topology, parameters, rule, optimizer, batch=batch)


# In order of preference.
BACKENDS: tuple[Backend, ...] = (TorchCpu(), ReferenceCpu())


def choose_backend(name: str = "auto", arithmetic: ArithmeticName = "fp32") -> tuple[Backend, dict[str, str]]:
    """Return the backend that serves and, by name, why each other one was refused.

    `name` is "auto" or a backend's name. Raises KernelError for a name that is unknown or cannot serve.
    """
    if arithmetic not in ARITHMETIC:
        raise KernelError(f"arithmetic must be one of {', '.join(ARITHMETIC)}, got {arithmetic!r}.")
    chosen: Backend | None = None
    refusals: dict[str, str] = {}
    for backend in BACKENDS:
        why = backend.refusal(arithmetic)
        if why is None and name not in ("auto", backend.name):
            why = f"{name!r} was asked for"
        if why is None and chosen is not None:
            why = f"{chosen.name} comes first"
        if why is None:
            chosen = backend
        else:
            refusals[backend.name] = why
    if chosen is None:
        raise KernelError(
            f"no backend {name!r} serves {arithmetic!r}: {refusals}. Choose 'auto' or one of these."
        )
    return chosen, refusals

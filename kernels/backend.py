"""Backends: who does the arithmetic, found by launching something, and why the others were refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kernels.backends.probe import (
    PROBE_DEADLINE_S,
    answer,
    probe_cupy,
    probe_numpy,
    probe_torch_cpu,
    probe_torch_cuda,
    probe_triton,
)
from kernels.errors import KernelError
from kernels.learner import Array, Learner
from kernels.members import Member
from kernels.rules import EVERY_ARITHMETIC, ArithmeticName, OptimizerSettings, Rule
from kernels.topology import Topology

__all__ = ["Backend", "Backends", "backend_table", "choose_backend"]

NO_LEARNER = "its one kernel settles two hidden layers when it is called by name; it has no learners"
NO_FP16 = "fp16 is served by the Triton kernels alone"
UNTOLD = "auto takes it for populations of networks that it serves, or for fp16"


class Backend(Protocol):
    """Makes learners of Equilibrium Propagation; `deadline_s` bounds its probe, None where nothing can hang."""

    @property
    def name(self) -> str:
        """The name by which it is asked for, and which stands in outcomes."""

    @property
    def deadline_s(self) -> float | None:
        """The seconds after which its probe counts as unanswered."""

    def probe(self) -> str | None:
        """Launch something trivial; return why this machine cannot, or None."""

    def lack(self, arithmetic: ArithmeticName) -> str | None:
        """Return why it could not serve this arithmetic class on any machine, or None."""

    def leaves(self, members: Sequence[Member], arithmetic: ArithmeticName) -> str | None:
        """Return why "auto" leaves these networks, or where none are told any, to another backend, or None."""

    def learner(self, member: Member, *, arithmetic: ArithmeticName) -> Learner:
        """Return a learner of this network alone."""


def _parts(member: Member) -> tuple[Topology, Mapping[str, Array], Rule, OptimizerSettings]:
    """What the constructor of every learner begins with."""
    return member.topology, member.parameters, member.rule, member.optimizer


class TakesAll:
    """A backend to which "auto" leaves every network that it comes to."""

    def leaves(self, members: Sequence[Member], arithmetic: ArithmeticName) -> str | None:  # noqa: ARG002
        """Leaves nothing to others."""
        return None


@dataclass(frozen=True)
class Triton:
    """The Triton kernels: networks of different shapes in one launch, on a CUDA device."""

    name: str = "triton"
    deadline_s: float | None = PROBE_DEADLINE_S

    def probe(self) -> str | None:
        """Launch a kernel that stores one number."""
        return probe_triton()

    def lack(self, arithmetic: ArithmeticName) -> str | None:
        """Lacks exact-1 and bf16: its states and products are fp32 or fp16."""
        served = arithmetic in ("fp32", "fp16")
        return None if served else f"its states and products are fp32 or fp16, not {arithmetic}"

    def leaves(self, members: Sequence[Member], arithmetic: ArithmeticName) -> str | None:
        """Leaves what it cannot train, what torch-cuda is taken to train faster, and networks that it is not told."""
        if arithmetic == "fp16":
            return None
        from kernels.dispatch import route  # noqa: PLC0415 - its routes ask for layouts, which load torch

        if not members:
            return UNTOLD
        routes = {route(member, arithmetic) for member in members} - {"persistent", "ragged"}
        return f"torch-cuda serves these networks by the route {min(routes)!r}" if routes else None

    def learner(self, member: Member, *, arithmetic: ArithmeticName) -> Learner:
        """Return a learner of one network."""
        from kernels.backends.triton.learner import TritonLearner  # noqa: PLC0415

        return TritonLearner(*_parts(member), batch=member.batch, arithmetic=arithmetic)


@dataclass(frozen=True)
class Kernels(TakesAll):
    """A backend that has kernels, and no learner that would use them alone."""

    name: str
    launch: Callable[[], str | None]
    deadline_s: float | None = PROBE_DEADLINE_S

    def probe(self) -> str | None:
        """Launch a kernel that stores one number."""
        return self.launch()

    def lack(self, arithmetic: ArithmeticName) -> str | None:  # noqa: ARG002
        """Lacks a learner, whatever the class."""
        return NO_LEARNER

    def learner(self, member: Member, *, arithmetic: ArithmeticName) -> Learner:  # noqa: ARG002
        """Raise KernelError: `lack` has refused before."""
        raise KernelError(f"{self.name}: {NO_LEARNER}. Choose 'triton' or 'auto'.")


@dataclass(frozen=True)
class TorchCuda(TakesAll):
    """The engine of torch on a CUDA device."""

    name: str = "torch-cuda"
    deadline_s: float | None = PROBE_DEADLINE_S

    def probe(self) -> str | None:
        """Multiply two matrices on the device."""
        return probe_torch_cuda()

    def lack(self, arithmetic: ArithmeticName) -> str | None:
        """Lacks fp16, which the Triton kernels alone have."""
        return NO_FP16 if arithmetic == "fp16" else None

    def learner(self, member: Member, *, arithmetic: ArithmeticName) -> Learner:
        """Return a learner of one network."""
        from kernels.backends.cuda import CudaLearner  # noqa: PLC0415
        from kernels.backends.memory import WithinMemory, device_memory  # noqa: PLC0415

        with device_memory("a network"):
            made = CudaLearner(*_parts(member), batch=member.batch, arithmetic=arithmetic)
        return WithinMemory(made)


@dataclass(frozen=True)
class TorchCpu(TakesAll):
    """The fast backend of the CPU."""

    name: str = "torch-cpu"
    deadline_s: float | None = None

    def probe(self) -> str | None:
        """Multiply two matrices."""
        return probe_torch_cpu()

    def lack(self, arithmetic: ArithmeticName) -> str | None:
        """Lacks fp16, which the Triton kernels alone have."""
        return NO_FP16 if arithmetic == "fp16" else None

    def learner(self, member: Member, *, arithmetic: ArithmeticName) -> Learner:
        """Return a learner of one network."""
        from kernels.backends.torch_backend import TorchLearner  # noqa: PLC0415

        return TorchLearner(*_parts(member), batch=member.batch, arithmetic=arithmetic)


@dataclass(frozen=True)
class ReferenceCpu(TakesAll):
    """The arbiter: float64 NumPy, slow, for comparison."""

    name: str = "reference"
    deadline_s: float | None = None

    def probe(self) -> str | None:
        """Multiply two matrices."""
        return probe_numpy()

    def lack(self, arithmetic: ArithmeticName) -> str | None:
        """Lacks exact-1, bf16 and fp16, which the arbiter does not imitate: it is float64 throughout."""
        return None if arithmetic == "fp32" else f"it computes in float64 and has no {arithmetic}"

    def learner(self, member: Member, *, arithmetic: ArithmeticName) -> Learner:  # noqa: ARG002
        """Return a learner of one network."""
        from kernels.backends.reference_learner import ReferenceLearner  # noqa: PLC0415

        return ReferenceLearner(*_parts(member), batch=member.batch)


class Backends:
    """Backends in order of preference, each of which is probed at most once, when its answer is first needed."""

    def __init__(self, members: Sequence[Backend]) -> None:
        self._members = tuple(members)
        self._answers: dict[str, str | None] = {}

    def _machine(self, backend: Backend) -> str | None:
        if backend.name not in self._answers:
            self._answers[backend.name] = answer(backend.probe, backend.deadline_s)
        return self._answers[backend.name]

    def _refusal(self, backend: Backend, arithmetic: ArithmeticName) -> str | None:
        reasons = (self._machine(backend), backend.lack(arithmetic))
        return "; ".join(why for why in reasons if why) or None

    def table(self, arithmetic: ArithmeticName = "fp32") -> dict[str, str]:
        """Return for each backend, in order of preference, why it cannot be used; empty where it can."""
        return {backend.name: self._refusal(backend, arithmetic) or "" for backend in self._members}

    def choose(
        self, name: str, arithmetic: ArithmeticName, members: Sequence[Member] = ()
    ) -> tuple[Backend, dict[str, str]]:
        """Return the backend that serves and, by name, why each other one was refused; see `choose_backend`."""
        if arithmetic not in EVERY_ARITHMETIC:
            raise KernelError(f"arithmetic must be one of {', '.join(EVERY_ARITHMETIC)}, got {arithmetic!r}.")
        names = [backend.name for backend in self._members]
        if name not in ("auto", *names):
            raise KernelError(f"backend must be auto or one of {', '.join(names)}, got {name!r}.")
        chosen: Backend | None = None
        refusals: dict[str, str] = {}
        for backend in self._members:
            if name == backend.name:
                why = self._refusal(backend, arithmetic)
            else:
                # Nobody is asked to launch what would not be taken: packages are large, and so is a device's context.
                why = (
                    backend.lack(arithmetic)
                    or _passed_over(name, chosen)
                    or backend.leaves(members, arithmetic)
                    or self._machine(backend)
                )
            if why is None:
                chosen = backend
            else:
                refusals[backend.name] = why
        if chosen is None:
            reasons = refusals if name == "auto" else {name: refusals[name]}
            told = "; ".join(f"{each}: {why}" for each, why in reasons.items())
            raise KernelError(
                f"no backend {name!r} serves {arithmetic!r} here ({told}). Choose 'auto' or another."
            )
        return chosen, refusals


def _passed_over(name: str, chosen: Backend | None) -> str | None:
    if name != "auto":
        return f"{name!r} was asked for"
    return None if chosen is None else f"{chosen.name} comes first"


_HERE = Backends(
    (
        Triton(),
        Kernels("cupy", probe_cupy),
        TorchCuda(),
        TorchCpu(),
        ReferenceCpu(),
    )
)


def choose_backend(
    name: str = "auto", arithmetic: ArithmeticName = "fp32", members: Sequence[Member] = ()
) -> tuple[Backend, dict[str, str]]:
    """Return the backend that serves and, by name, why each other one was refused.

    `name` is "auto" or a backend's name: the first that runs here, or that one. `members` are the networks of a
    population: "auto" takes the Triton kernels for those that they serve (`kernels.dispatch`), and for fp16. A backend
    is asked to launch something trivial, once a process, unless another was asked for or comes first, or it could not
    serve the class or these networks anyway.
    Raises KernelError for a name that is unknown or cannot serve.
    """
    return _HERE.choose(name, arithmetic, members)


def backend_table(arithmetic: ArithmeticName = "fp32") -> dict[str, str]:
    """Return for each backend why it cannot be used on this machine; empty where it can. The best comes first."""
    return _HERE.table(arithmetic)

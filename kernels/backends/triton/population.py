"""Populations of networks of different shapes on the Triton kernels."""
# mypy: disable-error-code="import-not-found, import-untyped"

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
import triton

from kernels.backends.memory import device_memory
from kernels.backends.probe import full_precision
from kernels.backends.triton import checks
from kernels.backends.triton.group import Data, Group
from kernels.backends.triton.persistent_group import PersistentGroup
from kernels.backends.triton.ragged_group import RaggedGroup
from kernels.dispatch import lacks_population, route
from kernels.errors import KernelError
from kernels.inputs import input_tensor
from kernels.learner import Array, check_learner
from kernels.members import Member, Span, SpanReport, check_data, check_spans
from kernels.rules import ArithmeticName

__all__ = ["DTYPES", "TritonPopulation", "lacks_population"]

# The states and products of each class that the kernels serve; sums and parameters are fp32 in both.
DTYPES: Mapping[ArithmeticName, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}


class TritonPopulation:
    """Networks of any depths and widths that step together on `device`, each from its own samples and at its rates.

    Tiny members train whole in one launch, the others in some ten launches a step, recorded in a CUDA graph
    (`kernels.dispatch`). Parameters and sums are fp32; states and products fp32, or fp16 in the class "fp16". A
    member's bits depend on that member alone. Raises KernelError for a member that the kernels cannot train and for
    another class, MemoryError where the device has too little memory.
    """

    backend = "triton"

    def __init__(
        self, members: Sequence[Member], *, arithmetic: ArithmeticName, device: torch.device | str = "cuda"
    ) -> None:
        _check(members, arithmetic)
        full_precision()
        self._members = tuple(members)
        self._dtype, self._device = DTYPES[arithmetic], torch.device(device)
        checks.expect_device(
            torch.zeros(1, device=self._device), interpreted=bool(triton.knobs.runtime.interpret)
        )
        self._data: Data | None = None
        self._groups: list[tuple[list[int], Group]] = []
        # Where each member is: its group and its number there.
        self._places: dict[int, tuple[Group, int]] = {}
        with device_memory(f"a population of {len(members)} networks"):
            for kind, indices in _together(members, arithmetic):
                chosen = [members[index] for index in indices]
                group = kind(chosen, dtype=self._dtype, device=self._device)
                self._groups.append((indices, group))
                self._places |= {index: (group, number) for number, index in enumerate(indices)}

    @classmethod
    def of(
        cls,
        members: Sequence[Member],
        *,
        arithmetic: ArithmeticName = "fp32",
        device: torch.device | str = "cuda",
    ) -> "TritonPopulation":
        """Return a population of `members`."""
        return cls(members, arithmetic=arithmetic, device=device)

    @property
    def size(self) -> int:
        """The number of members."""
        return len(self._members)

    def hold(self, x: Array, y: Array) -> None:
        """Take in the data that spans point into: `x` (n, n_0) float32 and `y` (n,) class numbers.

        Other data of the same shape take the place of the present ones, and recorded steps go on.
        """
        fewest = min(member.topology.sizes[-1] for member in self._members)
        check_data(x, y, inputs=self._inputs, classes=fewest)
        with device_memory(f"{len(x)} samples"):
            if self._data is None or not self._data.take(x, y):
                self._data = Data(x, y, dtype=self._dtype, device=self._device)
            for _, group in self._groups:
                group.hold(self._data)

    @property
    def _inputs(self) -> int:
        return self._members[0].topology.sizes[0]

    def run(self, spans: Sequence[Span]) -> list[SpanReport]:
        """Train each member over its span; raises KernelError for spans that point nowhere.

        The residual is that of a member's last step; infinite where a state was not a number.
        """
        if self._data is None:
            raise KernelError("spans point into data, got none. Call `hold` first.")
        check_spans(spans, self._members, len(self._data.y))
        reports: dict[int, SpanReport] = {}
        with device_memory(f"a step of {self.size} networks"):
            for indices, group in self._groups:
                found = group.run([spans[index] for index in indices])
                reports |= dict(zip(indices, found, strict=True))
        return [reports[index] for index in range(self.size)]

    def predict(self, x: Array) -> list[Array]:
        """Return scores (n, classes) of each member for `x` (n, n_0), any n: logits, or the output state."""
        inputs = input_tensor(x, self._inputs).numpy()
        scores: dict[int, Array] = {}
        with device_memory(f"predictions of {self.size} networks"):
            for indices, group in self._groups:
                scores |= dict(zip(indices, group.predict(inputs), strict=True))
        return [scores[index] for index in range(self.size)]

    def parameters(self, index: int) -> dict[str, Array]:
        """Return copies of the parameters of a member by name, float32."""
        group, number = self._places[index]
        return group.parameters(number)

    def state(self, index: int) -> dict[str, Array]:
        """Return copies of all that a member needs to continue bit for bit on the same device.

        The parameters by name, what the optimizer remembers of each ("velocity.NAME", or "first.NAME" and
        "second.NAME", of mean gradients) and "step".
        """
        group, number = self._places[index]
        return group.state(number)

    def load(self, index: int, state: Mapping[str, Array]) -> None:
        """Let a member continue from a `state`; raises KernelError for one of another network or optimizer."""
        group, number = self._places[index]
        group.load(number, state)


def _together(members: Sequence[Member], arithmetic: ArithmeticName) -> list[tuple[type[Group], list[int]]]:
    """Return which members are computed together, and how: a member's own shape decides."""
    found: dict[tuple[type[Group], int, float, int], list[int]] = defaultdict(list)
    for index, member in enumerate(members):
        tiny = route(member, arithmetic) == "persistent"
        kind: type[Group] = PersistentGroup if tiny else RaggedGroup
        # Tiles of a ragged step follow from the batch; one program trains batches of any size.
        batch = 0 if tiny else member.batch
        found[kind, batch, member.topology.clip, member.topology.sizes[-1]].append(index)
    return [(kind, indices) for (kind, *_), indices in found.items()]


def _check(members: Sequence[Member], arithmetic: ArithmeticName) -> None:
    if arithmetic not in DTYPES:
        raise KernelError(
            f"the Triton kernels serve {' and '.join(DTYPES)}, got {arithmetic!r}. Use a torch backend for it."
        )
    if not members:
        raise KernelError("a population needs at least one member, got none.")
    for index, member in enumerate(members):
        lack = lacks_population(member)
        if lack:
            raise KernelError(
                f"member {index} cannot train in a Triton population: {lack}. Use torch-cuda or torch-cpu."
            )
        member.rule.check(member.topology)
        # Masters are fp32 in both classes.
        check_learner(member.topology, member.parameters, batch=member.batch, arithmetic="fp32")
    inputs = sorted({member.topology.sizes[0] for member in members})
    if len(inputs) > 1:
        raise KernelError(
            f"members of one population read the same data, got inputs of {inputs} numbers. Train them apart."
        )

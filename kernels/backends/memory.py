"""What a device says when its memory is spent, as the error that the rest of the project knows."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kernels.diagnostics import Diagnostics
from kernels.learner import Array, Learner, StepReport

__all__ = ["WithinMemory", "device_memory"]


@contextmanager
def device_memory(what: str) -> Iterator[None]:
    """Turn torch's out-of-memory error of a device into a MemoryError that says what did not fit.

    Loads torch, which has been loaded wherever a device is used.
    """
    import torch  # noqa: PLC0415 - this module is imported where torch may be absent

    try:
        yield
    except torch.OutOfMemoryError as error:
        told = " ".join(str(error).split()).partition(". ")[0]
        raise MemoryError(
            f"the device has too little memory for {what} ({told}). Use a smaller batch or network, train fewer at "
            "once, or ask for the torch-cpu backend."
        ) from error


class WithinMemory:
    """A learner on a device, whose want of memory is a MemoryError."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def step(self, x: Array, y: Array, *, scale: float, sign: int = 1) -> StepReport:
        """Learn from a batch."""
        with device_memory(f"a step of {len(x)} samples"):
            return self._learner.step(x, y, scale=scale, sign=sign)

    def predict(self, x: Array) -> Array:
        """Return scores (n, classes) for `x` (n, n_0)."""
        with device_memory(f"{len(x)} predictions"):
            return self._learner.predict(x)

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters by name."""
        return self._learner.parameters()

    def state(self) -> dict[str, Array]:
        """Return copies of all that is needed to continue bit for bit."""
        return self._learner.state()

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a `state`."""
        with device_memory("a state"):
            self._learner.load(state)

    def diagnose(self, x: Array, y: Array) -> Diagnostics:
        """Return how the network settles on a batch and how large its weights and gradients are."""
        with device_memory(f"a diagnosis of {len(x)} samples"):
            return self._learner.diagnose(x, y)

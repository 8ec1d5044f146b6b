"""The errors of the kernels: a bad request, and a relaxation that left the numbers. Pure."""

from eqmesh import EqmeshError

__all__ = ["DivergedError", "KernelError"]


class KernelError(EqmeshError):
    """A network, rule or array that the kernels cannot work with; the message says what to do."""


class DivergedError(KernelError):
    """States or parameters stopped being finite.

    `step` is the number of the training step (or settling step, in a diagnosis), counted from 1.
    """

    def __init__(self, what: str, step: int, hint: str) -> None:
        super().__init__(f"{what} not finite at step {step}. {hint}")
        self.step = step
        self.hint = hint

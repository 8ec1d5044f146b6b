"""What probes follow: the free sweeps of a network on a batch, whichever learner it is of. Pure."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.backends.reference import States
from kernels.rules import Relaxation

__all__ = ["Dynamics"]

Float = NDArray[np.float64]


class Dynamics(Protocol):
    """The free sweeps of a network on a batch; states are (b, units) by layer."""

    x: Float
    """The inputs (b, n_0)."""
    y: Float
    """Their classes, one-hot (b, classes)."""

    def feed_forward(self) -> States:
        """Return the states that a free phase starts from."""

    def sweep(self, states: States, beta: float, relaxation: Relaxation, step: int) -> States:
        """Return the states after one sweep; `beta` is 0.0."""

    def settle(self, states: States, beta: float, relaxation: Relaxation) -> tuple[States, int, float]:
        """Return the settled states, the sweeps taken and the largest change in the last."""

    def scores(self, states: States) -> Float:
        """Return the logits of the readout, or the output state."""

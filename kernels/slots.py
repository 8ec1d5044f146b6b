"""What a learner must remember to continue bit for bit, as named arrays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from kernels.arithmetic import run
from kernels.learner import Array, check_state
from kernels.parameters import Parameters

__all__ = ["Remembers", "load_state", "read_state"]


class Remembers(Protocol):
    """An optimizer, or anything else that carries arrays from step to step in `slots`."""

    slots: dict[str, Tensor]


def _slots(parameters: Parameters, holders: Sequence[Remembers]) -> dict[str, Tensor]:
    held = {"parameters": parameters.flat.value}
    for number, holder in enumerate(holders):
        held |= {f"{number}.{name}": slot for name, slot in holder.slots.items()}
    return held


def read_state(parameters: Parameters, holders: Sequence[Remembers], steps: int) -> dict[str, Array]:
    """Return copies of all arrays and of the number of steps taken."""
    held = {name: slot.numpy(force=True).copy() for name, slot in _slots(parameters, holders).items()}
    return held | {"step": np.array(steps)}


def load_state(
    parameters: Parameters,
    holders: Sequence[Remembers],
    state: Mapping[str, Array],
    *,
    check: Callable[[Array], None] | None = None,
) -> int:
    """Take over a state and return its number of steps.

    Raises KernelError, before anything has changed, for the state of another network and for parameters that are not
    finite; `check` may refuse parameters too.
    """
    slots = _slots(parameters, holders)
    expected = {name: tuple(slot.shape) for name, slot in slots.items()} | {"step": ()}
    check_state(expected, state, ["parameters"])
    if check is not None:
        check(state["parameters"])
    for name, slot in slots.items():
        slot.copy_(torch.from_numpy(np.array(state[name])))
    run(parameters.arithmetic.refresh(parameters.flat))
    return int(state["step"])

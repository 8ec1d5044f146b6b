"""Relaxation: sweeps over the layers of a phase, and when they stop."""

from dataclasses import dataclass

from kernels.phases import Phase
from kernels.rules import Relaxation

__all__ = ["Settled", "settle", "sweep", "sweep_order"]


@dataclass(frozen=True, slots=True)
class Settled:
    """How a relaxation ended: the sweeps taken and the largest change of any state in the last one."""

    steps: int
    residual: float


def sweep_order(layers: tuple[int, ...], relaxation: Relaxation, step: int) -> tuple[int, ...]:
    """Return the order in which block sweep number `step` (from 0) visits `layers`."""
    backward = relaxation.order == "backward" or (relaxation.order == "alternating" and step % 2 == 0)
    return layers[::-1] if backward else layers


def sweep(phase: Phase, relaxation: Relaxation, step: int, *, measured: bool) -> None:
    """Move every layer once; where `measured`, leave the largest change in `phase.change`.

    "block": one layer after another, each to the exact minimiser given the others, so that a free energy never
    rises. "synchronous": s_l <- clip(s_l + step_size (pre_l - s_l)), all layers from the same old states.
    """
    if measured:
        phase.change.zero_()
    if relaxation.scheme == "block":
        for layer in sweep_order(phase.layers, relaxation, step):
            state = phase.states[layer].value
            old = phase.spare(layer, "old").copy_(state) if measured else None
            phase.receive(layer, state)
            phase.minimise(layer, state)
            phase.activate(layer, state)
            if old is not None:
                phase.compare(layer, old)
        return
    for layer in phase.layers:
        received = phase.spare(layer, "received")
        phase.receive(layer, received)
        phase.goal(layer, received)
        phase.arithmetic.move(phase.states[layer].value, received, relaxation.step_size)
    for layer in phase.layers:
        old = phase.spare(layer, "old").copy_(phase.states[layer].value) if measured else None
        phase.activate(layer, phase.spare(layer, "received"))
        if old is not None:
            phase.compare(layer, old)


def settle(phase: Phase, relaxation: Relaxation, *, measured: bool) -> Settled:
    """Sweep until `relaxation` says stop; the residual is 0.0 unless `measured` or a tolerance asks for it."""
    tolerance = relaxation.tolerance
    if tolerance > 0:
        for step in range(relaxation.steps):
            sweep(phase, relaxation, step, measured=True)
            residual = float(phase.change.max())
            # Not `residual <= tolerance`: a NaN must end the phase too.
            if not residual > tolerance:
                return Settled(step + 1, residual)
        return Settled(relaxation.steps, residual if relaxation.steps else 0.0)
    for step in range(relaxation.steps):
        sweep(phase, relaxation, step, measured=measured and step == relaxation.steps - 1)
    return Settled(relaxation.steps, float(phase.change.max()) if measured and relaxation.steps else 0.0)

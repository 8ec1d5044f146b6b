"""Relaxation: sweeps over the layers of a phase, and when they stop."""

from dataclasses import dataclass

from kernels.arithmetic import Op, run
from kernels.phases import Phase
from kernels.rules import Relaxation

__all__ = ["Relaxer", "Settled", "sweep", "sweep_order"]


@dataclass(frozen=True, slots=True)
class Settled:
    """How a relaxation ended: the sweeps taken and the largest change of any state in the last one."""

    steps: int
    residual: float


def sweep_order(layers: tuple[int, ...], relaxation: Relaxation, step: int) -> tuple[int, ...]:
    """Return the order in which block sweep number `step` (from 0) visits `layers`."""
    backward = relaxation.order == "backward" or (relaxation.order == "alternating" and step % 2 == 0)
    return layers[::-1] if backward else layers


def sweep(
    phase: Phase,
    relaxation: Relaxation,
    step: int,
    *,
    measured: bool,
    fresh: bool = False,
    first: list[Op] | None = None,
) -> list[Op]:
    """Return the operations that move every layer once; where `measured`, they leave `phase.change`.

    "block": one layer after another, each to the exact minimiser given the others, so that a free energy never
    rises. "synchronous": s_l <- clip(s_l + step_size (pre_l - s_l)), all layers from the same old states.

    `fresh` says that the cost has already read the states. `first` replaces what the first layer of a block sweep
    does to receive.
    """
    operations: list[Op] = [phase.change.zero_] if measured else []
    if relaxation.scheme == "synchronous":
        return operations + _synchronous(phase, relaxation, measured=measured, fresh=fresh)
    for layer in sweep_order(phase.layers, relaxation, step):
        state = phase.states[layer].value
        if phase.reads(layer):
            # Once a layer that the cost reads has moved, the cost must read again before the next such layer moves.
            operations += [] if fresh else phase.consult()
            fresh = False
        operations += phase.remember(layer) if measured else []
        operations += phase.receive(layer, state) if first is None else first
        first = None
        operations += [*phase.minimise(layer, state), *phase.activate(layer, state)]
        operations += phase.compare(layer) if measured else []
    return operations


def _synchronous(phase: Phase, relaxation: Relaxation, *, measured: bool, fresh: bool) -> list[Op]:
    operations: list[Op] = []
    if not fresh and any(phase.reads(layer) for layer in phase.layers):
        operations += phase.consult()
    for layer in phase.layers:
        received, state = phase.spare(layer, "received"), phase.states[layer].value
        operations += [*phase.receive(layer, received), *phase.goal(layer, received)]
        operations += phase.arithmetic.move(state, received, relaxation.step_size)
    for layer in phase.layers:
        operations += phase.remember(layer) if measured else []
        operations += phase.activate(layer, phase.spare(layer, "received"))
        operations += phase.compare(layer) if measured else []
    return operations


class Relaxer:
    """The sweeps of one phase, written down once: sweeps until `relaxation` says stop.

    The residual is 0.0 unless `measured` or a tolerance asks for it. `fresh` and `first` hold for the first sweep.
    """

    def __init__(
        self,
        phase: Phase,
        relaxation: Relaxation,
        *,
        measured: bool,
        fresh: bool = False,
        first: list[Op] | None = None,
    ) -> None:
        self._change = phase.change
        self._relaxation = relaxation
        self._measured = measured and relaxation.steps > 0
        always = relaxation.tolerance > 0
        last = relaxation.steps - 1

        def programme(step: int) -> list[Op]:
            starts = step == 0
            return sweep(
                phase,
                relaxation,
                step,
                measured=always or (measured and step == last),
                fresh=fresh and starts,
                first=first if starts else None,
            )

        # Sweeps 1, 3, ... and 2, 4, ... differ where the order alternates.
        self._first = programme(0) if relaxation.steps else []
        self._middle = [programme(2), programme(1)] if relaxation.steps > 2 or always else [[], []]
        self._last = programme(last) if last > 0 else []

    def run(self) -> Settled:
        """Sweep."""
        steps, tolerance = self._relaxation.steps, self._relaxation.tolerance
        if tolerance > 0:
            for step in range(steps):
                run(self._middle[step % 2] if step else self._first)
                residual = float(self._change.max())
                # Not `residual <= tolerance`: a NaN must end the phase too.
                if not residual > tolerance:
                    return Settled(step + 1, residual)
            return Settled(steps, residual if steps else 0.0)
        run(self._first)
        for step in range(1, steps - 1):
            run(self._middle[step % 2])
        run(self._last)
        return Settled(steps, float(self._change.max()) if self._measured else 0.0)

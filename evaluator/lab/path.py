"""One example's relaxation as a path on a plane, with the energy around it, all by the kernels' own phases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from evaluator.lab.messages import GRID_SIDE, Landscape, Scope
from kernels import Relaxation, Rule, Topology
from kernels.arithmetic import Arithmetic, run
from kernels.energy import energy, energy_gradient, total_energy
from kernels.parameters import Parameters
from kernels.phases import NudgedPhase, Phase
from kernels.settle import sweep
from kernels.workspace import Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Arrays = Mapping[str, NDArray[np.generic]]

__all__ = ["Bench", "Heights", "Plane", "landscape", "plane_of"]

# Room around the path, as a share of its extent; and the least extent of a side, where a path goes nowhere.
_ROOM = 0.35
_LEAST = 0.02
# Singular values below this share of the largest are rounding: what they belong to is no direction of the path.
_RANK = 1e-6


@dataclass(frozen=True)
class Plane:
    """`origin` (units,) and two orthonormal `directions` (2, units)."""

    origin: "Float"
    directions: "Float"

    def coordinates(self, states: "Float") -> "Float":
        """Where states (n, units) lie on the plane: (n, 2)."""
        return np.asarray((states - self.origin) @ self.directions.T)

    def states(self, coordinates: "Float") -> "Float":
        """The states (n, units) at points (n, 2) of the plane."""
        return np.asarray(self.origin + coordinates @ self.directions)


def plane_of(origin: "Float", path: "Float", pull: "Float") -> Plane:
    """The plane through `origin` along the first two principal directions of `path` (n, units) as seen from there.

    Where the path has fewer, the `pull` (units,) gives the next one, and then the axes of units. Directions point to
    where the path sets out from, so that they do not turn round from one frame to the next.
    """
    around = path - origin
    _, sizes, rows = np.linalg.svd(around, full_matrices=False)
    found = [row for row, size in zip(rows, sizes, strict=True) if size > _RANK * max(sizes[0], 1e-12)][:2]
    for candidate in (pull, *np.eye(len(origin))):
        if len(found) == 2:
            break
        rest = candidate - sum((candidate @ row) * row for row in found)
        size = float(np.linalg.norm(rest))
        if size > _RANK:
            found.append(rest / size)
    if len(found) < 2:
        # A network of a single unit has one direction; the plane's other side is flat.
        found.append(np.zeros_like(origin))
    turned = [row if around[0] @ row >= 0 else -row for row in found]
    return Plane(origin, np.stack(turned))


class Bench:
    """A copy of a network's weights on which one batch of `rows` samples settles as `rule` says."""

    def __init__(self, topology: Topology, parameters: "Arrays", rule: Rule, rows: int) -> None:
        arithmetic = Arithmetic()
        self._parameters = Parameters(topology, arithmetic, [parameters])
        self.topology = topology
        self.workspace = Workspace(
            topology, arithmetic, self._parameters.views, self._parameters.gradient_views, [rule], rows
        )
        self.rule = rule

    def load(self, x: Tensor, y: Tensor) -> None:
        """Take in a batch and carry it forward: the state from which the free phase sets out."""
        self.workspace.load(x, y)
        self.workspace.aim(1)
        run(self.workspace.begin)

    @property
    def free(self) -> Phase:
        """The free phase."""
        return self.workspace.free

    @property
    def nudged(self) -> NudgedPhase | None:
        """The first nudged phase; the linearised rule has none."""
        return self.workspace.nudged[0] if self.workspace.nudged else None

    def begin_nudged(self) -> None:
        """Set the nudged phase out from the free state as it stands."""
        phase = self.nudged
        assert phase is not None
        run(self.workspace.read)
        run(self.workspace.compare)
        run([*phase.copy_from(self.free, phase.layers), *phase.pull_by(self.workspace.mistake)])

    def put(self, phase: Phase, states: "Float") -> None:
        """Set the states of a phase, (rows, units), each brought into its bounds."""
        start = 0
        for layer in phase.layers:
            size = self.topology.sizes[layer]
            part = torch.from_numpy(np.ascontiguousarray(states[:, start : start + size].T)).to(torch.float32)
            run(phase.activate(layer, part))
            start += size


def states_of(phase: Phase) -> "Float":
    """The states of a phase, (rows, units), layer after layer."""
    joined = torch.cat([phase.states[layer].value for layer in phase.layers]).mT
    return joined.numpy().astype(np.float64)


def energies_of(phase: Phase) -> "Float":
    """E of each sample that a free phase holds, F of each that a nudged one does: (rows,)."""
    values = total_energy(phase) if isinstance(phase, NudgedPhase) else energy(phase)
    return values.double().numpy()


def followed(phase: Phase, relaxation: Relaxation) -> tuple["Float", list[float]]:
    """Settle a phase of one sample: its states (sweeps + 1, units) and energies, before the first sweep and after each.

    It stops where the relaxation's tolerance says.
    """
    states, energies = [states_of(phase)[0]], [float(energies_of(phase)[0])]
    for step in range(relaxation.steps):
        run(sweep(phase, relaxation, step, measured=True))
        states.append(states_of(phase)[0])
        energies.append(float(energies_of(phase)[0]))
        if not float(phase.change.max()) > relaxation.tolerance:
            break
    return np.stack(states), energies


def pull_at(bench: Bench) -> "Float":
    """-dF/ds + dE/ds where the nudged phase sets out: how the target pulls on each unit."""
    nudged = bench.nudged
    assert nudged is not None
    parts = [
        energy_gradient(bench.free, layer) - energy_gradient(nudged, layer) for layer in bench.free.layers
    ]
    return torch.cat(parts)[:, 0].numpy().astype(np.float64)


@torch.inference_mode()
def landscape(
    topology: Topology,
    parameters: "Arrays",
    rule: Rule,
    x: "NDArray[np.float32]",
    label: int,
) -> Landscape | None:
    """The path of one example, `x` (n_0,) with its class, and the energy around it; None where it is not finite.

    A random-sign nudge is shown at its positive sign, and a linearised one, which has no nudged phase, not at all.
    """
    one = Bench(topology, parameters, rule, 1)
    sample, target = torch.from_numpy(x[None, :]), torch.tensor([label])
    one.load(sample, target)
    free, free_energy = followed(one.free, rule.free)
    run(one.workspace.read)
    predicted = int(one.workspace.scores[:, 0].argmax())
    nudged, nudged_energy = np.empty((0, free.shape[1])), list[float]()
    pull = np.zeros(free.shape[1])
    if one.nudged is not None:
        one.begin_nudged()
        pull = pull_at(one)
        nudged, nudged_energy = followed(one.nudged, rule.nudged)
    origin, path = free[-1], np.concatenate([free, nudged])
    if not all(np.isfinite(part).all() for part in (path, pull, free_energy, nudged_energy)):
        return None
    plane = plane_of(origin, path, pull)
    heights = Heights(topology, parameters, rule, x, label)
    whole_view = heights.scope(plane, plane.coordinates(path))
    near_view = heights.scope(plane, plane.coordinates(nudged)) if len(nudged) else None
    views = [view for view in (whole_view, near_view) if view is not None]
    if not all(np.isfinite((*view.grid, *view.nudged_grid)).all() for view in views):
        return None
    inside = np.square(plane.coordinates(path)).sum()
    whole = np.square(path - origin).sum()
    return Landscape(
        free=_pairs(plane.coordinates(free)),
        nudged=_pairs(plane.coordinates(nudged)),
        free_energy=tuple(free_energy),
        nudged_energy=tuple(nudged_energy),
        whole=whole_view,
        near=near_view,
        pull=_pairs(pull[None, :] @ plane.directions.T)[0],
        share=float(inside / whole) if whole > 0 else 1.0,
        label=label,
        predicted=predicted,
    )


class Heights:
    """The energies of one example's states at `side` times `side` points of a plane, all at once."""

    def __init__(
        self,
        topology: Topology,
        parameters: "Arrays",
        rule: Rule,
        x: "NDArray[np.float32]",
        label: int,
        side: int = GRID_SIDE,
    ) -> None:
        self._side = side
        rows = side * side
        self._bench = Bench(topology, parameters, replace(rule, free=Relaxation(steps=0)), rows)
        self._bench.load(torch.from_numpy(np.tile(x, (rows, 1))), torch.full((rows,), label))

    def over(
        self, plane: Plane, u_range: tuple[float, float], v_range: tuple[float, float]
    ) -> tuple["Float", "Float"]:
        """E and F, (side, side) each: rows along v, columns along u. F is E where there is no nudged phase."""
        side, bench = self._side, self._bench
        across, up = np.linspace(*u_range, side), np.linspace(*v_range, side)
        states = plane.states(np.stack([np.tile(across, side), np.repeat(up, side)], axis=1))
        found = []
        # The nudged phase may hold a layer in the free one's memory: states are put anew for each.
        for phase in (bench.free, bench.nudged or bench.free):
            bench.put(phase, states)
            found.append(energies_of(phase).reshape(side, side))
        return found[0], found[1]

    def scope(self, plane: Plane, points: "Float") -> Scope:
        """What there is to see around these points (n, 2) of a plane."""
        u_range, v_range = _ranges(points)
        free, nudged = self.over(plane, u_range, v_range)
        return Scope(u_range=u_range, v_range=v_range, grid=_rows(free), nudged_grid=_rows(nudged))


def _ranges(coordinates: "Float") -> tuple[tuple[float, float], tuple[float, float]]:
    """What the plane shows along each direction: the path, with room around it."""
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    extent = high - low
    # Neither side is shown more than four times as fine as the other: a path of one direction is no flat strip.
    least = max(float(extent.max()) / 4, _LEAST)
    middle, half = (low + high) / 2, np.maximum(extent, least) * (0.5 + _ROOM)
    ranges = [(float(m - h), float(m + h)) for m, h in zip(middle, half, strict=True)]
    return ranges[0], ranges[1]


def _pairs(points: "Float") -> tuple[tuple[float, float], ...]:
    return tuple((float(u), float(v)) for u, v in points)


def _rows(grid: "Float") -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(f"{value:.8g}") for value in row) for row in grid)


def finite(values: Sequence[float]) -> tuple[float | None, ...]:
    """Values with None for what is not finite."""
    return tuple(value if np.isfinite(value) else None for value in values)

"""Watching a network settle: what `diagnose` returns."""

import numpy as np
import torch
from torch import Tensor

from kernels.arithmetic import run
from kernels.contrast import distance
from kernels.diagnostics import WATCHED_SWEEPS, Diagnostics, classify
from kernels.energy import energy, total_energy
from kernels.engine import Engine
from kernels.learner import check_rows
from kernels.phases import NudgedPhase, Phase
from kernels.rules import Relaxation
from kernels.settle import sweep
from kernels.spectral import spectral_norm

__all__ = ["observe"]

SAMPLED = 8


def watch(phase: Phase, relaxation: Relaxation, sweeps: int) -> tuple[list[float], list[float], list[Tensor]]:
    """Sweep `phase` and return its mean energies (sweeps + 1), its residuals and some of its states (sweeps + 1)."""
    energies, residuals, trajectory = [_mean_energy(phase)], [], [_sample(phase)]
    for step in range(sweeps):
        run(sweep(phase, relaxation, step, measured=True))
        energies.append(_mean_energy(phase))
        residuals.append(float(phase.change.max()))
        trajectory.append(_sample(phase))
    return energies, residuals, trajectory


def _mean_energy(phase: Phase) -> float:
    values = total_energy(phase) if isinstance(phase, NudgedPhase) else energy(phase)
    return float(values.double().mean())


def _sample(phase: Phase) -> Tensor:
    return torch.cat([state.value[:, :SAMPLED].flatten() for state in phase.states.values()]).double()


@torch.inference_mode()
def observe(engine: Engine, x: Tensor, y: Tensor) -> Diagnostics:
    """Settle a batch under observation; the engine's parameters and slots stay as they are.

    A random-sign nudge is watched at its positive sign. Raises KernelError for a batch that no step would take.
    """
    check_rows(x.shape[0], engine.batch)
    workspace = engine.workspace(x.shape[0])
    rule = workspace.rule
    workspace.load(x, y)
    workspace.aim(1)
    run(workspace.begin)
    free_energy, free_residual, states = watch(
        workspace.free, rule.free, max(rule.free.steps, WATCHED_SWEEPS)
    )
    trajectory = torch.stack(states).cpu().numpy().astype(np.float64)
    verdict, period = classify(free_residual, trajectory)
    if not bool(torch.isfinite(engine.parameters.flat.value).all()):
        # A clip may hide it from the states.
        verdict, period = "diverged", None

    workspace.relax(measured=False)
    run(workspace.compare)
    nudged_energy: list[float] = []
    nudged_residual: list[float] = []
    for phase in workspace.nudged[:1]:
        run([*phase.copy_from(workspace.free, phase.layers), *phase.pull_by(workspace.mistake)])
        nudged_energy, nudged_residual, _ = watch(phase, rule.nudged, rule.nudged.steps)

    workspace.relax(measured=False)
    workspace.nudge(1)
    gradients = engine.parameters.gradient_views
    unit = 1.0 / (distance(rule) * x.shape[0])
    return Diagnostics(
        free_energy=tuple(free_energy),
        free_residual=tuple(free_residual),
        nudged_energy=tuple(nudged_energy),
        nudged_residual=tuple(nudged_residual),
        spectral_norms={
            name: float(spectral_norm(view.value))
            for name, view in engine.parameters.views.items()
            if view.value.dim() == 2
        },
        gradient_norms={name: float(raw.double().norm()) * unit for name, raw in gradients.items()},
        verdict=verdict,
        period=period,
    )

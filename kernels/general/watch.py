"""What a network of the general learner does while it settles: energies, residuals, states, sweep by sweep."""

import torch
from torch import Tensor

from kernels.general.network import Network, Nudge, States
from kernels.rules import Relaxation

__all__ = ["watch"]

SAMPLED = 8


def watch(
    network: Network, states: States, x: Tensor, nudge: Nudge, relaxation: Relaxation, *, least: int = 0
) -> tuple[list[float], list[float], list[Tensor]]:
    """Sweep from `states` and return mean energies (sweeps + 1), residuals and the states of some samples (sweeps + 1).

    There are as many sweeps as the relaxation has, and `least` at least; none ends early.
    """

    def energy() -> float:
        total = network.energy(states, x)
        if nudge.y is not None:
            total = total + nudge.beta * network.cost(states, x, nudge.y)
        return float(total.double().mean())

    def sample() -> Tensor:
        return torch.cat([s[:SAMPLED].flatten() for s in states.values()])

    energies, residuals, trajectory = [energy()], [], [sample()]
    change: States | None = None
    for step in range(max(relaxation.steps, least)):
        new = network.sweep(states, x, nudge, relaxation, step, change)
        change = {layer: new[layer] - states[layer] for layer in new}
        states = new
        residuals.append(float(torch.stack([part.abs().amax() for part in change.values()]).amax()))
        energies.append(energy())
        trajectory.append(sample())
    return energies, residuals, trajectory

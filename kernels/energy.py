"""Energies and their exact gradients. The layered Hopfield energy with skip connections:

    E(x, s) = sum_l 1/2 |s_l|^2 - sum_l s_l . (sum_k W_kl s_k + b_l),    s_0 = x,

and the total energy F = E + beta C, C = 1/2 |o - y|^2 for an output inside the energy, -log softmax(readout)_y for
a readout. Scellier & Bengio (2017), eq. 1 to 4; Laborieux et al. (2021) for the readout.
"""

import torch
from torch import Tensor

from kernels.arithmetic import run
from kernels.phases import NudgedPhase, Phase

__all__ = ["energy", "energy_gradient", "total_energy"]


def energy(phase: Phase) -> Tensor:
    """Return E of the states that `phase` holds, for each sample: ([P,] batch)."""
    total = torch.zeros_like(phase.states[phase.layers[0]].value[..., 0, :])
    for layer, state in phase.states.items():
        drive = torch.empty_like(state.value)
        run(phase.from_below(layer, drive))
        total += (state.value * (0.5 * state.value - drive)).sum(-2)
    return total


def energy_gradient(phase: Phase, layer: int) -> Tensor:
    """Return dF/ds_l = s_l - pre_l of one state layer, ([P,] n_l, batch); dE/ds_l in a free phase."""
    received = torch.empty_like(phase.states[layer].value)
    if phase.reads(layer):
        run(phase.consult())
    run([*phase.receive(layer, received), *phase.goal(layer, received)])
    return phase.states[layer].value - received


def total_energy(phase: NudgedPhase) -> Tensor:
    """Return F = E + beta C of the states that a nudged `phase` holds, for each sample: ([P,] batch)."""
    run(phase.read())
    pull: Tensor = phase.cost() * phase.beta
    return energy(phase) + pull

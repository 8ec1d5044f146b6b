"""Which optimizer serves which settings."""

from collections.abc import Sequence

import torch

from kernels.dion import Dion
from kernels.elementwise import ElementwiseAdam, ElementwiseSgd, WeightGrid
from kernels.muon import Muon
from kernels.optimizers import FusedAdam, Optimizer, Sgd
from kernels.parameters import Parameters
from kernels.rules import OptimizerSettings

__all__ = ["make_optimizers"]


def make_optimizers(
    parameters: Parameters,
    settings: Sequence[OptimizerSettings],
    *,
    units: Sequence[float],
    grid: WeightGrid | None = None,
) -> list[Optimizer]:
    """Return what steps the parameters: one optimizer, or Muon or Dion for the weights and Adam for the biases."""
    first = settings[0]
    elementwise = grid is not None or parameters.arithmetic.population is not None
    if first.name == "sgd":
        if elementwise:
            return [ElementwiseSgd(parameters, units=units, settings=settings, grid=grid)]
        return [Sgd(parameters, unit=units[0], settings=first)]
    optimizers: list[Optimizer] = []
    part, rates = slice(None), [each.rate for each in settings]
    if first.name == "dion":
        optimizers = [Dion(parameters, settings=settings)]
        part, rates = slice(parameters.bias_start, None), [each.bias_rate for each in settings]
    if first.name == "muon":
        dtype = torch.bfloat16 if parameters.arithmetic.name == "bf16" else torch.float32
        optimizers = [Muon(parameters, settings=settings, operand_dtype=dtype)]
        part, rates = slice(parameters.bias_start, None), [each.bias_rate for each in settings]
    decays = [each.weight_decay for each in settings] if first.name == "adamw" else None
    if elementwise:
        adam = ElementwiseAdam(parameters, part, units=units, rates=rates, decays=decays, grid=grid)
        return [*optimizers, adam]
    decay = None if decays is None else decays[0]
    return [*optimizers, FusedAdam(parameters, part, unit=units[0], rate=rates[0], decay=decay)]

"""Layers that grow and classes that are remembered: Draelos et al. (2017), arXiv 1612.03770.

`Moments` and `ReplayStatistics` work on any codes. The autoencoders are trained by backpropagation, as in the paper.
"""

from kernels.growth.autoencoder import Level, Stack, initial_stack
from kernels.growth.decisions import Decision, GrowthLimits, Reason, Situation, decide, estimate_thresholds
from kernels.growth.replay import Moments, ReplayStatistics, conditioned_spectrum
from kernels.growth.streams import Stream, seed_bytes
from kernels.growth.training import (
    FROZEN,
    Schedule,
    Share,
    fit,
    gradients,
    train_level,
    train_levels,
    train_whole,
)
from kernels.growth.widening import NewUnits, incoming_rows, widen

__all__ = [
    "FROZEN",
    "Decision",
    "GrowthLimits",
    "Level",
    "Moments",
    "NewUnits",
    "Reason",
    "ReplayStatistics",
    "Schedule",
    "Share",
    "Situation",
    "Stack",
    "Stream",
    "conditioned_spectrum",
    "decide",
    "estimate_thresholds",
    "fit",
    "gradients",
    "incoming_rows",
    "initial_stack",
    "seed_bytes",
    "train_level",
    "train_levels",
    "train_whole",
    "widen",
]

"""Class-incremental learning: stacked autoencoders that grow and replay what they saw, Draelos et al. (2017)."""

from evaluator.incremental.data import (
    Access,
    AccessError,
    ClassGuard,
    IncrementalData,
    class_order,
    incremental_data,
)
from evaluator.incremental.experiment import (
    Event,
    Manifest,
    RunResult,
    StageLearned,
    read_manifest,
    run_folder,
    run_neurogenesis,
)
from evaluator.incremental.settings import DIGITS, MNIST, VARIANTS, NeurogenesisSettings, Variant
from evaluator.incremental.stages import GrowthRound

__all__ = [
    "DIGITS",
    "MNIST",
    "VARIANTS",
    "Access",
    "AccessError",
    "ClassGuard",
    "Event",
    "GrowthRound",
    "IncrementalData",
    "Manifest",
    "NeurogenesisSettings",
    "RunResult",
    "StageLearned",
    "Variant",
    "class_order",
    "incremental_data",
    "read_manifest",
    "run_folder",
    "run_neurogenesis",
]

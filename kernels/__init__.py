"""The arithmetic of settling: arrays in, arrays out.

Names that need torch are loaded on first use, so that shapes and rules can be read without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from kernels.diagnostics import Diagnostics
from kernels.errors import DivergedError, KernelError
from kernels.initial import initial_parameters
from kernels.learner import Learner, StepReport
from kernels.randomness import permutation
from kernels.rules import OptimizerSettings, Relaxation, Rule
from kernels.topology import Topology

if TYPE_CHECKING:
    from kernels.backend import choose_backend
    from kernels.backprop import BackpropLearner
    from kernels.eqprop import EqpropLearner
    from kernels.population import PopulationLearner, PopulationReport

__all__ = [
    "BackpropLearner",
    "Diagnostics",
    "DivergedError",
    "EqpropLearner",
    "KernelError",
    "Learner",
    "OptimizerSettings",
    "PopulationLearner",
    "PopulationReport",
    "Relaxation",
    "Rule",
    "StepReport",
    "Topology",
    "choose_backend",
    "initial_parameters",
    "permutation",
]

_LAZY = {
    "BackpropLearner": "kernels.backprop",
    "EqpropLearner": "kernels.eqprop",
    "PopulationLearner": "kernels.population",
    "PopulationReport": "kernels.population",
    "choose_backend": "kernels.backend",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'kernels' has no attribute {name!r}")

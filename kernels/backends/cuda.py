"""One network on a CUDA device with torch, in any arithmetic class."""

from collections.abc import Mapping

import torch

from kernels.backends.graph import fastest_step
from kernels.backends.probe import full_precision
from kernels.backends.torch_backend import TorchLearner
from kernels.learner import Array
from kernels.rules import ArithmeticName, OptimizerSettings, Rule
from kernels.topology import Topology

__all__ = ["CudaLearner"]


class CudaLearner(TorchLearner):
    """A network that learns by Equilibrium Propagation on `device`, and takes and gives arrays of the host.

    It begins from the same bits as the learner of the CPU, and its states are of the same form: either loads the
    other's. In exact-1 both go on with the same bits. Where no phase has a tolerance, steps are CUDA graphs.
    """

    def __init__(
        self,
        topology: Topology,
        parameters: Mapping[str, Array],
        rule: Rule,
        optimizer: OptimizerSettings,
        *,
        batch: int,
        arithmetic: ArithmeticName = "fp32",
        device: str | torch.device = "cuda",
    ) -> None:
        full_precision()
        super().__init__(
            topology, parameters, rule, optimizer, batch=batch, arithmetic=arithmetic, device=device
        )
        self._advance = fastest_step(self.engine)

"""One network on a CUDA device with torch, in float32 or with bfloat16 products."""

from collections.abc import Mapping

import torch

from kernels.backends.probe import full_precision
from kernels.backends.torch_backend import TorchLearner
from kernels.engine import Engine
from kernels.learner import Array
from kernels.rules import ArithmeticName, OptimizerSettings, Rule
from kernels.topology import Topology

__all__ = ["CudaLearner"]


class CudaLearner(TorchLearner):
    """A network that learns by Equilibrium Propagation on `device`, and takes and gives arrays of the host.

    It begins from the same bits as the learner of the CPU, and its states are of the same form: either loads the
    other's. Raises KernelError in exact-1, which runs on the CPU.
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
        super().__init__(topology, parameters, rule, optimizer, batch=batch, arithmetic=arithmetic)
        # The twin on the host checks states, copies them out, and never settles: it has parameters and slots alone.
        self._host = self.engine
        with torch.inference_mode():
            self.engine = Engine(
                topology,
                [parameters],
                [rule],
                [optimizer],
                batch=batch,
                arithmetic=arithmetic,
                population=None,
                device=device,
            )
        # A spectral cap that is applied on both devices rounds differently.
        self.engine.adopt(self._host)

    def parameters(self) -> dict[str, Array]:
        """Return copies of the parameters by name."""
        self._host.adopt(self.engine)
        return self._host.parameters.read(0)

    def state(self) -> dict[str, Array]:
        """Return copies of all that is needed to continue bit for bit on the same device."""
        self._host.adopt(self.engine)
        return self._host.state()

    def load(self, state: Mapping[str, Array]) -> None:
        """Continue from a `state` of this device or of the CPU; raises KernelError for one of another network."""
        self._host.load(state)
        self.engine.adopt(self._host)
        self._failed_at = 0

"""CUDA kernels through CuPy for populations of Equilibrium Propagation networks: P genomes in one launch.

Layouts are those of `kernels.backends.triton`: states S_k ([P, B, d_k], fp16, or fp32 as the truth path), weights W_k
[P, d_{k-1}, d_k] in the dtype of the states, biases b_k [P, d_k] fp32. Importing this package, or a name from it, loads
no cupy: the first launch does.
"""

from kernels.backends.cupy.two_hidden import settle_persistent_2h
from kernels.backends.cupy.two_hidden_plan import LARGEST_CLASSES, LARGEST_HIDDEN

__all__ = ["LARGEST_CLASSES", "LARGEST_HIDDEN", "settle_persistent_2h"]

"""Triton kernels for populations of Equilibrium Propagation networks: P genomes in one launch.

Layouts: states S_k ([P, B, d_k], fp16, or fp32 as the truth path), weights W_k [P, d_{k-1}, d_k] as fp32 masters with
a shadow in the dtype of the states, biases b_k [P, d_k] fp32. Names are loaded on first use: importing this package
needs no triton, and the node process, which never uses it, never loads it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from kernels.errors import KernelError

if TYPE_CHECKING:
    from kernels.backends.triton.hebbian import AdamState, Product, SgdState, hebbian_bias, hebbian_update
    from kernels.backends.triton.layer import Activation, Feed, settle_layer
    from kernels.backends.triton.one_hidden import settle_persistent_1h
    from kernels.backends.triton.orthogonal import newton_schulz_small
    from kernels.backends.triton.ragged import settle_persistent_ragged
    from kernels.backends.triton.ragged_layout import Network, RaggedLayout
    from kernels.backends.triton.spectrum import power_iter

__all__ = [
    "Activation",
    "AdamState",
    "Feed",
    "Network",
    "Product",
    "RaggedLayout",
    "SgdState",
    "hebbian_bias",
    "hebbian_update",
    "newton_schulz_small",
    "power_iter",
    "settle_layer",
    "settle_persistent_1h",
    "settle_persistent_ragged",
]

_LAZY = {
    "Activation": "layer",
    "AdamState": "hebbian",
    "Feed": "layer",
    "Network": "ragged_layout",
    "Product": "hebbian",
    "RaggedLayout": "ragged_layout",
    "SgdState": "hebbian",
    "hebbian_bias": "hebbian",
    "hebbian_update": "hebbian",
    "newton_schulz_small": "orthogonal",
    "power_iter": "spectrum",
    "settle_layer": "layer",
    "settle_persistent_1h": "one_hidden",
    "settle_persistent_ragged": "ragged",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_LAZY[name]}")
    except ModuleNotFoundError as error:
        if error.name != "triton":
            raise
        raise KernelError(
            f"{name} needs the package triton (3.6 or 3.7, Linux), which is not installed. "
            "Install eqmesh[cuda12] or eqmesh[cuda13], or use the torch-cpu backend."
        ) from error
    return getattr(module, name)

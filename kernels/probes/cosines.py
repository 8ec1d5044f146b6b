"""Gradient estimates against exact gradients, array by array, and two estimates that are wrong on purpose. Pure."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kernels.backends.reference import Parameters, Reference, States
from kernels.learner import Array
from kernels.probes.adjoint import adjoint, parameter_gradient
from kernels.probes.couplings import Couplings
from kernels.probes.draws import normal

__all__ = ["cosine", "cosines", "feedback_gradient", "random_feedback"]

Float = NDArray[np.float64]


def cosine(left: Float, right: Float) -> float:
    """Return the cosine of two arrays of one shape; NaN where either is zero."""
    norm = math.sqrt(float((left * left).sum())) * math.sqrt(float((right * right).sum()))
    return float((left * right).sum()) / norm if norm > 0.0 else math.nan


def cosines(estimate: Mapping[str, Float], exact: Mapping[str, Float]) -> dict[str, float]:
    """Return the cosine of each parameter's estimate with its exact gradient, by name."""
    return {name: cosine(estimate[name], value) for name, value in exact.items()}


def random_feedback(parameters: Mapping[str, Array], seed: bytes) -> dict[str, Float]:
    """Return, for every weight, random normal numbers of its shape and its Frobenius norm."""
    result = {}
    for name, array in parameters.items():
        if np.ndim(array) == 2:
            drawn = normal(seed, f"feedback/{name}", *np.shape(array))
            norm = float(np.linalg.norm(np.asarray(array, dtype=np.float64)))
            result[name] = drawn * (norm / float(np.linalg.norm(drawn)))
    return result


def feedback_gradient(network: Reference, states: States, feedback: Mapping[str, Array]) -> Parameters:
    """Return the linearised estimate whose errors come down through `feedback` instead of the weights' transposes.

    Feedback alignment (Lillicrap et al. 2016) before any learning has aligned it. Raises DivergedError where the
    asymmetric couplings grow.
    """
    d = adjoint(network, states, Couplings(network.topology, network.parameters, feedback))
    return parameter_gradient(network, states, d)

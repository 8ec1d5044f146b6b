"""The angle between the rule's estimate and the exact gradient, parameter by parameter. Pure."""

import math
from typing import Literal

import msgspec

from evaluator.probes.subject import Network, Samples, check, one_hot
from kernels.backends.reference import Parameters, Reference
from kernels.probes.adjoint import exact_adjoint, parameter_gradient
from kernels.probes.cosines import cosines, feedback_gradient, random_feedback
from kernels.probes.equilibrium import find_equilibrium
from kernels.topology import weight_name

__all__ = ["Alignment", "AlignmentSettings", "alignment"]

Against = Literal["rule", "random-feedback", "flipped"]


class AlignmentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Samples of the batch, the cosine that counts as aligned, and which estimate is held against the exact gradient.

    "rule" is the network's own. "random-feedback" and "flipped" are controls, wrong on purpose: errors that come down
    through random matrices, and the rule's estimate with its sign turned.
    """

    samples: int = 64
    least: float = 0.9
    estimate: Against = "rule"

    def __post_init__(self) -> None:
        check(self.samples >= 1, "1 sample or more", self.samples)
        check(-1 <= self.least <= 1, "least in [-1, 1]", self.least)


class Alignment(msgspec.Struct, frozen=True, kw_only=True):
    """Cosines by parameter, None where a gradient is zero: 1 is the exact direction, 0 chance, -1 a wrong sign.

    `hidden` is the mean cosine of the weights into hidden layers, None where all their gradients are zero. The exact
    gradient is that of the mean cost at the settled equilibrium; `residual` says how far another sweep would move it.
    `aligned` where every cosine is at least `least` and something has a gradient.
    """

    cosines: dict[str, float | None]
    worst: float | None
    hidden: float | None
    residual: float
    aligned: bool


def alignment(network: Network, data: Samples, seed: bytes, settings: AlignmentSettings) -> Alignment:
    """Compare an estimate with the exact gradient, from a dense solve at the equilibrium of each sample.

    Raises KernelError for more than 2,048 state units, or where an equilibrium is singular.
    """
    data = data.first(settings.samples)
    found = find_equilibrium(network.topology, network.parameters, data.inputs, one_hot(network, data))
    reference, states = found.network, found.states
    exact = parameter_gradient(reference, states, exact_adjoint(reference, states))
    if settings.estimate == "random-feedback":
        estimate = feedback_gradient(reference, states, random_feedback(network.parameters, seed))
    else:
        estimate = _estimate(network, reference, flipped=settings.estimate == "flipped")
    return _judge(network, cosines(estimate, exact), float(found.residuals.max()), settings.least)


def _estimate(network: Network, reference: Reference, *, flipped: bool) -> Parameters:
    estimate, *_ = reference.gradient(network.rule)
    return {name: -value for name, value in estimate.items()} if flipped else estimate


def _judge(network: Network, found: dict[str, float], residual: float, least: float) -> Alignment:
    values = {name: None if math.isnan(value) else value for name, value in found.items()}
    known = [value for value in values.values() if value is not None]
    into_hidden = [
        values[weight_name(source, target)]
        for source, target in network.topology.connections
        if target in network.topology.hidden_layers
    ]
    hidden = [value for value in into_hidden if value is not None]
    return Alignment(
        cosines=values,
        worst=min(known, default=None),
        hidden=sum(hidden) / len(hidden) if hidden else None,
        residual=residual,
        aligned=bool(known) and min(known) >= least,
    )

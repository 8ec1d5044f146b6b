"""Genome to network: the one place where genome and kernels meet."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from evaluator.errors import EvaluatorError
from evaluator.jobs import Arithmetic
from evaluator.shape import shape_of
from genome import Value
from kernels import (
    BackpropLearner,
    EqpropLearner,
    OptimizerSettings,
    Relaxation,
    Rule,
    Topology,
    initial_parameters,
)
from kernels.rules import Estimate, OptimizerName, Order, Scheme
from kernels.topology import Output

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["build", "optimizer_of", "rule_of", "topology_of"]

_ORDERS: dict[str, tuple[Order, Order]] = {
    "forward-backward": ("forward", "backward"),
    "forward-forward": ("forward", "forward"),
    "alternating": ("alternating", "alternating"),
}


def topology_of(values: Mapping[str, Value], *, inputs: int, classes: int) -> Topology:
    """Layers and connections of the network that the genes describe."""
    shape = shape_of(values, inputs=inputs, classes=classes)
    return Topology(
        sizes=shape.sizes,
        output=cast("Output", shape.output),
        skips=shape.skips,
        clip=float(values.get("clip", 1.0)),
    )


def rule_of(values: Mapping[str, Value]) -> Rule:
    """Learning rule and both relaxations. Raises EvaluatorError for a backprop genome, which has none."""
    if values["credit"] != "ep":
        raise EvaluatorError(f"only a genome with credit=ep has a rule, got credit={values['credit']}")
    free_order, nudged_order = _ORDERS[str(values.get("order", "forward-backward"))]
    scheme = cast("Scheme", values.get("scheme", "block"))
    tolerance = float(values.get("tolerance", 0.0))
    step_size = float(values.get("step_size", 1.0))

    def relaxation(order: Order, steps: int) -> Relaxation:
        return Relaxation(scheme=scheme, order=order, steps=steps, tolerance=tolerance, step_size=step_size)

    return Rule(
        estimate=cast("Estimate", values["estimate"]),
        beta=float(values.get("beta_ce", values.get("beta_mse", 1.0))),
        free=relaxation(free_order, int(values.get("free_steps", 0))),
        nudged=relaxation(nudged_order, int(values["nudged_steps"])),
    )


def optimizer_of(values: Mapping[str, Value]) -> OptimizerSettings:
    """Optimizer and its rates."""
    name = cast("OptimizerName", values["optimizer"])
    rate = float(values["lr_adam" if name in ("adam", "adamw") else f"lr_{name}"])
    return OptimizerSettings(
        name=name,
        rate=rate,
        momentum=float(values.get("momentum", 0.0)),
        weight_decay=float(values.get("weight_decay", 0.0)),
        ns_steps=int(values.get("ns_steps", 5)),
        bias_rate=float(values.get("lr_bias", rate)),
        spectral_cap=float(values["gamma"]) if values.get("spectral") == "clip" else None,
    )


def build(
    values: Mapping[str, Value],
    *,
    inputs: int,
    classes: int,
    seed: bytes,
    arithmetic: Arithmetic,
    backend: str,
    parameters: "Mapping[str, NDArray[np.generic]] | None" = None,
) -> EqpropLearner | BackpropLearner:
    """A network with its first weights, ready to train. `seed` is 32 bytes (`jobs.stream_key`).

    `parameters` replace the weights that are drawn from the seed; the class exact-1 brings them onto its grid.
    Raises kernels.KernelError where backend or arithmetic class cannot do what is asked, or parameters do not fit.
    """
    topology = topology_of(values, inputs=inputs, classes=classes)
    if parameters is None:
        parameters = initial_parameters(topology, seed=seed, gain=float(values.get("gain", 1.0)))
    batch, optimizer = int(values["batch"]), optimizer_of(values)
    if values["credit"] == "backprop":
        return BackpropLearner(
            topology, parameters, optimizer, batch=batch, arithmetic=arithmetic, backend=backend
        )
    return EqpropLearner(
        topology, parameters, rule_of(values), optimizer, batch=batch, arithmetic=arithmetic, backend=backend
    )

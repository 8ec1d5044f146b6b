"""Genome to network: the one place where genome and kernels meet."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from evaluator.cost import optimizer_name
from evaluator.errors import EvaluatorError
from evaluator.jobs import Arithmetic
from evaluator.shape import Image, is_plain, rule_name, shape_of
from genome import Value
from kernels import (
    BackpropLearner,
    EqpropLearner,
    KernelError,
    OptimizerSettings,
    Relaxation,
    Rule,
    Topology,
    initial_parameters,
)
from kernels.general.convolution import ConvolutionalStructure, Pool
from kernels.general.heads import HeadedStructure
from kernels.general.lattice import LatticeStructure
from kernels.general.learner import GeneralLearner
from kernels.general.rules import Feedback, GeneralEstimate, GeneralRule, Sleep, WeightBits
from kernels.general.structure import DenseStructure, Structure, initial_values
from kernels.members import Member
from kernels.rules import Estimate, OptimizerName, Order, Scheme
from kernels.topology import Output

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "build",
    "general_rule_of",
    "learner_of",
    "member_of",
    "optimizer_of",
    "rule_of",
    "structure_of",
    "topology_of",
]

# The chain rule on what the general learner is built of: it reads neither nudge nor sweeps.
_BASELINE = GeneralRule(estimate="backprop", beta=1.0, free=Relaxation(), nudged=Relaxation(steps=1))
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


def structure_of(
    values: Mapping[str, Value],
    *,
    inputs: int,
    classes: int,
    image: Image | None = None,
    heads: tuple[int, ...] = (),
) -> Structure:
    """Layers of the general learner: dense or looped ones, a cube, or filters, which need the input's `image`.

    `heads` divide the classes, where a task has several heads.
    """
    body = _body(values, inputs, classes, image)
    return HeadedStructure(body, heads) if heads else body


def _body(values: Mapping[str, Value], inputs: int, classes: int, image: Image | None) -> Structure:
    if "side" in values:
        return LatticeStructure(
            inputs, int(values["side"]), classes, str(values["output"]), float(values.get("clip", 1.0))
        )
    if "layers" in values:
        shape = shape_of(values, inputs=inputs, classes=classes, image=image)
        return ConvolutionalStructure(
            image=shape.maps[0],
            channels=tuple(channels for channels, _, _ in shape.maps[1:]),
            classes=classes,
            kernel=shape.kernel,
            pool=cast("Pool", values["pool"]),
            output=shape.output,
            clip=float(values.get("clip", 1.0)),
        )
    looped = values.get("looped") == "on"
    return DenseStructure(topology_of(values, inputs=inputs, classes=classes), looped=looped)


def rule_of(values: Mapping[str, Value]) -> Rule:
    """Learning rule and both relaxations of the engine.

    Raises EvaluatorError for a backprop genome, which has none, and for one that the general learner trains.
    """
    if values["credit"] != "ep":
        raise EvaluatorError(f"only a genome with credit=ep has a rule, got credit={values['credit']}")
    if not is_plain(values):
        raise EvaluatorError(
            f"the engine has plain rules on dense layers alone, got a genome of the rule {rule_name(values)!r} with "
            "other genes of the family. Use general_rule_of."
        )
    free, nudged = _relaxations(values)
    return Rule(estimate=cast("Estimate", values["estimate"]), beta=_beta(values), free=free, nudged=nudged)


def general_rule_of(values: Mapping[str, Value]) -> GeneralRule:
    """Learning rule of the general learner. Raises EvaluatorError for a backprop genome, KernelError for linearised."""
    if values["credit"] != "ep":
        raise EvaluatorError(f"only a genome with credit=ep has a rule, got credit={values['credit']}")
    name = rule_name(values)
    free, nudged = _relaxations(values)
    asleep = values.get("sleep") == "on"
    return GeneralRule(
        estimate=cast("GeneralEstimate", values["estimate"] if name == "plain" else name),
        beta=_beta(values),
        free=free,
        nudged=nudged,
        points=int(values.get("points", 4)),
        feedback=cast("Feedback", values.get("feedback", "tied")),
        feedback_rate=float(values.get("feedback_rate", 0.05)),
        homeostasis=float(values.get("homeostasis", 0.1)),
        activation=str(values.get("activation_smooth", values.get("activation", "clip"))),
        keep=float(values.get("keep", 1.0)),
        damping=float(values.get("damping", 1.0)),
        momentum=float(values.get("settle_momentum", 0.0)),
        weight_bits=cast("WeightBits", int(values.get("weight_bits", 32))),
        sleep=_sleep(values) if asleep else None,
    )


def _sleep(values: Mapping[str, Value]) -> Sleep:
    # One layer of states is at rest after a single sweep.
    steps = int(values.get("sleep_steps", 1))
    return Sleep(every=int(values["sleep_every"]), rate=float(values["sleep_rate"]), steps=steps)


def _beta(values: Mapping[str, Value]) -> float:
    return float(values.get("beta_ce", values.get("beta_mse", 1.0)))


def _relaxations(values: Mapping[str, Value]) -> tuple[Relaxation, Relaxation]:
    """How the free and the nudged phase settle."""
    free_order, nudged_order = _ORDERS[str(values.get("order", "forward-backward"))]
    scheme = cast("Scheme", values.get("scheme", "block"))
    tolerance = float(values.get("tolerance", 0.0))
    step_size = float(values.get("step_size", 1.0))

    def relaxation(order: Order, steps: int) -> Relaxation:
        return Relaxation(scheme=scheme, order=order, steps=steps, tolerance=tolerance, step_size=step_size)

    free = relaxation(free_order, int(values.get("free_steps", 0)))
    return free, relaxation(nudged_order, int(values.get("nudged_steps", 1)))


def optimizer_of(values: Mapping[str, Value]) -> OptimizerSettings:
    """Optimizer and its rates."""
    name = cast("OptimizerName", optimizer_name(values))
    rate = float(values["lr_adam" if name in ("adam", "adamw") else f"lr_{name}"])
    return OptimizerSettings(
        name=name,
        rate=rate,
        momentum=float(values.get("momentum", 0.0)),
        weight_decay=float(values.get("weight_decay", 0.0)),
        ns_steps=int(values.get("ns_steps", 5)),
        bias_rate=float(values.get("lr_bias", rate)),
        spectral_cap=float(values["gamma"]) if values.get("spectral") == "clip" else None,
        rank_fraction=float(values.get("rank_fraction", 0.25)),
        error_feedback=float(values.get("error_feedback", 1.0)),
    )


def member_of(
    values: Mapping[str, Value],
    *,
    inputs: int,
    classes: int,
    seed: bytes,
    parameters: "Mapping[str, NDArray[np.generic]] | None" = None,
) -> Member:
    """What an Equilibrium Propagation network is made of: its first weights, drawn from `seed` (32 bytes), and rates.

    `parameters` replace the weights that are drawn. Raises EvaluatorError for a backprop genome.
    """
    topology = topology_of(values, inputs=inputs, classes=classes)
    if parameters is None:
        parameters = initial_parameters(topology, seed=seed, gain=float(values.get("gain", 1.0)))
    return Member(topology, parameters, rule_of(values), optimizer_of(values), int(values["batch"]))


def build(
    values: Mapping[str, Value],
    *,
    inputs: int,
    classes: int,
    seed: bytes,
    arithmetic: Arithmetic,
    backend: str,
    image: Image | None = None,
    heads: tuple[int, ...] = (),
    parameters: "Mapping[str, NDArray[np.generic]] | None" = None,
) -> EqpropLearner | BackpropLearner | GeneralLearner:
    """A network with its first weights, ready to train. `seed` is 32 bytes (`jobs.stream_key`).

    The engine's learner where it can, the general one where a gene of the family asks for more, or where a task has
    several `heads` of so many classes each. `image` is what filters take an input for. `parameters` replace the weights
    that are drawn from the seed; the class exact-1 brings them onto its grid. Raises kernels.KernelError where backend
    or arithmetic class cannot do what is asked, or parameters do not fit.
    """
    if heads:
        structure = structure_of(values, inputs=inputs, classes=classes, image=image, heads=heads)
        return _general(values, structure, seed, arithmetic, backend, parameters)
    if values["credit"] == "backprop":
        topology = topology_of(values, inputs=inputs, classes=classes)
        if parameters is None:
            parameters = initial_parameters(topology, seed=seed, gain=float(values.get("gain", 1.0)))
        return BackpropLearner(
            topology,
            parameters,
            optimizer_of(values),
            batch=int(values["batch"]),
            arithmetic=arithmetic,
            backend=backend,
        )
    if not is_plain(values):
        structure = structure_of(values, inputs=inputs, classes=classes, image=image)
        return _general(values, structure, seed, arithmetic, backend, parameters)
    member = member_of(values, inputs=inputs, classes=classes, seed=seed, parameters=parameters)
    return learner_of(member, arithmetic=arithmetic, backend=backend)


def _general(
    values: Mapping[str, Value],
    structure: Structure,
    seed: bytes,
    arithmetic: Arithmetic,
    backend: str,
    parameters: "Mapping[str, NDArray[np.generic]] | None",
) -> GeneralLearner:
    """The general learner of a genome. Raises KernelError where another class or backend is asked for."""
    if arithmetic != "fp32" or backend not in ("auto", "torch-cpu"):
        many = isinstance(structure, HeadedStructure)
        what = "several heads on one body" if many else "the rules of the family beyond the plain ones"
        raise KernelError(
            f"{what} compute in fp32 on torch-cpu, got {arithmetic} on {backend!r}. Choose those, or a task of one "
            "head and a genome of the rule plain without other genes of the family."
        )
    if values.get("estimate") == "linearised" and values["credit"] == "ep":
        raise KernelError(
            "the linearised estimate is an algorithm of the engine, whose networks have one head; this task has "
            "several. Use centred, one-sided, negative or random-sign."
        )
    if parameters is None:
        parameters = initial_values(structure, seed, float(values.get("gain", 1.0)))
    return GeneralLearner(
        structure,
        parameters,
        _BASELINE if values["credit"] == "backprop" else general_rule_of(values),
        optimizer_of(values),
        batch=int(values["batch"]),
        seed=seed,
    )


def learner_of(member: Member, *, arithmetic: Arithmetic, backend: str) -> EqpropLearner:
    """The network alone that this member describes. Raises kernels.KernelError as `build` does."""
    return EqpropLearner(
        member.topology,
        member.parameters,
        member.rule,
        member.optimizer,
        batch=member.batch,
        arithmetic=arithmetic,
        backend=backend,
    )

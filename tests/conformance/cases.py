"""Small networks, batches and learners that the conformance tests share. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kernels import (
    BackpropLearner,
    EqpropLearner,
    Learner,
    OptimizerSettings,
    PopulationLearner,
    Relaxation,
    Rule,
    Topology,
)
from kernels.arithmetic import run
from kernels.backends.reference_learner import ReferenceLearner
from kernels.engine import Engine
from tests.conformance.oracle import Float, Parameters

SIZES = {1: (7, 5, 3), 2: (7, 5, 4, 3), 3: (7, 5, 6, 4, 3)}
SKIPS = {1: ((0, 2),), 2: ((0, 2), (1, 3)), 3: ((0, 3), (1, 3), (1, 4), (2, 4))}
BATCH = 6
# The weight change is the gradient.
PLAIN = OptimizerSettings(name="sgd", rate=1.0, momentum=0.0)


@dataclass(frozen=True)
class Way:
    """A backend and an arithmetic class."""

    backend: str
    arithmetic: Any

    def __str__(self) -> str:
        return "reference" if self.backend == "reference" else self.arithmetic


REFERENCE = Way("reference", "fp32")
FP32 = Way("torch-cpu", "fp32")
BF16 = Way("torch-cpu", "bf16")
EXACT = Way("torch-cpu", "exact-1")
WAYS = (REFERENCE, FP32, BF16, EXACT)


def uniform(label: str, *shape: int) -> Float:
    """Numbers on [-1, 1) that follow from `label` alone, as multiples of 2^-8: exact in every class."""
    key = int.from_bytes(hashlib.sha256(label.encode()).digest()[:16], "little")
    words = np.random.Philox(key=key).random_raw(int(np.prod(shape)))
    return ((words >> np.uint64(55)).astype(np.float64) / 256.0 - 1.0).reshape(shape)


def on_grid(values: Float) -> Float:
    return np.round(values * 256.0) / 256.0


def topology(output: Any, depth: int, *, skip: bool, clip: float = 1.0) -> Topology:
    return Topology(SIZES[depth], output=output, skips=SKIPS[depth] if skip else (), clip=clip)


def weights(shape: Topology, label: str = "", *, gain: float = 0.9) -> Parameters:
    """Weights below `gain` over the root of the fan-in, on the grid of bf16; biases that keep most units alive."""
    values = {}
    for name, extent in shape.parameter_shapes.items():
        raw = uniform(f"{label}/{name}/{shape}", *extent)
        if name.startswith("w"):
            values[name] = on_grid(gain * raw / np.sqrt(shape.fan_in(int(name.split("-")[1]))))
        else:
            values[name] = on_grid(0.25 + 0.25 * raw)
    return values


def batch(
    shape: Topology, rows: int = BATCH, label: str = ""
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    x = on_grid((uniform(f"x/{label}", rows, shape.sizes[0]) + 1.0) / 2.0).astype(np.float32)
    classes = shape.sizes[-1]
    return x, (np.arange(rows, dtype=np.int64) * 2 + len(label)) % classes


def one_hot(shape: Topology, y: NDArray[np.int64]) -> Float:
    return np.array([[float(c == label) for c in range(shape.sizes[-1])] for label in y])


def rule(
    estimate: Any = "centred",
    *,
    beta: float = 0.4,
    scheme: Any = "block",
    orders: tuple[Any, Any] = ("forward", "backward"),
    steps: tuple[int, int] = (3, 3),
    tolerances: tuple[float, float] = (0.0, 0.0),
    step_size: float = 1.0,
) -> Rule:
    free, nudged = (
        Relaxation(scheme=scheme, order=order, steps=count, tolerance=tolerance, step_size=step_size)
        for order, count, tolerance in zip(orders, steps, tolerances, strict=True)
    )
    return Rule(estimate=estimate, beta=beta, free=free, nudged=nudged)


def learner(
    shape: Topology,
    values: Mapping[str, NDArray[np.floating]],
    how: Rule,
    settings: OptimizerSettings = PLAIN,
    *,
    way: Way = FP32,
    rows: int = BATCH,
) -> EqpropLearner:
    made = EqpropLearner(
        shape, values, how, settings, batch=rows, arithmetic=way.arithmetic, backend=way.backend
    )
    assert made.backend == way.backend
    return made


def spoil(network: Any, name: str, value: float = np.nan, *, slot: int | None = None) -> None:
    """Put `value` into the first entry of a parameter, as a step that went wrong might."""
    inner = getattr(network, "_learner", network)
    if isinstance(inner, ReferenceLearner):
        inner._values[name].flat[0] = value
        return
    parameters = inner._parameters if isinstance(inner, BackpropLearner) else engine_of(inner).parameters
    with torch.inference_mode():
        view = parameters.views[name].value
        (view if slot is None else view[slot]).view(-1)[0] = value
        run(parameters.arithmetic.refresh(parameters.flat))


def engine_of(network: Any) -> Engine:
    """The torch engine of a learner or a population."""
    inner = getattr(network, "_learner", network)
    engine = inner._engine if isinstance(inner, PopulationLearner) else inner.engine
    assert isinstance(engine, Engine)
    return engine


def change(
    network: Learner,
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    rate: float = 1.0,
    scale: float = 1.0,
    sign: int = 1,
) -> tuple[Parameters, Any]:
    """The weight change of one step over `rate`, and the step's report."""
    before = network.parameters()
    report = network.step(x, y, scale=scale, sign=sign)
    after = network.parameters()
    return {
        name: (before[name].astype(np.float64) - after[name].astype(np.float64)) / rate for name in before
    }, report


def flat(values: Mapping[str, NDArray[np.floating]]) -> Float:
    return np.concatenate([np.asarray(values[name], dtype=np.float64).ravel() for name in sorted(values)])


def distance(came: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """The largest error over the largest entry expected, all parameters together."""
    assert came.keys() == expected.keys()
    for name, value in came.items():
        assert value.shape == expected[name].shape, name
    return float(np.abs(flat(came) - flat(expected)).max() / np.abs(flat(expected)).max())


def relative(came: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """|came - expected| / |expected|."""
    return float(np.linalg.norm(flat(came) - flat(expected)) / np.linalg.norm(flat(expected)))


def cosine(came: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    a, b = flat(came), flat(expected)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def same_bits(came: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    return came.keys() == expected.keys() and all(
        came[name].dtype == expected[name].dtype and came[name].tobytes() == expected[name].tobytes()
        for name in came
    )

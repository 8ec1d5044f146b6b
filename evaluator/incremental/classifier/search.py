"""Class-incremental learning of one genome, for a search: genes to settings, stages to a curve and objectives.

The same stages as `eqmesh experiment incremental` runs, without its folder of checkpoints: an evaluation that is cut
off is asked for again.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evaluator.cost import cost_of
from evaluator.incremental.classifier.messages import ClassifierVariant
from evaluator.incremental.classifier.settings import ClassifierSettings
from evaluator.incremental.classifier.stages import ClassifierState, Course, advance, begin
from evaluator.incremental.data import ClassGuard, IncrementalData, class_order
from evaluator.incremental.metrics import forgetting, macro
from evaluator.incremental.settings import Regime
from evaluator.jobs import CurvePoint
from genome import Value

__all__ = ["Learned", "course_of", "learn_course", "memory_bytes", "settings_of"]

_VARIANTS: Mapping[tuple[bool, bool], ClassifierVariant] = {
    (True, True): "ndl+ir",
    (True, False): "ndl",
    (False, True): "cl+ir",
    (False, False): "cl",
}
_FLOAT_BYTES, _STATISTIC_BYTES = 4, 8


@dataclass(frozen=True)
class Learned:
    """The last state of a course, and what became of it."""

    state: ClassifierState
    objectives: dict[str, float]


def settings_of(values: Mapping[str, Value], *, side: int, epochs: int) -> ClassifierSettings:
    """The settings that genes of the space `incremental` stand for, on images `side` pixels wide.

    `epochs` are the passes that a class gets, of which genes take shares: a share above 0 is one pass at least.
    """

    def number(name: str, default: float) -> float:
        return float(values.get(name, default))

    def passes(name: str) -> int:
        return math.ceil(number(name, 0.0) * epochs - 1e-9)

    deep = int(values["depth"]) > 1
    return ClassifierSettings(
        side=side,
        code_side=max(1, round(number("code", 1.0) * side)),
        widths=(int(values["width1"]), *((int(values["width2"]),) if deep else ())),
        cap=int(values.get("cap", 0)),
        class_cap=int(values.get("class_cap", 0)),
        output="ce" if values["output"] == "ce" else "mse",
        beta=number("beta_ce", number("beta_mse", 1.0)),
        gain=number("gain", 1.0),
        free_steps=int(values.get("free_steps", 0)),
        nudged_steps=int(values["nudged_steps"]),
        rate=number("lr_adam", 0.0),
        batch=int(values["batch"]),
        base_epochs=epochs,
        joint_epochs=epochs,
        learn_epochs=passes("learn"),
        plasticity_epochs=passes("plasticity"),
        plasticity_scale=number("plasticity_rate", 1.0),
        stability_epochs=passes("stability"),
        stability_scale=number("stability_rate", 1.0),
        quantile=number("quantile", 0.95),
        margin=number("margin", 1.0),
        max_outlier_fraction=number("outliers", 1.0),
        new_fraction=number("added", 1.0),
        patience=int(values.get("patience", 1)),
        improvement=number("improvement", 0.0),
        selectivity=number("selectivity", 0.0),
        new_from="data" if values.get("new_from") == "data" else "replay",
        replay_ratio=number("replay_ratio", 1.0),
        shrinkage=number("shrinkage", 0.0),
        floor=number("floor", 1e-6),
    )


def course_of(values: Mapping[str, Value], data: IncrementalData, *, epochs: int, seed: int) -> Course:
    """The course of a genome through the classes of `data`: its variant, order and first network.

    Raises TaskError for data that are no square images or have too few classes.
    """
    side = math.isqrt(data.train_x.shape[1])
    settings = settings_of(values, side=side, epochs=epochs)
    order = class_order(data.classes, base=settings.base)
    grows, replays = values.get("growth") == "on", values.get("replay") == "on"
    variant = _VARIANTS[grows, replays]
    if values["course"] == "joint":
        order, variant = (tuple(label for labels in order for label in labels),), "joint"
    regime = Regime(grows=grows, source="intrinsic" if replays else "none")
    return Course(data, order, variant, regime, settings, seed, settings.widths)


def learn_course(course: Course, on_point: Callable[[CurvePoint, float], None]) -> Learned:
    """Learn all stages. `on_point` hears after each: a point, and the share of the stages that is done.

    A point's `epoch` counts the classes learned, its accuracy is over those. Raises kernels.DivergedError.
    """
    guard = ClassGuard(course.data, course.order, course.regime.source)
    started = time.process_time()
    state = begin(course, guard)
    on_point(*_point(state, course, time.process_time() - started))
    while state.stage + 1 < len(course.order):
        state = advance(state, course, guard, on_round=lambda _round: None)
        on_point(*_point(state, course, time.process_time() - started))
    return Learned(state, _objectives(state, course))


def _point(state: ClassifierState, course: Course, train_cpu_s: float) -> tuple[CurvePoint, float]:
    seen = sum(len(labels) for labels in course.order[: state.stage + 1])
    point = CurvePoint(
        samples=state.presented,
        epoch=float(seen),
        accuracy=float(state.accuracy[-1, :seen].mean()),
        residual=state.residual,
        train_cpu_s=train_cpu_s,
    )
    return point, (state.stage + 1) / len(course.order)


def _objectives(state: ClassifierState, course: Course) -> dict[str, float]:
    cost = cost_of(
        _genes(course), inputs=course.settings.side**2, classes=len(course.labels), arithmetic="fp32"
    )
    return {
        "accuracy": macro(state.accuracy),
        "forgetting": forgetting(state.accuracy, course.learned, lower_is_better=False),
        "memory": float(memory_bytes(course)),
        "work": state.presented * cost.macs_per_step / cost.batch,
    }


def memory_bytes(course: Course) -> int:
    """Bytes that training needs at its peak: the network at its capacity, statistics, and the largest mixture.

    The network's arrays have room for all units that may come; statistics are a mean and a covariance a class.
    """
    settings, inputs, classes = course.settings, course.settings.side**2, len(course.labels)
    network = cost_of(_genes(course), inputs=inputs, classes=classes, arithmetic="fp32").peak_bytes
    taught = {label: int((course.data.train_y == label).sum()) for label in course.labels}
    if course.regime.source == "none":
        largest = max(sum(taught[label] for label in labels) for labels in course.order)
        return network + _FLOAT_BYTES * largest * inputs
    code = settings.code_side**2
    held = classes * (code + code**2) * _STATISTIC_BYTES
    rows = [sum(taught[label] for label in course.order[0])]
    for stage, (label,) in enumerate(course.order[1:], start=1):
        old = sum(len(labels) for labels in course.order[:stage])
        rows.append(taught[label] + old * max(1, round(settings.replay_ratio * taught[label])))
    return network + held + _FLOAT_BYTES * max(rows) * inputs


def _genes(course: Course) -> dict[str, Value]:
    """The network at its capacity, in the genes that the cost model reads."""
    settings = course.settings
    widths = (course.capacity, *course.widths[1:])
    return {
        "credit": "ep",
        "depth": len(widths),
        **{f"width{number}": width for number, width in enumerate(widths, start=1)},
        "skip": "none",
        "output": settings.output,
        "estimate": "centred",
        "free_steps": settings.free_steps,
        "nudged_steps": settings.nudged_steps,
        "optimizer": "adam",
        "batch": settings.batch,
    }

"""Trainings of the comparison of optimizers: what is trained, how, and which are done already."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch

from evaluator import limits
from evaluator.build import build
from evaluator.jobs import Arithmetic, stream_key
from evaluator.plan import Plan
from evaluator.tasks import DatasetTask, TestPermit, resolve
from evaluator.telemetry import state_weights
from evaluator.train import train
from genome import Genome, Value, preset
from genome.spaces import SPACES
from kernels import DivergedError, Learner

if TYPE_CHECKING:
    from evaluator.tasks.dataset import Inputs, Labels

__all__ = ["Case", "Ledger", "Run"]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to be trained: a preset with changes, for so many epochs, on all that its `on` names."""

    name: str
    preset: str
    task: str
    epochs: int
    changes: dict[str, Value] = {}
    arithmetic: Arithmetic = "fp32"
    on: str = "train"
    report: bool = True

    @property
    def genome(self) -> Genome:
        """The preset with the changes; genes that these leave unexpressed are dropped."""
        found = preset(self.preset)
        space = SPACES[found.space.partition("/")[0]]
        return space.genome({**dict(found.values), **self.changes})


class Point(msgspec.Struct, frozen=True, array_like=True):
    """Validation accuracy after so many epochs, and CPU seconds so far."""

    epoch: float
    accuracy: float
    train_cpu_s: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One training; `test` is None in a sweep. One that diverged has a validation accuracy of 0 and nothing else."""

    case: Case
    seed: int
    genome: str
    source: str
    test: float | None = None
    validation: float | None = None
    curve: tuple[Point, ...] = ()
    train_cpu_s: float = 0.0
    peak_bytes: int = 0
    recurrent_norm: float = 0.0
    residual: float = 0.0


def right(learner: Learner, x: "Inputs", y: "Labels") -> float:
    """Share of examples that the learner classifies as their labels say."""
    return float((learner.predict(x).argmax(axis=1) == y).mean())


def trained(case: Case, seed: int, source: str, *, smoke: bool) -> Run:
    """Train one case on one seed; first weights and order follow from the task and the seed alone."""
    task = resolve(case.task)
    assert isinstance(task, DatasetTask)
    data = task.load()
    if smoke:
        data = data.at(task.tier("smoke"))
    x, y = (data.train_x, data.train_y) if case.on == "train" else data.train_and_validation()
    values = dict(case.genome.values)
    key = stream_key("optimizers", case.task, seed)
    torch.set_flush_denormal(True)  # as a worker does in fp32 and bf16
    resident = limits.reset_peak()
    learner = build(
        values, inputs=task.inputs, classes=task.classes, seed=key, arithmetic=case.arithmetic, backend="auto"
    )
    plan = Plan(
        examples=len(x), epochs=case.epochs, batch=int(values["batch"]), key=key, schedule=str(values["schedule"]),
        checkpoints=1,
    )  # fmt: skip

    def score(found: Learner) -> float:
        return right(found, data.validation_x, data.validation_y)

    done = train(learner, x, y, plan, score=score if case.on == "train" else None, curve_points=case.epochs)
    seen = learner.diagnose(x[: int(values["batch"])], y[: int(values["batch"])])
    between = state_weights(values, inputs=task.inputs, classes=task.classes)
    return Run(
        case=case,
        seed=seed,
        genome=case.genome.id,
        test=right(learner, *data.open_test(TestPermit(reason="report"))) if case.report else None,
        validation=score(learner) if case.on == "train" else None,
        curve=tuple(Point(point.epoch, point.accuracy, point.train_cpu_s) for point in done.curve),
        train_cpu_s=done.train_cpu_s,
        peak_bytes=max(0, done.peak_bytes - resident),
        recurrent_norm=max((seen.spectral_norms[name] for name in between), default=0.0),
        residual=seen.free_residual[-1] if seen.free_residual else 0.0,
        source=source,
    )


class Ledger:
    """Trainings that were done already, in this run or in one that was interrupted, by case and seed."""

    def __init__(self, partial: Path | None, source: str, *, smoke: bool) -> None:
        self._partial, self._source, self._smoke = partial, source, smoke
        self._done: dict[tuple[bytes, int], Run] = {}
        if partial is not None and partial.exists():
            for line in partial.read_bytes().splitlines():
                run = msgspec.json.decode(line, type=Run)
                if run.source == source:
                    self._done[msgspec.json.encode(run.case), run.seed] = run

    def of(self, cases: Sequence[Case], seeds: Sequence[int]) -> dict[str, list[Run]]:
        """Each case on each seed, by name; seeds in the outer loop, so that a slow hour slows all alike."""
        for seed in seeds:
            for case in cases:
                if (msgspec.json.encode(case), seed) not in self._done:
                    self._train(case, seed)
        return {case.name: [self._done[msgspec.json.encode(case), seed] for seed in seeds] for case in cases}

    @property
    def all(self) -> list[Run]:
        """Every training so far."""
        return list(self._done.values())

    def _train(self, case: Case, seed: int) -> None:
        try:
            run = trained(case, seed, self._source, smoke=self._smoke)
        except DivergedError:
            if case.report:
                raise
            # A rate too large: a try like any other, and the worst one.
            run = Run(case=case, seed=seed, genome=case.genome.id, source=self._source, validation=0.0)
        self._done[msgspec.json.encode(case), seed] = run
        found = {"validation": run.validation, "test": run.test}
        scores = ", ".join(f"{split} {score:.4f}" for split, score in found.items() if score is not None)
        print(f"{case.task} {case.name}, seed {seed}: {scores}, {run.train_cpu_s:.1f} CPU s", flush=True)
        if self._partial is not None:
            self._partial.parent.mkdir(parents=True, exist_ok=True)
            with self._partial.open("ab") as file:
                file.write(msgspec.json.encode(run) + b"\n")

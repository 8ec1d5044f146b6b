"""One epoch of CIFAR-10 by a small convolutional network: Equilibrium Propagation beside backpropagation.

Learning rates are chosen on validation, from as many for each way, on part of the data; then every way trains one epoch
from fresh seeds, and the test split is opened once for each network. Also: what one sample costs at `conv-recipe`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from evaluator.build import general_rule_of, optimizer_of, structure_of
from evaluator.cost import cost_of
from evaluator.jobs import stream_key
from evaluator.rate_schedule import rate_share
from evaluator.tasks import Dataset, DatasetTask, TestPermit, resolve
from genome import Genome, preset
from kernels import OptimizerSettings, permutation
from kernels.general.learner import GeneralLearner
from kernels.general.structure import initial_values
from tests.bench.report import Cell, Column, Figure, Report, Table, arguments, finish, origin

TUNED_ON, TUNING_SEED, SEEDS = 5_000, 100, (0,)
ASKED = 0.45
RECIPE_SAMPLES = 4
RECIPE_EPOCHS = 120


@dataclass(frozen=True)
class Way:
    """A way to train the network of `conv-small`, and the learning rates that are tried."""

    name: str
    optimizer: str
    rates: tuple[float, ...]
    backprop: bool = False

    def settings(self, rate: float) -> OptimizerSettings:
        """The optimizer at a rate."""
        return OptimizerSettings(self.optimizer, rate=rate, momentum=0.9)  # type: ignore[arg-type] # one of its names


WAYS = (
    Way("EP, Adam", "adam", (0.0005, 0.001, 0.002)),
    Way("EP, SGD", "sgd", (0.02, 0.05, 0.1)),
    Way("backpropagation, Adam", "adam", (0.0005, 0.001, 0.002), backprop=True),
)


def learner(task: DatasetTask, found: Genome, seed: int, way: Way, rate: float) -> GeneralLearner:
    """The network of a genome with its first weights, to be trained so."""
    values = dict(found.values)
    structure = structure_of(values, inputs=task.inputs, classes=task.classes, image=task.image)
    key = stream_key(found.id, "cifar", seed)
    rule = general_rule_of(values)
    if way.backprop:
        rule = replace(rule, estimate="backprop")
    start = initial_values(structure, key, float(values.get("gain", 1.0)))
    batch = int(values["batch"])
    return GeneralLearner(structure, start, rule, way.settings(rate), batch=batch, seed=key)


def epoch(trained: GeneralLearner, data: Dataset, found: Genome, seed: int, examples: int) -> float:
    """Train one epoch on the first examples, in an order drawn from the seed; gives CPU seconds."""
    batch, key = int(found["batch"]), stream_key(found.id, "cifar", seed)
    order = permutation(key, 0, examples)
    steps = -(-examples // batch)
    began = time.process_time()
    for step in range(steps):
        rows = order[step * batch : (step + 1) * batch]
        scale = rate_share(str(found["schedule"]), step, steps)
        report = trained.step(data.train_x[rows], data.train_y[rows], scale=scale)
        assert report.finite, f"step {step} diverged"
    return time.process_time() - began


def accuracy(trained: GeneralLearner, x: np.ndarray, y: np.ndarray) -> float:
    """The share of `y` that is predicted."""
    return float((trained.predict(x).argmax(axis=1) == y).mean())


def chosen(
    task: DatasetTask, data: Dataset, found: Genome, way: Way, examples: int
) -> tuple[float, list[float]]:
    """The rate that is best on validation, and the accuracy at each."""
    scores = []
    for rate in way.rates:
        trained = learner(task, found, TUNING_SEED, way, rate)
        epoch(trained, data, found, TUNING_SEED, examples)
        scores.append(accuracy(trained, data.validation_x, data.validation_y))
    return way.rates[int(np.argmax(scores))], scores


def rows_of(
    task: DatasetTask, data: Dataset, found: Genome, *, seeds: Sequence[int], examples: int, tuned_on: int
) -> tuple[list[list[Cell]], list[dict[str, object]], float]:
    """A row for each way; every run; and the mean test accuracy of EP with Adam."""
    test_x, test_y = data.open_test(TestPermit(reason="report"))
    rows: list[list[Cell]] = []
    runs: list[dict[str, object]] = []
    for way in WAYS:
        rate, scores = chosen(task, data, found, way, tuned_on)
        for seed in seeds:
            trained = learner(task, found, seed, way, rate)
            cpu_s = epoch(trained, data, found, seed, examples)
            run = {
                "way": way.name,
                "seed": seed,
                "rate": rate,
                "tuning": dict(zip(map(str, way.rates), scores, strict=True)),
                "validation": accuracy(trained, data.validation_x, data.validation_y),
                "test": accuracy(trained, test_x, test_y),
                "cpu_s": cpu_s,
            }
            runs.append(run)
            print(run, flush=True)
        mine = runs[-len(seeds) :]
        of = {key: np.array([float(run[key]) for run in mine]) for key in ("validation", "test", "cpu_s")}  # type: ignore[arg-type] # numbers
        rows.append(
            [
                way.name,
                rate,
                100 * float(of["validation"].mean()),
                100 * float(of["test"].mean()),
                100 * float(of["test"].std(ddof=1)) if len(seeds) > 1 else None,
                float(of["cpu_s"].mean()),
            ]
        )
    return rows, runs, float(str(rows[0][3])) / 100


def recipe(task: DatasetTask, data: Dataset, *, smoke: bool) -> list[Cell]:
    """What a sample costs at the preset `conv-recipe`: counted, and timed on one step."""
    found = preset("conv-recipe")
    values = dict(found.values)
    cost = cost_of(values, inputs=task.inputs, classes=task.classes, arithmetic="fp32", image=task.image)
    macs = cost.macs_per_step / cost.batch
    cpu_s = None
    if not smoke:
        way = Way("recipe", "sgd", ())
        trained = learner(task, found, 0, way, optimizer_of(values).rate)
        trained.predict(data.validation_x[:1])
        began = time.process_time()
        trained.step(data.train_x[:RECIPE_SAMPLES], data.train_y[:RECIPE_SAMPLES], scale=1.0)
        cpu_s = (time.process_time() - began) / RECIPE_SAMPLES
    samples = len(data.train_x) * RECIPE_EPOCHS
    days = None if cpu_s is None else cpu_s * samples / 86_400
    return [macs / 1e9, cpu_s, macs * samples / 1e15, days]


def main() -> None:
    """Measure, compare, report."""
    options = arguments(__doc__ or "").parse_args()
    began = origin("cifar")
    torch.set_num_threads(1)
    task, found = resolve("cifar10"), preset("conv-small")
    assert isinstance(task, DatasetTask)
    data = task.load()
    priced = recipe(task, data, smoke=options.smoke)
    print("recipe", priced, flush=True)
    examples = 512 if options.smoke else len(data.train_x)
    tuned_on = 256 if options.smoke else TUNED_ON
    seeds = SEEDS[:1] if options.smoke else SEEDS
    rows, runs, reached = rows_of(task, data, found, seeds=seeds, examples=examples, tuned_on=tuned_on)
    cost = cost_of(
        dict(found.values), inputs=task.inputs, classes=task.classes, arithmetic="fp32", image=task.image
    )
    finish(
        Report(
            name="cifar",
            title="CIFAR-10 with a small convolutional network",
            about="One epoch over the 45,000 training examples on one core, the network of the preset `conv-small` (64 "
            "filters of 5 x 5, maximum pool, readout), batches of 64, rate falling linearly to 0. No augmentation.",
            smoke=options.smoke,
            seeds=seeds,
            figures=(
                Figure(
                    what="EP preset conv-small, one epoch, test accuracy",
                    target=">= 45 %",
                    measured=f"{100 * reached:.1f} %",
                    reached=reached >= ASKED,
                ),
            ),
            tables=(
                Table(
                    title="One epoch",
                    columns=(
                        Column("way"),
                        Column("rate", ".3g"),
                        Column("validation %", ".2f"),
                        Column("test %", ".2f"),
                        Column("sd between seeds", ".2f"),
                        Column("CPU s", ".0f"),
                    ),
                    rows=rows,
                    note=f"{len(seeds)} seed(s). Each way's rate is the best of three on validation after one epoch of "
                    f"{tuned_on:,} examples at seed {TUNING_SEED}; the test split was opened once for each "
                    f"network. EP needs {cost.macs_per_step / cost.batch / 1e6:.1f} M products a sample. "
                    "Backpropagation has the same weights and rectified units without an upper bound.",
                ),
                Table(
                    title="What the recipe would cost",
                    columns=(
                        Column("G products a sample", ".1f"),
                        Column("CPU s a sample", ".2f"),
                        Column(f"P products, {RECIPE_EPOCHS} epochs", ".0f"),
                        Column("days of this core", ".0f"),
                    ),
                    rows=[priced],
                    note="The preset `conv-recipe`, counted from its genes; the CPU seconds of one step of "
                    f"{RECIPE_SAMPLES} samples, and the days of {RECIPE_EPOCHS} epochs that follow. Not trained.",
                ),
            ),
            origin=began,
            data={"runs": runs},
        ),
        options.output,
    )


if __name__ == "__main__":
    main()

"""What a curriculum is worth: Equilibrium Propagation and backpropagation, easy or hard samples first, on digits.

Trainings are paired: those of one rule and seed begin from the same weights and draw batches from the same stream.
"""

import time
from typing import NamedTuple

import msgspec
import numpy as np
import torch

from evaluator.build import build
from evaluator.curriculum import curriculum_of, difficulty
from evaluator.jobs import stream_key
from evaluator.plan import Plan
from evaluator.tasks import Dataset, DatasetTask, TestPermit, resolve
from evaluator.train import train
from genome import Genome, preset
from genome.spaces import FAMILY
from node.comparison import interval
from tests.bench.report import Cell, Column, Figure, Report, Table, arguments, finish, origin

EPOCHS = (10, 40)
PACES = (0.2, 0.5)
ORDERS = ("easy-first", "hard-first")


RULES = ("backprop", "EP, ce", "EP, mse")


def genome(rule: str) -> Genome:
    """One hidden layer of 128 units in the space `family`, at the numbers of its presets.

    With a softmax readout Adam at 0.01, the best of 0.001, 0.003 and 0.01 on validation for both rules.
    """
    if rule == "backprop":
        return preset("backprop-family")
    if rule == "EP, ce":
        values = {**dict(preset("sparse").values), "keep": 1.0, "lr_adam": 0.01}
    else:
        # Without what makes SDMEP of it: SGD alone, as in `coupled`.
        values = {**dict(preset("sdmep").values), **dict(preset("coupled").values), "spectral": "off"}
        values["rule_mse"] = "plain"
    return FAMILY.genome(values)


class Trial(NamedTuple):
    """One training: accuracy on the test split, samples seen, CPU seconds."""

    accuracy: float
    samples: int
    cpu_s: float


def trial(base: Genome, changes: dict[str, str | float], data: Dataset, *, epochs: int, seed: int) -> Trial:
    """Train a genome with a curriculum; weights and order are drawn from the genome without one."""
    values = dict(FAMILY.genome({**dict(base.values), **changes}).values)
    key = stream_key(base.id, "bench curriculum", seed)
    learner = build(values, inputs=64, classes=10, seed=key, arithmetic="fp32", backend="auto")
    plan = Plan(
        examples=len(data.train_x),
        epochs=epochs,
        batch=int(values["batch"]),
        key=key,
        schedule=str(values["schedule"]),
        checkpoints=1,
        curriculum=curriculum_of(values),
    )
    start = time.process_time()
    train(learner, data.train_x, data.train_y, plan, score=None)
    spent = time.process_time() - start
    x, y = data.open_test(TestPermit(reason="report"))
    return Trial(float(np.mean(learner.predict(x).argmax(axis=1) == y)), plan.samples, spent)


def regimes(epochs: int) -> list[tuple[str, dict[str, str | float], int]]:
    """Name, genes and epochs of each: no curriculum, each order at each pace, and as many samples without one."""
    found: list[tuple[str, dict[str, str | float], int]] = [("none", {"curriculum": "none"}, epochs)]
    for pace in PACES:
        found += [
            (f"{order}, pace {pace:g}", {"curriculum": order, "pace": pace}, epochs) for order in ORDERS
        ]
    # The slowest pace sees about as many samples as so many epochs of all.
    whole = max(1, epochs // 2)
    share = (
        sum(PACES[0] + (1 - PACES[0]) * epoch / whole for epoch in range(whole)) + epochs - whole
    ) / epochs
    return [*found, ("none, fewer epochs", {"curriculum": "none"}, round(share * epochs))]


def gains(found: list[Trial], plain: list[Trial]) -> list[float]:
    """Accuracy gained over the same seeds without a curriculum."""
    return [one.accuracy - other.accuracy for one, other in zip(found, plain, strict=True)]


def trained(rule: str, data: Dataset, *, epochs: int, seeds: range) -> dict[str, list[Trial]]:
    """A rule's trainings by regime, one a seed."""
    base = genome(rule)
    return {
        name: [trial(base, changes, data, epochs=length, seed=seed) for seed in seeds]
        for name, changes, length in regimes(epochs)
    }


def absolute(rule: str, epochs: int, found: dict[str, list[Trial]]) -> list[list[Cell]]:
    """Rows of the first table: accuracy and gain in points with their intervals, samples, CPU seconds."""
    rows: list[list[Cell]] = []
    for name, trials in found.items():
        mean = interval([one.accuracy for one in trials])
        gain = points(gains(trials, found["none"])) if name != "none" else (None, None)
        spent = float(np.mean([one.cpu_s for one in trials]))
        rows.append([rule, epochs, name, mean.mean, mean.half_width, *gain, trials[0].samples, spent])
    return rows


def relative(rule: str, epochs: int, found: dict[str, dict[str, list[Trial]]]) -> list[list[Cell]]:
    """Rows of the second table: what a rule gains beyond what backpropagation gains, by seed."""
    rows: list[list[Cell]] = []
    for name in list(found[rule])[1:]:
        own, other = (gains(found[each][name], found[each]["none"]) for each in (rule, "backprop"))
        rows.append([rule, epochs, name, *points([a - b for a, b in zip(own, other, strict=True)])])
    return rows


def points(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval, in points of a hundred."""
    found = interval(values)
    return 100 * found.mean, 100 * found.half_width


def surely(rows: list[list[Cell]]) -> int:
    """How many gains are further from 0 than their interval reaches."""
    return sum(
        isinstance(gain, float) and isinstance(half, float) and abs(gain) > half
        for gain, half in (line[5:7] for line in rows)
    )


def main() -> None:
    """Train, compare by pairs, report."""
    options = arguments(__doc__ or "").parse_args()
    began = origin("curriculum")
    torch.set_num_threads(1)
    task = resolve("digits")
    assert isinstance(task, DatasetTask)
    data = task.load()
    lengths, seeds = (EPOCHS[:1], range(2)) if options.smoke else (EPOCHS, range(10))
    rows: list[list[Cell]] = []
    pairs: list[list[Cell]] = []
    for epochs in lengths:
        found = {rule: trained(rule, data, epochs=epochs, seeds=seeds) for rule in RULES}
        rows += [line for rule in RULES for line in absolute(rule, epochs, found[rule])]
        pairs += [line for rule in RULES[1:] for line in relative(rule, epochs, found)]
    wrong = float(np.mean(difficulty(data.train_x, data.train_y) > 0))
    finish(
        Report(
            name="curriculum",
            title="Curriculum",
            about="Early epochs see a share of the samples, the easiest or the hardest of each class by the margin of "
            f"a nearest-mean classifier (wrong on {wrong:.1%} of the training samples); the share grows to all by "
            "the middle of the epochs.",
            smoke=options.smoke,
            seeds=tuple(seeds),
            figures=(
                Figure(
                    what="regimes whose paired gain differs from 0 (95 %, of those in the table, none corrected for)",
                    target="stated",
                    measured=f"{surely(rows)} of {sum(line[5] is not None for line in rows)}",
                    reached=None,
                ),
            ),
            tables=(
                Table(
                    title="Accuracy on the test split, digits, 64-128-10",
                    columns=(
                        Column("rule"),
                        Column("epochs", "d"),
                        Column("curriculum"),
                        Column("accuracy", ".4f"),
                        Column("±", ".4f"),
                        Column("gain, points", "+.2f"),
                        Column("± gain", ".2f"),
                        Column("samples", "d"),
                        Column("CPU s", ".2f"),
                    ),
                    rows=rows,
                    note="Gains are paired: same first weights and streams, with and without a curriculum. ±: half of "
                    "a 95 % interval over the seeds (Student's t). Fewer epochs: about as many samples as at pace "
                    f"{PACES[0]:g}, all from the start.",
                ),
                Table(
                    title="How much more each rule gains than backpropagation",
                    columns=(
                        Column("rule"),
                        Column("epochs", "d"),
                        Column("curriculum"),
                        Column("gain over backprop's, points", "+.2f"),
                        Column("±", ".2f"),
                    ),
                    rows=pairs,
                    note="Differences of gains by seed.",
                ),
            ),
            origin=began,
            data={"epochs": list(lengths), "wrong": wrong, "rows": msgspec.to_builtins(rows)},
        ),
        options.output,
    )


if __name__ == "__main__":
    main()

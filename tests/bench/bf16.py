"""What bf16 buys: the shallow preset on MNIST in bf16 and in fp32, trainings on the same seeds and steps in turns.

python -m tests.bench.bf16 --output tests/bench/results/bf16.json
"""

from collections.abc import Sequence

import torch

from node.comparison import Interval, interval
from tests.bench.report import Cell, Column, Figure, Report, Table, arguments, finish, origin
from tests.bench.training import Case, Run, ratios, trained

SEEDS = 5
LARGEST_RATIO = 0.7
# "Equal accuracy" has to be a number: half of the spread that seeds alone make in the published table.
WITHIN_POINTS = 0.05
ARITHMETIC = ("fp32", "bf16")


def cases(seeds: int, *, smoke: bool) -> list[Case]:
    """The shallow preset in both classes; in a smoke run small, on digits."""
    chosen = {"task": "digits", "changes": {"width1": 32}} if smoke else {}
    return [
        Case(name=f"shallow {arithmetic}", preset="shallow", seeds=tuple(range(seeds)), arithmetic=arithmetic, **chosen)  # type: ignore[arg-type]
        for arithmetic in ARITHMETIC
    ]  # fmt: skip


def gap_of(wide: Sequence[Run], narrow: Sequence[Run]) -> Interval:
    """Accuracy of bf16 less that of fp32 on the same seeds, points."""
    return interval([100 * (b.accuracy - a.accuracy) for a, b in zip(wide, narrow, strict=True)])


def training_rows(wide: Sequence[Run], narrow: Sequence[Run]) -> list[list[Cell]]:
    """Each seed's two trainings."""
    return [
        [a.seed, 100 * a.accuracy, 100 * b.accuracy, a.train_cpu_s, b.train_cpu_s, b.train_cpu_s / a.train_cpu_s]
        for a, b in zip(wide, narrow, strict=True)
    ]  # fmt: skip


def figures(rows: list[list[Cell]], step: float, gap: Interval) -> tuple[Figure, ...]:
    """Time and accuracy beside their targets."""
    whole = interval([float(row[5] or 0) for row in rows])
    return (
        Figure(
            what="bf16 / fp32, CPU time of a training step, shallow preset on MNIST",
            target=f"<= {LARGEST_RATIO}",
            measured=f"{step:.3f}",
            reached=step <= LARGEST_RATIO,
        ),
        Figure(
            what=f"bf16 / fp32, CPU time of whole trainings, shallow preset on MNIST, {len(rows)} paired seeds",
            target=f"<= {LARGEST_RATIO}",
            measured=f"{whole.mean:.3f} ± {whole.half_width:.3f}",
            reached=whole.mean <= LARGEST_RATIO,
        ),
        Figure(
            what="bf16 against fp32 on MNIST, shallow preset: difference of mean test accuracy",
            target=f"within {WITHIN_POINTS} points",
            measured=f"{gap.mean:+.3f} ± {gap.half_width:.3f} points",
            reached=abs(gap.mean) <= WITHIN_POINTS,
        ),
    )


def tables(rows: list[list[Cell]], timed: list[dict[str, object]]) -> tuple[Table, ...]:
    """Trainings by seed, and the step."""
    return (
        Table(
            title="Trainings of the shallow preset",
            columns=(
                Column("seed", "d"),
                Column("fp32, %", ".2f"),
                Column("bf16, %", ".2f"),
                Column("fp32 CPU s", ".2f"),
                Column("bf16 CPU s", ".2f"),
                Column("ratio", ".3f"),
            ),
            rows=rows,
            note="Test accuracy; CPU seconds of the training steps.",
        ),
        Table(
            title="One step, in blocks that alternate",
            columns=(
                Column("what"),
                Column("ms a step", ".3f"),
                Column("ratio, median", ".3f"),
                Column("lower quartile", ".3f"),
                Column("upper quartile", ".3f"),
            ),
            rows=[[f["case"], f["ms_a_step"], f["ratio"], f["low"], f["high"]] for f in timed],  # type: ignore[list-item]
        ),
    )


def main() -> None:
    """Train, time, report."""
    options = arguments(__doc__ or "").parse_args()
    began = origin("bf16")
    smoke = bool(options.smoke)
    torch.set_num_threads(1)
    wide, narrow = cases(2 if smoke else SEEDS, smoke=smoke)
    rounds, steps = (4, 2) if smoke else (40, 25)
    timed = ratios(wide, [narrow], rounds=rounds, steps=steps)
    tier = "smoke" if smoke else "full"
    runs: tuple[list[Run], list[Run]] = ([], [])
    for seed in wide.seeds:
        # Every second seed the other way round, so that neither always follows the other.
        for i in (0, 1) if seed % 2 else (1, 0):
            runs[i].append(trained((wide, narrow)[i], seed, tier, began.source))
    rows = training_rows(*runs)
    finish(
        Report(
            name="bf16",
            title="What bf16 buys",
            about="Products of bfloat16 operands; states, their differences, weights and optimizer in float32. Whole "
            "trainings (784-512-10, Adam, batch 128, 5 epochs) on the same seeds, one after the other in one process "
            "on one thread, scored once on the test split; and steps alone, in blocks of 25 that alternate. A "
            "processor without bfloat16 products in hardware gains nothing.",
            smoke=smoke,
            seeds=wide.seeds,
            figures=figures(rows, float(str(timed[1]["ratio"])), gap_of(*runs)),
            tables=tables(rows, timed),
            origin=began,
            data={"runs": [*runs[0], *runs[1]], "ratios": timed},
        ),
        options.output,
    )


if __name__ == "__main__":
    main()

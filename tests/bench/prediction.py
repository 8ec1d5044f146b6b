"""How far predicted speed and memory are from measured ones, over random genomes of the default space on digits.

    python -m tests.bench.prediction --output tests/bench/results/prediction.json

One worker process measures this machine anew and then trains every genome on several seeds; predictions come from
that calibration, and the measurements are those that stand in every outcome.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence

import msgspec
import trio

from evaluator.cost import cost_of, excess, step_cost
from evaluator.jobs import Arithmetic, Calibration, CostLimits, Failure, Job, Outcome
from evaluator.pool import Pool, PoolSettings, open_pool
from evaluator.shape import shape_of
from evaluator.tasks import DatasetTask, Tier, resolve, task_id
from genome import Genome, Value
from genome.spaces import MLP
from genome.variation import draw
from tests.bench.report import (
    Cell,
    Column,
    Figure,
    Report,
    Table,
    arguments,
    finish,
    origin,
    percentile,
    show,
)

_CLASSES: tuple[Arithmetic, ...] = ("fp32", "exact-1")
_WORST = 8


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One genome in one arithmetic class: medians over its seeds, and the counts behind the prediction."""

    genome: str
    arithmetic: str
    genes: dict[str, int | float | str]
    predicted_speed: float
    measured_speed: float
    predicted_peak: float
    measured_peak: float
    calls: float
    macs: float
    bytes: float

    @property
    def speed_ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted_speed / self.measured_speed

    @property
    def peak_ratio(self) -> float:
        """Predicted over measured; the system counts whole pages of 4096 bytes, so nothing less is measured."""
        return self.predicted_peak / max(self.measured_peak, 4096.0)


def error(ratio: float) -> float:
    """Relative error of a prediction, the same for twice as much and half as much."""
    return max(ratio, 1 / ratio) - 1


def genomes(count: int, task: DatasetTask) -> list[Genome]:
    """Random genomes of the default space that the default limits admit; the first ones that do."""
    found: list[Genome] = []
    for seed in range(10 * count):
        genome = draw(MLP, seed=seed)
        cost = cost_of(dict(genome.values), inputs=task.inputs, classes=task.classes, arithmetic="fp32")
        if excess(cost, CostLimits()) is None:
            found.append(genome)
        if len(found) == count:
            break
    return found


def served(genome: Genome, arithmetic: Arithmetic) -> bool:
    """Whether the class can do what the genes ask."""
    return arithmetic != "exact-1" or (
        genome["optimizer"] != "muon" and dict(genome.values).get("spectral", "off") == "off"
    )


def point(genome: Genome, outcomes: Sequence[Outcome], task: DatasetTask, arithmetic: Arithmetic) -> Point:
    """Medians over the seeds of one genome."""
    values: Mapping[str, Value] = dict(genome.values)
    counts = step_cost(
        values,
        shape_of(values, inputs=task.inputs, classes=task.classes),
        arithmetic=arithmetic,
        free_steps=outcomes[0].settling.free_steps,
        nudged_steps=outcomes[0].settling.nudged_steps,
    )

    def middle(read: Callable[[Outcome], float]) -> float:
        return statistics.median(read(outcome) for outcome in outcomes)

    return Point(
        genome=genome.id,
        arithmetic=arithmetic,
        genes=dict(values),
        predicted_speed=middle(lambda outcome: outcome.objectives["speed"]),
        measured_speed=middle(lambda outcome: outcome.measured.samples_per_s),
        predicted_peak=middle(lambda outcome: outcome.objectives["memory"]),
        measured_peak=middle(lambda outcome: outcome.measured.peak_bytes),
        calls=counts.calls,
        macs=counts.macs,
        bytes=counts.bytes,
    )


async def measured(
    chosen: Sequence[Genome], task: DatasetTask, tier: Tier, *, classes: Sequence[Arithmetic], seeds: int
) -> tuple[list[Point], list[Calibration], list[Failure]]:
    """Points, calibrations and failures; seeds in the outer loop."""
    points: list[Point] = []
    calibrations: list[Calibration] = []
    failures: list[Failure] = []
    async with open_pool(PoolSettings(workers=1, nice=0, jobs_before_restart=10**6)) as pool:
        for arithmetic in classes:
            calibration = await pool.calibrate(arithmetic)
            calibrations.append(calibration)
            own = [genome for genome in chosen if served(genome, arithmetic)]
            found: dict[str, list[Outcome]] = {}
            for seed in range(seeds):
                for genome in own:
                    result = await evaluated(pool, genome, task, tier, calibration, seed=seed)
                    if isinstance(result, Failure):
                        failures.append(result)
                    else:
                        found.setdefault(genome.id, []).append(result)
            points += [
                point(genome, found[genome.id], task, arithmetic) for genome in own if genome.id in found
            ]
            print(f"{arithmetic}: {len(found)} of {len(own)} genomes measured", flush=True)
    return points, calibrations, failures


async def evaluated(
    pool: Pool, genome: Genome, task: DatasetTask, tier: Tier, calibration: Calibration, *, seed: int
) -> Outcome | Failure:
    """One training in the worker."""
    return await pool.run(
        Job(
            number=seed,
            task=task.name,
            task_id=task_id(task, tier),
            tier=tier.name,
            genome=genome.canonical(),
            genome_id=genome.id,
            seed=seed,
            arithmetic=calibration.arithmetic,
            calibration=calibration,
        )
    )


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's coefficient."""
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)


def summary_row(title: str, points: Sequence[Point], ratio: str) -> list[Cell]:
    """Errors and rank correlation of some points."""
    ratios = [getattr(one, f"{ratio}_ratio") for one in points]
    predicted = [getattr(one, f"predicted_{ratio}") for one in points]
    found = [getattr(one, f"measured_{ratio}") for one in points]
    errors = [error(value) for value in ratios]
    return [
        title,
        len(points),
        statistics.median(errors),
        percentile(errors, 0.9),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        rank_correlation(predicted, found) if len(points) > 2 else None,
    ]


_SUMMARY_COLUMNS = (
    Column("what"),
    Column("n"),
    Column("median error", ".0%"),
    Column("90th percentile", ".0%"),
    Column("predicted / measured, median", ".2f"),
    Column("least", ".2f"),
    Column("largest", ".2f"),
    Column("rank correlation", ".3f"),
)

_KINDS: tuple[tuple[str, Callable[[Mapping[str, Value]], bool]], ...] = (
    ("one hidden layer, ce", lambda g: g["depth"] == 1 and g["output"] == "ce"),
    ("one hidden layer, mse", lambda g: g["depth"] == 1 and g["output"] == "mse"),
    ("two hidden layers", lambda g: g["depth"] == 2),
    ("three hidden layers", lambda g: g["depth"] == 3),
    ("skips", lambda g: g["skip"] == "two"),
    ("centred", lambda g: g["estimate"] == "centred"),
    ("linearised", lambda g: g["estimate"] == "linearised"),
    ("synchronous", lambda g: g.get("scheme") == "synchronous"),
    ("block sweeps", lambda g: g.get("scheme") == "block"),
    ("stops at a tolerance", lambda g: g.get("stop") == "tolerance"),
    ("fixed sweeps", lambda g: g.get("stop") == "fixed"),
    ("Adam or AdamW", lambda g: g["optimizer"] in ("adam", "adamw")),
    ("SGD", lambda g: g["optimizer"] == "sgd"),
    ("Muon", lambda g: g["optimizer"] == "muon"),
    ("spectral clipping", lambda g: g.get("spectral") == "clip"),
    ("batch up to 32", lambda g: int(g["batch"]) <= 32),
    ("batch of 64 and more", lambda g: int(g["batch"]) >= 64),
)


def kinds_table(points: Sequence[Point]) -> Table:
    """Errors of speed in fp32, by kind of genome."""
    own = [one for one in points if one.arithmetic == "fp32"]
    rows = [
        summary_row(title, chosen, "speed")
        for title, test in _KINDS
        if (chosen := [one for one in own if test(one.genes)])
    ]
    return Table(title="Speed in fp32, by kind of genome", columns=_SUMMARY_COLUMNS, rows=rows)


def worst_table(points: Sequence[Point]) -> Table:
    """The genomes whose speed is predicted worst."""
    rows: list[list[Cell]] = []
    for one in sorted(points, key=lambda found: -error(found.speed_ratio))[:_WORST]:
        genes = one.genes
        widths = "-".join(str(genes[f"width{i}"]) for i in range(1, int(genes["depth"]) + 1))
        what = [genes["estimate"], widths, genes["output"], genes.get("scheme", ""), genes.get("stop", "")]
        what += [genes["optimizer"], genes.get("spectral", "").replace("off", ""), f"batch {genes['batch']}"]
        rows.append(
            [
                " ".join(str(word) for word in what if word),
                one.arithmetic,
                one.predicted_speed,
                one.measured_speed,
                one.speed_ratio,
            ]
        )
    return Table(
        title="Speed: the worst predictions",
        columns=(
            Column("genome"),
            Column("arithmetic"),
            Column("predicted, samples/s", ",.0f"),
            Column("measured", ",.0f"),
            Column("ratio", ".2f"),
        ),
        rows=rows,
    )


def main() -> None:
    """Measure, compare, report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--genomes", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    began = origin("prediction")
    smoke = bool(options.smoke)
    task = resolve("digits")
    assert isinstance(task, DatasetTask)
    tier = task.tier("smoke" if smoke else "quick")
    seeds = 1 if smoke else options.seeds
    chosen = genomes(6 if smoke else options.genomes, task)
    points, calibrations, failures = trio.run(
        lambda: measured(chosen, task, tier, classes=_CLASSES, seeds=seeds)
    )
    rows = [
        summary_row(f"{ratio}, {arithmetic}", own, ratio)
        for ratio in ("speed", "peak")
        for arithmetic in _CLASSES
        if (own := [one for one in points if one.arithmetic == arithmetic])
    ]
    fits = "; ".join(
        f"{c.arithmetic}: {1e6 * c.seconds_per_call:.2f} us a call, "
        f"{2e-9 / max(c.seconds_per_mac, 1e-15):.0f} GFLOP/s, "
        f"{1e-9 / max(c.seconds_per_byte, 1e-15):.0f} GB/s, the fit {c.error:.0%} off"
        for c in calibrations
    )
    finish(
        Report(
            name="prediction",
            title="Predicted against measured",
            about=f"{len(chosen)} random genomes of the default space on digits, tier {tier.name}, {seeds} seeds each, "
            "medians. Speed and memory rank genomes by prediction, so that equal trainings rank equally; this is how "
            "far the predictions are off. The error of a ratio r is max(r, 1/r) - 1. Measured speed is per CPU second; "
            "the measured peak is what the worker's resident memory grew by, in whole pages, so memory that it still "
            "held from an earlier job is not seen in it.",
            smoke=smoke,
            seeds=tuple(range(seeds)),
            figures=tuple(
                Figure(
                    what=f"{row[0]}: median error, 90th percentile, rank correlation",
                    target="stated",
                    measured=", ".join(show(row[i], _SUMMARY_COLUMNS[i]) for i in (2, 3, 7)),
                )
                for row in rows
            ),
            tables=(
                Table(
                    title="Errors",
                    columns=_SUMMARY_COLUMNS,
                    rows=rows,
                    note=f"Calibrations: {fits}. exact-1 has neither Muon nor spectral clipping. "
                    f"{len(failures)} trainings failed.",
                ),
                kinds_table(points),
                worst_table(points),
            ),
            origin=began,
            data={"points": points, "calibrations": calibrations, "failures": [f.detail for f in failures]},
        ),
        options.output,
    )


if __name__ == "__main__":
    main()

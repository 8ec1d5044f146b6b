"""`eqmesh compare`: several genomes on several seeds."""

import math
import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import trio
from cyclopts import Parameter

from evaluator.objectives import ACCURACY, Objective
from evaluator.spaces import resolve_space
from evaluator.tasks import DatasetTask, Task
from evaluator.tasks import resolve as resolve_task
from genome import Genome
from genome import preset as preset_genome
from node import output
from node.batch import Request, run_batch
from node.commands.named import named_genome, space_source
from node.commands.options import Json
from node.comparison import Compared, Interval
from node.comparison import compare as summarise
from node.convergence import Arrival, EpochMeans, arrival, common_level, epoch_means
from node.errors import SettingsError
from node.plots import draw
from node.settings import Settings, resolve
from node.text import number, short

__all__ = ["compare"]

_MEASURED = {"train_cpu_s": "CPU s", "measured_speed": "measured samples/s", "measured_peak": "measured peak"}

_EPOCH_COLUMNS = {
    "accuracy": "accuracy",
    "loss": "loss",
    "error": "error",
    "train_cpu_s": "CPU s",
    "train_wall_s": "wall s",
    "recurrent_norm": "norm",
    "free_energy": "E",
    "nudged_energy": "F",
    "free_steps": "free sweeps",
    "nudged_steps": "nudged",
    "residual": "residual",
    "peak_bytes": "peak",
}


def compare(
    *genomes: Annotated[str, Parameter(help="Digits of ids in the store, or JSON files.")],
    presets: Annotated[str, Parameter(help="Presets, with commas between them.")] = "",
    task: Annotated[str | None, Parameter(help="Task. [default: digits]")] = None,
    tier: Annotated[
        str | None, Parameter(name=("--tier", "--fidelity"), help="Fidelity tier of the task.")
    ] = None,
    seeds: Annotated[int, Parameter(help="Seeds a genome: 0 to N - 1.")] = 3,
    arithmetic: Annotated[
        str | None, Parameter(help="Arithmetic class: fp32, bf16 or exact-1. [default: fp32]")
    ] = None,
    split: Annotated[
        Literal["validation", "test"],
        Parameter(help="Split to measure on. test also trains on the validation split: for final reports."),
    ] = "validation",
    epochs: Annotated[
        bool, Parameter(negative="", help="Also show each epoch: loss, norms, energies, sweeps.")
    ] = False,
    level: Annotated[
        float | None,
        Parameter(help="Validation accuracy whose time is shown. [default: the highest that all reach]"),
    ] = None,
    plots: Annotated[
        Path | None, Parameter(help="Folder for plots: curves, speed, cost, telemetry by epoch.")
    ] = None,
    plot_format: Annotated[Literal["png", "svg"], Parameter(help="Format of the plots.")] = "png",
    workers: Annotated[
        int | None, Parameter(name=("--workers", "-w"), help="Worker processes; 0 for one a core.")
    ] = None,
    store: Annotated[
        str | None, Parameter(help="Store in which ids are looked up. [default: eqmesh.db]")
    ] = None,
    json: Json = False,
) -> int:
    """Train every genome and preset on the same seeds; show means with 95 % intervals, and plots.

    A genome is checked by the space that it is of. Exit code 3 where an evaluation failed.

    Example: eqmesh compare --presets shallow,backprop --seeds 3 --plots plots
    """
    flags = {"task": task, "tier": tier, "arithmetic": arithmetic, "store": store, "workers": workers}
    settings = resolve(flags, folder=Path.cwd(), environ=os.environ).settings
    found_task = resolve_task(settings.task)
    chosen = _chosen(genomes, presets, settings)
    spaces = {name: _space_of(genome, settings, found_task) for name, genome in chosen.items()}
    network = isinstance(found_task, DatasetTask)
    # Telemetry reads the scores of one head.
    watched = isinstance(found_task, DatasetTask) and not found_task.heads
    _check(network=network, seeds=seeds, level=level, plots=plots)
    if epochs and not watched:
        raise SettingsError(
            "--epochs shows networks of one readout, which this task has none of. Leave it out."
        )
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)  # what cannot be written must show before the training
    # Seeds in the outer loop: a machine that slows down meanwhile slows every genome alike.
    purpose: Literal["report", "rescore"] = "report" if split == "test" else "rescore"
    requests = [
        Request(genome=genome, seed=seed, space=spaces[name], telemetry=watched, split=split, purpose=purpose)
        for seed in range(seeds)
        for name, genome in chosen.items()
    ]
    results = trio.run(run_batch, settings, found_task, requests)
    compared = [
        summarise(name, genome.id, results[i :: len(chosen)])
        for i, (name, genome) in enumerate(chosen.items())
    ]
    every = [outcome for one in compared for outcome in one.outcomes]
    aim = common_level(every) if level is None else level
    arrivals = [None if aim is None or split == "test" else arrival(one.outcomes, aim) for one in compared]
    if json:
        output.write_json([_document(one, soon) for one, soon in zip(compared, arrivals, strict=True)])
    else:
        _show(compared, arrivals, found_task.objectives, network=network)
        if epochs:
            _show_epochs(compared)
    if plots is not None:
        for path in draw(plots, compared, plot_format, level=level):
            output.say(f"wrote {path}")
    return 3 if any(one.failures for one in compared) else 0


def _check(*, network: bool, seeds: int, level: float | None, plots: Path | None) -> None:
    """Raise SettingsError for options that cannot be met."""
    if seeds < 1:
        raise SettingsError(f"--seeds must be at least 1, got {seeds}.")
    if level is not None and not 0.0 < level <= 1.0:
        raise SettingsError(f"--level is an accuracy, more than 0 and at most 1, got {level:g}.")
    for option, given in {"--plots": plots is not None, "--level": level is not None}.items():
        if given and not network:
            raise SettingsError(
                f"{option} shows training, which only tasks with networks have. Leave it out."
            )


def _space_of(genome: Genome, settings: Settings, task: Task) -> str:
    """Where the space that a genome is of is found: the settings' if it is that one, else as `space_source` says.

    Raises GenomeError for a genome that is not of it, TaskError for a space that the task cannot have.
    """
    fits = settings.space and resolve_space(settings.space, task).id == genome.space
    source = space_source(genome, settings.space if fits else "", task)
    resolve_space(source, task).check(genome)
    return source


def _chosen(genomes: tuple[str, ...], presets: str, settings: Settings) -> dict[str, Genome]:
    chosen = {
        name.strip(): preset_genome(name.strip(), settings.task)
        for name in presets.split(",")
        if name.strip()
    }
    for text in genomes:
        genome = named_genome(text, Path(settings.store))
        chosen[short(genome.id)] = genome
    if not chosen:
        raise SettingsError("expected genomes or --presets NAME,NAME to compare, got none.")
    return chosen


def _show(
    compared: list[Compared],
    arrivals: list[Arrival | None],
    objectives: tuple[Objective, ...],
    *,
    network: bool,
) -> None:
    names = [objective.name for objective in objectives]
    measured = _MEASURED if network else {}

    def cell(one: Compared, name: str) -> str:
        found = one.intervals.get(name)
        return (
            "-" if found is None else _interval(found, next((o for o in objectives if o.name == name), None))
        )

    level = next((soon.level for soon in arrivals if soon is not None), None)
    speed = [] if level is None else [f"CPU s to {level:.4f}", "epochs to it"]
    output.write_table(
        ["genome", "n", *names, *measured.values(), *speed, "failed"],
        [
            [
                one.name,
                str(len(one.outcomes)),
                *(cell(one, name) for name in (*names, *measured)),
                *_arrived(soon),
                "; ".join(sorted({failure.kind for failure in one.failures})) or "0",
            ]
            for one, soon in zip(compared, arrivals, strict=True)
        ],
    )
    output.say("mean ± half-width of the 95 % interval of the mean over seeds")
    for one in compared:
        for failure in one.failures:
            output.say(f"{one.name}, seed {failure.seed}: {failure.kind}: {failure.detail}")


def _arrived(soon: Arrival | None) -> list[str]:
    """The cells of CPU seconds and epochs to an accuracy: how many trainings reach it where not all do."""
    if soon is None:
        return []
    if soon.cpu_s is None or soon.epochs is None:
        return [f"{soon.reached} of {soon.trainings}", "-"]
    return [_interval(soon.cpu_s, None), _interval(soon.epochs, None)]


def _show_epochs(compared: list[Compared]) -> None:
    """One row an epoch: means over the seeds, and the interval of the accuracy."""
    output.write_table(
        ["genome", "epoch", *_EPOCH_COLUMNS.values(), "dead"],
        [
            [
                one.name,
                str(means.epoch),
                *(_epoch_cell(means, name) for name in _EPOCH_COLUMNS),
                " ".join(means.dead) or "none",
            ]
            for one in compared
            for means in epoch_means(one.outcomes)
        ],
    )
    output.say(
        "by epoch: means over seeds; norm: largest spectral norm between states; E, F: energy of a sample at rest, "
        "free and nudged; dead: parameters whose gradient is exactly 0 in some seed"
    )


def _epoch_cell(means: EpochMeans, name: str) -> str:
    found = means.intervals.get(name)
    if found is None:
        return "-"
    return _interval(found, ACCURACY) if name == "accuracy" else number(found.mean)


def _interval(found: Interval, objective: Objective | None) -> str:
    mean = number(found.mean, objective)
    return (
        mean if not 0 < found.half_width < float("inf") else f"{mean} ±{number(found.half_width, objective)}"
    )


def _plain(found: Interval | None) -> dict[str, float | None] | None:
    """An interval as JSON has it; the half-width of a single value is null."""
    if found is None:
        return None
    width = None if math.isinf(found.half_width) else found.half_width
    return {"mean": found.mean, "deviation": found.deviation, "half_width_95": width}


def _document(one: Compared, soon: Arrival | None) -> dict[str, object]:
    return {
        "name": one.name,
        "genome": one.genome,
        "n": len(one.outcomes),
        "intervals": {name: _plain(found) for name, found in one.intervals.items()},
        "convergence": None
        if soon is None
        else {
            "level": soon.level,
            "reached": soon.reached,
            "cpu_s": _plain(soon.cpu_s),
            "epochs": _plain(soon.epochs),
        },
        "epochs": [
            {
                "epoch": means.epoch,
                **{name: _plain(found) for name, found in means.intervals.items()},
                "dead": means.dead,
            }
            for means in epoch_means(one.outcomes)
        ],
        "outcomes": [msgspec.to_builtins(outcome) for outcome in one.outcomes],
        "failures": [msgspec.to_builtins(failure) for failure in one.failures],
    }

"""Plots of a comparison as PNG or SVG: curves, speed, accuracy against cost, relaxation, telemetry by epoch."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from evaluator.jobs import CurvePoint
from node.comparison import Compared, Interval, interval
from node.convergence import EpochMeans, arrival, common_level, epoch_means

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PLOTS", "draw"]

_SIZE_INCHES = (7.0, 4.5)
_BARS = "bars: 95 % of the mean"
_STYLES = ("-", "--")
_Plot = Callable[["Axes", Sequence[Compared]], None]


def draw(
    folder: Path, compared: Sequence[Compared], suffix: str, *, level: float | None = None
) -> list[Path]:
    """Write one file a plot into `folder`; gives the paths. `suffix` is png or svg.

    `level` is the accuracy whose time `convergence` shows; without, the highest that all trainings reach.
    """
    # Here, not above: half a second that only plots pay; the object interface needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    drawn = [one for one in compared if one.outcomes]
    if not drawn:
        return written
    plots: dict[str, _Plot] = {**PLOTS, "convergence": partial(_convergence, level=level)}
    outcomes = [outcome for one in drawn for outcome in one.outcomes]
    known = {
        **dict.fromkeys(_OF_CURVES, all(outcome.curve for outcome in outcomes)),  # the test split has none
        **dict.fromkeys(
            _OF_EPOCHS, all(outcome.epochs for outcome in outcomes)
        ),  # several readouts have none
        "cost": all("accuracy" in one.intervals for one in drawn),  # several readouts have one each
    }
    for name, plot in plots.items():
        if not known.get(name, True):
            continue
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        FigureCanvasAgg(figure)
        plot(figure.add_subplot(), drawn)
        path = folder / f"{name}.{suffix}"
        # A date in the file would make two equal runs write different bytes.
        figure.savefig(path, dpi=150, metadata={"Date": None} if suffix == "svg" else None)
        written.append(path)
    return written


def _width(found: Interval) -> float:
    """Half-width of an interval as it is drawn: none for a single value."""
    return found.half_width if found.half_width < float("inf") else 0.0


def _over_seeds(one: Compared, of: Callable[[CurvePoint], float]) -> list[Interval]:
    """A number of each point of the curves, over the seeds."""
    columns = zip(*([of(point) for point in outcome.curve] for outcome in one.outcomes), strict=True)
    return [interval(column) for column in columns]


def _accuracy_by(axes: "Axes", compared: Sequence[Compared], of: Callable[[CurvePoint], float]) -> None:
    for one in compared:
        accuracy = _over_seeds(one, lambda point: point.accuracy)
        axes.errorbar(
            [found.mean for found in _over_seeds(one, of)],
            [found.mean for found in accuracy],
            yerr=[_width(found) for found in accuracy],
            marker=".",
            capsize=2,
            label=one.name,
        )
    axes.set(ylabel="accuracy on validation")
    axes.grid(alpha=0.3)
    axes.legend()


def _curves(axes: "Axes", compared: Sequence[Compared]) -> None:
    """Mean validation accuracy by epoch, with 95 % intervals."""
    _accuracy_by(axes, compared, lambda point: point.epoch)
    axes.set(xlabel="epoch", title=f"Training curves ({_BARS})")


def _speed(axes: "Axes", compared: Sequence[Compared]) -> None:
    """Mean validation accuracy by CPU seconds, with 95 % intervals."""
    _accuracy_by(axes, compared, lambda point: point.train_cpu_s)
    axes.set(xlabel="CPU s of training so far, one core", title=f"Accuracy by time ({_BARS})")


def _convergence(axes: "Axes", compared: Sequence[Compared], level: float | None) -> None:
    """CPU seconds until the validation accuracy first reaches a level."""
    wanted = level if level is not None else common_level([o for one in compared for o in one.outcomes])
    assert wanted is not None, "the caller has seen to it that every outcome has a curve"
    for place, one in enumerate(compared):
        found = arrival(one.outcomes, wanted)
        if found.cpu_s is None:
            axes.text(0.0, place, f" {found.reached} of {found.trainings} trainings reach it", va="center")
        else:
            axes.barh(place, found.cpu_s.mean, xerr=_width(found.cpu_s), capsize=4)
    axes.set(
        xlabel="CPU s of training, one core",
        yticks=range(len(compared)),
        yticklabels=[one.name for one in compared],
        title=f"Time to an accuracy of {wanted:.4f} on validation ({_BARS})",
    )
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")


def _cost(axes: "Axes", compared: Sequence[Compared]) -> None:
    """Accuracy against CPU seconds of training, with 95 % intervals."""
    for one in compared:
        accuracy, cpu = one.intervals["accuracy"], one.intervals["train_cpu_s"]
        axes.errorbar(cpu.mean, accuracy.mean, yerr=_width(accuracy), marker="o", capsize=4, label=one.name)
    axes.set(
        xlabel="CPU s of training, one core",
        ylabel="accuracy",
        title=f"Accuracy against cost ({_BARS})",
        xscale="log",
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend()


def _relaxation(axes: "Axes", compared: Sequence[Compared]) -> None:
    """Largest change of a state by sweep, of the trained network of the first seed."""
    drawn = False
    for one in compared:
        settling = one.outcomes[0].settling
        for phase, residual in (("free", settling.free_residual), ("nudged", settling.nudged_residual)):
            if any(value > 0 for value in residual):
                sweeps = range(1, len(residual) + 1)
                axes.plot(sweeps, residual, marker=".", label=f"{one.name}, {phase}")
                drawn = True
    axes.set(xlabel="sweep", ylabel="largest change of a state", title="Relaxation after training")
    if drawn:
        axes.set(yscale="log")
    _finish(axes, drawn=drawn, otherwise="none of these networks settles in sweeps")


def _norms(axes: "Axes", compared: Sequence[Compared]) -> None:
    """Largest spectral norm of a weight between states by epoch: beyond 1 a network settles slowly."""
    drawn = _by_epoch(axes, compared, {"recurrent_norm": ""})
    axes.set(xlabel="epoch", ylabel="largest spectral norm between states", title=f"Spectral norm ({_BARS})")
    _finish(axes, drawn=drawn, otherwise="none of these networks has weights between states")


def _energies(axes: "Axes", compared: Sequence[Compared]) -> None:
    """Energy of a sample at rest by epoch, free and nudged."""
    drawn = _by_epoch(axes, compared, {"free_energy": ", free", "nudged_energy": ", nudged"})
    axes.set(xlabel="epoch", ylabel="energy of a sample at rest", title=f"Energies ({_BARS})")
    _finish(axes, drawn=drawn, otherwise="none of these networks has an energy")


def _sweeps(axes: "Axes", compared: Sequence[Compared]) -> None:
    """Mean sweeps of a training step by epoch, free and nudged."""
    drawn = _by_epoch(axes, compared, {"free_steps": ", free", "nudged_steps": ", nudged"})
    axes.set(xlabel="epoch", ylabel="sweeps of a step", title=f"Sweeps ({_BARS})")
    _finish(axes, drawn=drawn, otherwise="none of these networks settles in sweeps")


def _by_epoch(axes: "Axes", compared: Sequence[Compared], fields: dict[str, str]) -> bool:
    """Draw fields of the epochs, named by what follows the genome's name; False where there is nothing but zeros."""
    drawn = False
    for one in compared:
        epochs = epoch_means(one.outcomes)
        for style, (field, what) in zip(_STYLES, fields.items(), strict=False):
            drawn |= _field(axes, epochs, field, f"{one.name}{what}", style)
    axes.locator_params(axis="x", integer=True)
    return drawn


def _field(axes: "Axes", epochs: Sequence[EpochMeans], field: str, label: str, style: str) -> bool:
    found = [(epoch.epoch, epoch.intervals[field]) for epoch in epochs if field in epoch.intervals]
    if not any(interval_.mean for _, interval_ in found):
        return False
    means = [interval_.mean for _, interval_ in found]
    widths = [_width(interval_) for _, interval_ in found]
    numbers = [epoch for epoch, _ in found]
    axes.errorbar(numbers, means, yerr=widths, marker=".", capsize=2, label=label, linestyle=style)
    return True


def _finish(axes: "Axes", *, drawn: bool, otherwise: str) -> None:
    """Grid and legend, or a word where nothing was drawn."""
    axes.grid(alpha=0.3, which="both")
    if drawn:
        axes.legend()
    else:
        axes.text(0.5, 0.5, otherwise, ha="center", transform=axes.transAxes)


PLOTS: dict[str, _Plot] = {
    "curves": _curves,
    "speed": _speed,
    "cost": _cost,
    "relaxation": _relaxation,
    "norms": _norms,
    "energies": _energies,
    "sweeps": _sweeps,
}
_OF_CURVES = ("curves", "speed", "convergence")
_OF_EPOCHS = ("norms", "energies", "sweeps")

"""Plots of a comparison as PNG or SVG: training curves, accuracy against cost, relaxation."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from node.comparison import Compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PLOTS", "draw"]

_SIZE_INCHES = (7.0, 4.5)


def draw(folder: Path, compared: Sequence[Compared], suffix: str) -> list[Path]:
    """Write one file a plot into `folder`; gives the paths. `suffix` is png or svg."""
    # Here, not above: half a second that only plots pay; the object interface needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    drawn = [one for one in compared if one.outcomes]
    if not drawn:
        return written
    for name, plot in PLOTS.items():
        if plot is _curves and not all(outcome.curve for one in drawn for outcome in one.outcomes):
            continue  # the test split has none
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        FigureCanvasAgg(figure)
        plot(figure.add_subplot(), drawn)
        path = folder / f"{name}.{suffix}"
        # A date in the file would make two equal runs write different bytes.
        figure.savefig(path, dpi=150, metadata={"Date": None} if suffix == "svg" else None)
        written.append(path)
    return written


def _curves(axes: "Axes", compared: Sequence[Compared]) -> None:
    """Mean validation accuracy by epoch; the band spans the seeds."""
    for one in compared:
        epochs = [point.epoch for point in one.outcomes[0].curve]
        columns = list(zip(*([p.accuracy for p in o.curve] for o in one.outcomes), strict=True))
        (drawn,) = axes.plot(epochs, [sum(c) / len(c) for c in columns], marker=".", label=one.name)
        axes.fill_between(
            epochs, [min(c) for c in columns], [max(c) for c in columns], color=drawn.get_color(), alpha=0.2
        )
    axes.set(xlabel="epoch", ylabel="accuracy", title="Training curves (mean, band: all seeds)")
    axes.grid(alpha=0.3)
    axes.legend()


def _cost(axes: "Axes", compared: Sequence[Compared]) -> None:
    """Accuracy against CPU seconds of training, with 95 % intervals."""
    for one in compared:
        accuracy, cpu = one.intervals["accuracy"], one.intervals["train_cpu_s"]
        width = accuracy.half_width if len(one.outcomes) > 1 else 0.0
        axes.errorbar(cpu.mean, accuracy.mean, yerr=width, marker="o", capsize=4, label=one.name)
    axes.set(
        xlabel="CPU s of training, one core",
        ylabel="accuracy",
        title="Accuracy against cost (bars: 95 % of the mean)",
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
    axes.set(
        xlabel="sweep", ylabel="largest change of a state", title="Relaxation after training", yscale="log"
    )
    axes.grid(alpha=0.3, which="both")
    if drawn:
        axes.legend()
    else:
        axes.set(yscale="linear")
        axes.text(0.5, 0.5, "none of these networks settles in sweeps", ha="center", transform=axes.transAxes)


PLOTS: dict[str, Callable[["Axes", Sequence[Compared]], None]] = {
    "curves": _curves,
    "cost": _cost,
    "relaxation": _relaxation,
}

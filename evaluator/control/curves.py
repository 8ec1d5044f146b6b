"""Learning curves of several credits as a PNG."""

import io
from collections.abc import Mapping, Sequence

from evaluator.control.settings import Credit
from evaluator.control.summaries import ENOUGH_SEEDS, MARK, Band

__all__ = ["draw"]

_SIZE_INCHES = (7.0, 4.5)
_LABELS: Mapping[Credit, str] = {
    "ep": "Equilibrium Propagation",
    "backprop": "backpropagation",
    "random": "random policy",
}


def draw(curves: Mapping[Credit, Sequence[Band]], seeds: int) -> bytes:
    """Return the PNG of each credit's curve with its band; the title says what they are of so many seeds."""
    # Here, not above: half a second that only plots pay; the object interface needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for credit, curve in curves.items():
        steps = [band.steps for band in curve]
        (drawn,) = axes.plot(steps, [band.centre for band in curve], marker=".", label=_LABELS[credit])
        axes.fill_between(
            steps, [b.low for b in curve], [b.high for b in curve], color=drawn.get_color(), alpha=0.2
        )
    axes.axhline(MARK, color="grey", linestyle=":", linewidth=1)
    how = (
        "interquartile mean, 95 % bootstrap interval"
        if seeds >= ENOUGH_SEEDS
        else "mean, band: from worst to best"
    )
    axes.set(
        xlabel="steps of the environment",
        ylabel="return (at most 500)",
        title=f"CartPole-v1 ({seeds} seeds: {how})",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    body = io.BytesIO()
    figure.savefig(body, format="png", dpi=150)
    return body.getvalue()

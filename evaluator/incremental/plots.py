"""Plots of an experiment as PNG: errors by class and stage, growth, reconstructions, regimes side by side."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evaluator.incremental.records import Run
from evaluator.incremental.settings import REGIMES, VARIANTS
from evaluator.incremental.summary import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PLOTS", "draw"]

Grouped: TypeAlias = Mapping[str, Sequence[Run]]

# Told apart without colours' help too (Okabe and Ito's palette); growth is dark, a fixed size light.
_COLOURS = {
    "ndl": "#0072b2", "cl": "#56b4e9", "ndl+ir": "#d55e00", "cl+ir": "#e69f00",
    "ndl+data": "#007a5a", "cl+data": "#8fd6bd",
}  # fmt: skip
_LEVELS = ("#08306b", "#2171b5", "#6baed6", "#c6dbef", "#969696", "#525252")
# Above so many classes cells are too small for numbers.
_MOST_NUMBERS = 12
_COLUMNS = 30


def draw(folder: Path, runs: Sequence[Run]) -> list[Path]:
    """Write errors.png, growth.png, reconstructions.png and regimes.png into the folder; gives those that were drawn.

    There is no growth without a regime that grows, and no picture of inputs that are not square.
    """
    # Here, not above: half a second that only plots pay; the object interface needs no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    grouped = _grouped(runs)
    written = []
    for name, plot in PLOTS.items():
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        if plot(figure, grouped):
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=130)
            written.append(path)
    return written


def _grouped(runs: Sequence[Run]) -> Grouped:
    order = (*VARIANTS, *(name for name in REGIMES if name not in VARIANTS))
    found = {name: [run for run in runs if run.manifest.result.variant == name] for name in order}
    return {name: group for name, group in found.items() if group}


def _errors(figure: "Figure", grouped: Grouped) -> bool:
    """MSE of each class after each stage, mean over seeds, a panel for each regime; a line below what was learned."""
    from matplotlib.colors import LogNorm  # noqa: PLC0415

    columns = min(2, len(grouped))
    rows = math.ceil(len(grouped) / columns)
    means = {name: 1000 * np.mean([run.mse for run in runs], axis=0) for name, runs in grouped.items()}
    low, high = min(m.min() for m in means.values()), max(m.max() for m in means.values())
    norm = LogNorm(low, high)
    side = max(4.2, 0.2 * len(next(iter(grouped.values()))[0].labels))
    figure.set_size_inches(side * 1.25 * columns + 0.8, side * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(grouped) :]:
        axes.remove()
    for axes, (name, mean) in zip(panels.flat, means.items(), strict=False):
        image = axes.imshow(mean, norm=norm, cmap="viridis_r", aspect="auto")
        _name_stages(axes, grouped[name][0])
        axes.set_title(f"{name} ({_seeds(grouped[name])})")
        if mean.shape[1] <= _MOST_NUMBERS:
            _number(axes, mean, norm)
    label = "MSE per pixel in thousandths, of samples never learned from"
    bar = figure.colorbar(image, ax=panels, label=label, ticks=np.geomspace(low, high, 6))
    bar.ax.set_yticklabels([_short(value) for value in np.geomspace(low, high, 6)])
    bar.minorticks_off()
    figure.supxlabel("class, in the order of learning")
    figure.supylabel("after learning")
    return True


def _name_stages(axes: "Axes", run: Run) -> None:
    axes.set_xticks(range(len(run.labels)), [str(label) for label in run.labels])
    names = [_stage_name(labels) for labels in run.manifest.order]
    axes.set_yticks(range(len(names)), names)
    # Right of the line a class was not learned yet.
    counts = np.cumsum([len(labels) for labels in run.manifest.order])
    edges = np.arange(len(names) + 1) - 0.5
    axes.stairs(counts - 0.5, edges, orientation="horizontal", color="black", linewidth=2.0, baseline=None)


def _stage_name(labels: Sequence[int]) -> str:
    # Ten classes of a base would need more room than the plot.
    return "+".join(map(str, labels)) if len(labels) < 4 else f"first {len(labels)}"


def _number(axes: "Axes", mean: NDArray[np.float64], norm: Callable[[float], float]) -> None:
    for (row, column), value in np.ndenumerate(mean):
        colour = "white" if norm(float(value)) > 0.5 else "black"
        axes.text(column, row, _short(value), ha="center", va="center", fontsize=7, color=colour)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _growth(figure: "Figure", grouped: Grouped) -> bool:
    """Units that each class added to each level, mean over seeds, stacked; a panel for each regime that grows."""
    growing = {name: runs for name, runs in grouped.items() if any(run.rounds for run in runs)}
    if not growing:
        return False
    classes = len(next(iter(growing.values()))[0].labels)
    figure.set_size_inches(max(5.0, 0.35 * classes + 2.0) * len(growing), 4.2)
    panels = figure.subplots(1, len(growing), squeeze=False, sharey=True)
    for axes, (name, runs) in zip(panels.flat, growing.items(), strict=True):
        _stack_growth(axes, runs)
        axes.set(title=f"{name} ({_seeds(runs)})", xlabel="class, in the order of learning")
    panels[0, 0].set_ylim(0, 1.1 * panels[0, 0].get_ylim()[1])  # room for the marks above the bars
    panels[0, 0].set_ylabel("units added, mean of seeds")
    panels[0, -1].legend(fontsize=8)
    return True


def _stack_growth(axes: "Axes", runs: Sequence[Run]) -> None:
    from matplotlib.transforms import offset_copy  # noqa: PLC0415

    order = runs[0].manifest.order
    levels = len(runs[0].manifest.base_sizes) - 1
    added = np.zeros((levels, len(order)))
    capped = [False] * len(order)
    for growth in (growth for run in runs for growth in run.rounds):
        added[growth.level - 1, growth.stage] += growth.added / len(runs)
        capped[growth.stage] |= growth.cap_hit
    bottom = np.zeros(len(order))
    for level, counts in enumerate(added):
        colour = _LEVELS[level % len(_LEVELS)]
        axes.bar(range(len(order)), counts, bottom=bottom, label=f"level {level + 1}", color=colour)
        bottom += counts
    marked = [stage for stage, hit in enumerate(capped) if hit]
    if marked:
        # In points, not units: the panels share an axis and bars differ.
        above = offset_copy(axes.transData, fig=axes.get_figure(root=True), y=5, units="points")
        axes.plot(marked, bottom[marked], "kv", markersize=5, label="a cap was met", transform=above)
    axes.set_xticks(range(len(order)), [_stage_name(labels) for labels in order])
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _reconstructions(figure: "Figure", grouped: Grouped) -> bool:
    """Samples of each class, above what each regime makes of them at the end, and what replay draws; one seed."""
    shown = {name: runs[0].shown for name, runs in grouped.items()}
    first = next(iter(shown.values()))
    _, kept, pixels = first["originals"].shape
    side = math.isqrt(pixels)
    if side * side != pixels:
        return False
    labels = [int(label) for label in first["labels"]]
    each = min(kept, max(1, _COLUMNS // min(len(labels), _COLUMNS)))
    lines = {"original": first["originals"]} | {
        name: arrays["reconstructions"] for name, arrays in shown.items()
    }
    lines |= {f"{name}\nreplay": arrays["replay"] for name, arrays in shown.items() if "replay" in arrays}
    wrap = _COLUMNS // each
    blocks = [range(start, min(start + wrap, len(labels))) for start in range(0, len(labels), wrap)]
    figure.set_size_inches(1.2 + 0.42 * each * len(blocks[0]), len(blocks) * (0.3 + 0.4 * len(lines)) + 0.3)
    panels = figure.subplots(len(blocks), 1, squeeze=False)
    for axes, block in zip(panels.flat, blocks, strict=True):
        _montage(axes, lines, [labels[k] for k in block], (block, each, side, len(blocks[0])))
    seed = next(iter(grouped.values()))[0].manifest.result.seed
    figure.suptitle(f"Samples never learned from, after the last class (seed {seed})", fontsize=10)
    return True


def _montage(
    axes: "Axes",
    lines: Mapping[str, NDArray[np.generic]],
    labels: Sequence[int],
    cut: tuple[range, int, int, int],
) -> None:
    """One picture of tiles with gaps: a row for each of `lines`, `each` columns for each class of the block.

    It is as wide as one of `room` classes, so that the last block has pictures no larger than those above.
    """
    block, each, side, room = cut
    tile = side + 1
    gap = max(1, side // 4)
    width = room * (each * tile + gap) - gap
    canvas = np.ones((len(lines) * tile, width))
    for row, images in enumerate(lines.values()):
        for place, k in enumerate(block):
            for column in range(each):
                left = place * (each * tile + gap) + column * tile
                ink = np.clip(np.asarray(images[k, column], dtype=np.float64), 0.0, 1.0)
                canvas[row * tile : row * tile + side, left : left + side] = 1.0 - 0.95 * ink.reshape(
                    side, side
                )
    axes.imshow(canvas, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    centres = [place * (each * tile + gap) + each * tile / 2 - 1 for place in range(len(block))]
    axes.set_xticks(centres, [str(label) for label in labels])
    axes.set_yticks([row * tile + side / 2 - 0.5 for row in range(len(lines))], list(lines), fontsize=8)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _regimes(figure: "Figure", grouped: Grouped) -> bool:
    """Macro MSE, forgetting and samples presented: the mean with its 95 % interval, and every seed."""
    measures = (
        ("macro_mse", "macro MSE", 1.0),
        ("forgetting", "forgetting (MSE)", 1.0),
        ("presented", "samples presented (thousands)", 1e-3),
    )
    figure.set_size_inches((1.6 + 0.45 * len(grouped)) * len(measures), 4.0)
    for axes, (field, title, scale) in zip(figure.subplots(1, len(measures)), measures, strict=True):
        for place, (name, runs) in enumerate(grouped.items()):
            values = [scale * float(getattr(run.manifest.result, field)) for run in runs]
            found = estimate(values)
            axes.bar(place, found.mean, color=_COLOURS[name], width=0.7)
            if found.low is not None and found.high is not None:
                half = (found.high - found.low) / 2
                axes.errorbar(place, found.mean, yerr=half, color="black", capsize=5, linewidth=1.4)
            offsets = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else [0.0]
            axes.plot(place + np.asarray(offsets), values, "o", color="black", markersize=3, alpha=0.6)
        axes.set_xticks(range(len(grouped)), list(grouped))
        axes.set_title(title, fontsize=10)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
    several = any(len(runs) > 1 for runs in grouped.values())
    how = (
        "bars: mean, dots: seeds, whiskers: 95 % interval of the mean" if several else "one seed: no interval"
    )
    figure.supxlabel(f"lower is better ({how})", fontsize=9)
    return True


def _seeds(runs: Sequence[Run]) -> str:
    return f"seed {runs[0].manifest.result.seed}" if len(runs) == 1 else f"mean of {len(runs)} seeds"


PLOTS: dict[str, Callable[["Figure", Grouped], bool]] = {
    "regimes": _regimes,
    "errors": _errors,
    "growth": _growth,
    "reconstructions": _reconstructions,
}

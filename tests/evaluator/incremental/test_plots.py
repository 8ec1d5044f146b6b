from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from evaluator.incremental.plots import PLOTS, draw
from evaluator.incremental.records import Run


def grouped(runs: tuple[Run, ...]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.manifest.result.variant, []).append(run)
    return found


def test_every_plot_is_written_and_can_be_read(runs: tuple[Run, ...], tmp_path: Path) -> None:
    written = draw(tmp_path, runs)
    assert [path.name for path in written] == [f"{name}.png" for name in PLOTS]
    for path in written:
        assert np.ptp(imread(path)[..., :3]) > 0.5


def test_a_plot_of_the_same_runs_has_the_same_bytes(runs: tuple[Run, ...], tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in draw(tmp_path, runs)}
    assert {path.name: path.read_bytes() for path in draw(tmp_path, runs)} == first


def test_fixed_regimes_alone_have_no_growth(runs: tuple[Run, ...], tmp_path: Path) -> None:
    fixed = [run for run in runs if run.manifest.result.variant == "cl"]
    assert "growth.png" not in {path.name for path in draw(tmp_path, fixed)}


def test_inputs_that_are_not_square_have_no_pictures(runs: tuple[Run, ...]) -> None:
    run = runs[0]
    narrow = {name: array[..., :60] for name, array in run.shown.items()} | {"labels": run.shown["labels"]}
    assert not PLOTS["reconstructions"](Figure(), {"ndl": [replace(run, shown=narrow)]})


def test_the_heat_map_has_the_mean_errors_in_thousandths(runs: tuple[Run, ...]) -> None:
    figure = Figure()
    PLOTS["errors"](figure, grouped(runs))
    shown = {axes.get_title().split()[0]: axes.images[0].get_array() for axes in figure.axes if axes.images}
    assert set(shown) == {"ndl", "cl", "ndl+ir", "cl+ir"}
    for name, own in grouped(runs).items():
        assert np.allclose(shown[name], 1000 * (own[0].mse + own[1].mse) / 2)


def test_bars_of_growth_add_up_to_what_grew(runs: tuple[Run, ...]) -> None:
    figure = Figure()
    PLOTS["growth"](figure, grouped(runs))
    for axes in figure.axes:
        own = grouped(runs)[axes.get_title().split()[0]]
        grown = [sum(run.manifest.result.sizes) - sum(run.manifest.base_sizes) for run in own]
        assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(np.mean(grown))
        assert min(grown) > 0


def test_a_reconstruction_stands_below_its_original(runs: tuple[Run, ...]) -> None:
    figure = Figure()
    PLOTS["reconstructions"](figure, grouped(runs))
    (axes,) = figure.axes
    canvas = axes.images[0].get_array()
    lines = [label.get_text() for label in axes.get_yticklabels()]
    assert lines == ["original", "ndl", "cl", "ndl+ir", "cl+ir", "ndl+ir\nreplay", "cl+ir\nreplay"]
    run = next(run for run in runs if run.manifest.result.variant == "cl")
    for line, name in ((0, "originals"), (2, "reconstructions")):
        # The second sample of the first class: tiles are 8 pixels and a gap of one.
        tile = canvas[line * 9 : line * 9 + 8, 9:17]
        expected = 1 - 0.95 * np.clip(run.shown[name][0, 1], 0, 1).reshape(8, 8)
        assert np.allclose(tile, expected, atol=1e-6)


def test_whiskers_are_the_intervals(runs: tuple[Run, ...]) -> None:
    figure = Figure()
    PLOTS["regimes"](figure, grouped(runs))
    axes = figure.axes[0]
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx(
        [np.mean([run.manifest.result.macro_mse for run in own]) for own in grouped(runs).values()]
    )
    # Of two seeds: 12.706 times half their distance.
    halves = [bars.get_segments()[0][1, 1] - bars.get_segments()[0][0, 1] for bars in axes.collections]
    spans = [
        abs(a.manifest.result.macro_mse - b.manifest.result.macro_mse) for a, b in grouped(runs).values()
    ]
    assert np.array(halves) / 2 == pytest.approx(12.7062 * np.array(spans) / 2, rel=1e-4)

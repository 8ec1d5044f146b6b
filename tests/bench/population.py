"""Populations of 64-64-10 networks as one batch, against the same networks one by one."""

from functools import partial

import numpy as np
import torch

from tests.bench.report import Column, Figure, Report, Table, arguments, finish, origin
from tests.bench.stepping import alone, batch_of, interleaved, together

SIZES = (64, 64, 10)
TARGETS = {16: 5.0, 64: 2.0}


def main() -> None:
    """Measure, compare, report."""
    options = arguments(__doc__ or "").parse_args()
    began = origin("population")
    torch.set_num_threads(1)
    rounds = 3 if options.smoke else 60
    rows: list[list[str | int | float | None]] = []
    for batch in TARGETS:
        x, y = batch_of(batch, SIZES[0])
        one = alone(SIZES, batch)
        for networks in (4, 16, 32, 64):
            group = together(SIZES, batch, networks)
            xs, ys = np.stack([x] * networks), np.stack([y] * networks)
            found = interleaved(
                {
                    "one": partial(one.step, x, y, scale=0.5),
                    "group": partial(group.step, xs, ys, scale=0.5),
                },
                rounds=rounds,
                repeats=(20, 3),
            )
            each = found["group"] / networks
            rows.append([batch, networks, 1e6 * found["one"], 1e6 * each, found["one"] / each])
    figures = []
    for batch, target in TARGETS.items():
        gain, networks = max((float(row[4] or 0), row[1]) for row in rows if row[0] == batch)
        figures.append(
            Figure(
                what=f"64-64-10 population against one by one, batch {batch}",
                target=f">= {target:g} x",
                measured=f"{gain:.2f} x ({networks} networks)",
                reached=gain >= target,
            )
        )
    finish(
        Report(
            name="population",
            title="Populations of small networks",
            about="One training step (ce, centred, one nudged sweep, Adam, fp32): CPU time a network in a population, "
            "and of a network alone.",
            smoke=options.smoke,
            seeds=(0,),
            figures=tuple(figures),
            tables=(
                Table(
                    title="One step of 64-64-10",
                    columns=(
                        Column("batch", "d"),
                        Column("networks", "d"),
                        Column("us alone", ".0f"),
                        Column("us each in the population", ".1f"),
                        Column("gain", ".2f"),
                    ),
                    rows=rows,
                ),
            ),
            origin=began,
            data=rows,
        ),
        options.output,
    )


if __name__ == "__main__":
    main()

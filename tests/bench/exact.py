"""What the exact class costs: one training step in exact-1 and bf16 against fp32, in turns on one thread."""

from functools import partial

import torch

from tests.bench.report import Column, Figure, Report, Table, arguments, finish, origin
from tests.bench.stepping import alone, batch_of, interleaved

TARGET = 2.1


def main() -> None:
    """Measure, compare, report."""
    options = arguments(__doc__ or "").parse_args()
    began = origin("exact")
    torch.set_num_threads(1)
    rounds = 3 if options.smoke else 60
    rows: list[list[str | int | float | None]] = []
    for sizes, batch in (((784, 512, 10), 128), ((784, 128, 10), 128), ((64, 64, 10), 64)):
        x, y = batch_of(batch, sizes[0])
        learners = {name: alone(sizes, batch, name) for name in ("fp32", "exact-1", "bf16")}
        found = interleaved(
            {name: partial(learner.step, x, y, scale=0.5) for name, learner in learners.items()},
            rounds=rounds,
            repeats=(5, 5, 5),
        )
        microseconds = [1e6 * found[name] for name in ("fp32", "exact-1", "bf16")]
        rows.append(
            [
                "-".join(map(str, sizes)),
                batch,
                *microseconds,
                microseconds[1] / microseconds[0],
                microseconds[2] / microseconds[0],
            ]
        )
    ratio = float(rows[0][5] or 0)
    finish(
        Report(
            name="exact",
            title="The price of the exact class",
            about="One training step (ce, centred, one nudged sweep, Adam) on dense noise. Products of float64 run "
            "at half the rate of float32, so that 2 is the floor of whatever is bound by them. Real images cost "
            "less: columns of pixels that are zero in a whole batch are left out of exact products.",
            smoke=options.smoke,
            seeds=(0,),
            figures=(
                Figure(
                    what="exact-1 against fp32, CPU time of a training step of 784-512-10",
                    target="<= 2.1 x",
                    measured=f"{ratio:.2f} x",
                    reached=ratio <= TARGET,
                ),
            ),
            tables=(
                Table(
                    title="One step",
                    columns=(
                        Column("network"),
                        Column("batch", "d"),
                        Column("fp32 us", ".0f"),
                        Column("exact-1 us", ".0f"),
                        Column("bf16 us", ".0f"),
                        Column("exact-1 / fp32", ".2f"),
                        Column("bf16 / fp32", ".2f"),
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

"""Share of the sgemm rate that a settle loop of 784-512-512-10 reaches, both measured in turns on one thread."""

from functools import partial

import numpy as np
import torch

from kernels import EqpropLearner, OptimizerSettings, Relaxation, Rule, Topology, initial_parameters
from tests.bench.report import Column, Figure, Report, Table, arguments, finish, origin
from tests.bench.stepping import batch_of, interleaved

SIZES = (784, 512, 512, 10)
TARGET = 0.9


def relaxing(batch: int, sweeps: int) -> EqpropLearner:
    """A deep EP learner whose free phase takes so many block sweeps."""
    topology = Topology(SIZES)
    start = initial_parameters(topology, seed=bytes(32), gain=0.5)
    rule = Rule("centred", 1.0, Relaxation(steps=sweeps), Relaxation(order="backward", steps=1))
    return EqpropLearner(topology, start, rule, OptimizerSettings("sgd", rate=1e-3), batch=batch)


def main() -> None:
    """Measure, compare, report."""
    options = arguments(__doc__ or "").parse_args()
    began = origin("settle")
    torch.set_num_threads(1)
    rounds = 3 if options.smoke else 40
    rows = []
    for batch in (128, 512):
        short, long = (relaxing(batch, sweeps) for sweeps in (10, 60))
        x, y = batch_of(batch, SIZES[0])
        a, b = torch.rand(512, 512), torch.rand(512, batch)
        c = torch.empty(512, batch)
        # Two trainings that differ in nothing but 50 free sweeps: their difference is those sweeps.
        with torch.inference_mode():
            found = interleaved(
                {
                    "short": partial(short.step, x, y, scale=0.0),
                    "long": partial(long.step, x, y, scale=0.0),
                    "sgemm": partial(torch.mm, a, b, out=c),
                },
                rounds=rounds,
                repeats=(1, 1, 20),
            )
        sweep = (found["long"] - found["short"]) / 50
        flops = 2.0 * 2 * 512 * 512 * batch  # one product up and one down
        rate, peak = flops / sweep / 1e9, 2.0 * 512 * 512 * batch / found["sgemm"] / 1e9
        rows.append([batch, 1e6 * sweep, rate, peak, rate / peak])
    best = max(float(row[4]) for row in rows)
    finish(
        Report(
            name="settle",
            title="Settle loop against sgemm",
            about="One free block sweep of 784-512-512-10 (ce) is two products of 512 x 512 with 512 x batch, bias and "
            "clip included. The rate of a sweep beside that of torch.mm on the same shapes.",
            smoke=options.smoke,
            seeds=(0,),
            figures=(
                Figure(
                    what="settle loop of 784-512-512-10, share of the sgemm rate",
                    target=">= 90 %",
                    measured=f"{100 * best:.0f} % (batch {rows[int(np.argmax([r[4] for r in rows]))][0]})",
                    reached=best >= TARGET,
                ),
            ),
            tables=(
                Table(
                    title="One sweep",
                    columns=(
                        Column("batch", "d"),
                        Column("us", ".0f"),
                        Column("GFLOP/s", ".1f"),
                        Column("sgemm GFLOP/s", ".1f"),
                        Column("share", ".0%"),
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

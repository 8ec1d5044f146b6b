"""Peak memory of training by depth, EP beside backpropagation: what the resident size really grew by.

Each point is a process of its own that first trains a network of one hidden layer, so that what libraries allocate
once does not count, then builds the network in question and takes training steps; the figure is the most that its
resident size exceeded the one before the network was built (Linux's VmHWM, in pages).
"""

import argparse
import subprocess
import sys

from evaluator.limits import peak_resident_bytes, reset_peak, thread_environment
from kernels import (
    BackpropLearner,
    EqpropLearner,
    OptimizerSettings,
    Relaxation,
    Rule,
    Topology,
    initial_parameters,
)
from tests.bench.report import Cell, Column, Figure, Report, Table, arguments, finish, origin, percentile
from tests.bench.stepping import batch_of

INPUTS, WIDTH, CLASSES, BATCH = 64, 256, 10, 512
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
WAYS = ("eqprop", "backprop")
STEPS = 2
REPEATS = 3
SWEEPS, NUDGED = 6, 2
MIB = 2.0**20
_LIMIT_S = 300


def peak_of(way: str, depth: int) -> int:
    """Bytes by which this process grew at most while a network of `depth` hidden layers was made and trained."""
    x, y = batch_of(BATCH, INPUTS, CLASSES)
    _train(way, 1, x, y)
    before = reset_peak()
    _train(way, depth, x, y)
    return peak_resident_bytes() - before


def _train(way: str, depth: int, x: object, y: object) -> None:
    topology = Topology((INPUTS, *(WIDTH,) * depth, CLASSES))
    start = initial_parameters(topology, seed=bytes(32), gain=0.5)
    sgd = OptimizerSettings("sgd", rate=1e-3)
    if way == "eqprop":
        rule = Rule("centred", 0.5, Relaxation(steps=SWEEPS), Relaxation(order="backward", steps=NUDGED))
        learner: EqpropLearner | BackpropLearner = EqpropLearner(topology, start, rule, sgd, batch=BATCH)
    else:
        learner = BackpropLearner(topology, start, sgd, batch=BATCH)
    for _ in range(STEPS):
        learner.step(x, y, scale=1.0)  # type: ignore[arg-type] # arrays, as batch_of makes them


def measure(way: str, depth: int) -> int:
    """The same in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.bench.memory_depth", "--one", way, str(depth)],
        capture_output=True, text=True, check=True, timeout=_LIMIT_S, env=thread_environment(),
    )  # fmt: skip
    return int(found.stdout)


def main() -> None:
    """Measure every point in turns, compare, report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "DEPTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(peak_of(options.one[0], int(options.one[1])))
        return
    began = origin("memory_depth")
    depths, repeats = (DEPTHS[:2], 1) if options.smoke else (DEPTHS, REPEATS)
    found: dict[tuple[str, int], list[int]] = {}
    for _ in range(repeats):
        for depth in depths:
            for way in WAYS:
                found.setdefault((way, depth), []).append(measure(way, depth))
    rows: list[list[Cell]] = []
    data = []
    for depth in depths:
        middle = {way: percentile(found[way, depth], 0.5) for way in WAYS}
        span = [max(found[way, depth]) - min(found[way, depth]) for way in WAYS]
        rows.append(
            [
                depth,
                *(middle[way] / MIB for way in WAYS),
                middle["eqprop"] / middle["backprop"],
                max(span) / MIB,
            ]
        )
        data.append({"depth": depth, **{way: found[way, depth] for way in WAYS}})
    ratio = rows[-1][3]
    finish(
        Report(
            name="memory_depth",
            title="Training memory by depth",
            about=f"Hidden layers of {WIDTH} units, {INPUTS} inputs, {CLASSES} classes, batch {BATCH}, fp32, plain "
            f"SGD, {STEPS} steps. EP: centred estimate, {SWEEPS} free and {NUDGED} nudged sweeps; backpropagation: the "
            "repository's own chain rule in preallocated arrays. Growth of the resident size of a process of its own, "
            f"weights and gradients included; median of {repeats}, spread is the largest less the smallest.",
            smoke=options.smoke,
            seeds=(0,),
            figures=(
                Figure(
                    what=f"training memory at {depths[-1]} hidden layers, EP over backpropagation",
                    target="measured",
                    measured=f"{ratio:.2f}",
                ),
            ),
            tables=(
                Table(
                    title="Peak memory of training",
                    columns=(
                        Column("hidden layers", "d"),
                        Column("EP, MiB", ".1f"),
                        Column("backprop, MiB", ".1f"),
                        Column("EP / backprop", ".2f"),
                        Column("spread, MiB", ".1f"),
                    ),
                    rows=rows,
                ),
            ),
            origin=began,
            data=data,
        ),
        options.output,
    )


if __name__ == "__main__":
    main()

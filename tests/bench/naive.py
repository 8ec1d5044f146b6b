"""The CPU path against the loop that one would write for a paper: one training step of 784-256-10, in turns.

The loop (`tests.bench.plain`) computes the input's drive again at every sweep and keeps every state in a fresh tensor.
Both take the same block sweeps, or the loop as many leaky synchronous ones; the gradients are compared before the clock
starts.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from evaluator.build import build
from evaluator.shape import shape_of
from genome import Value, preset
from genome.spaces import MLP
from kernels import Learner
from kernels.topology import bias_name, weight_name
from tests.bench.plain import PlainNet, optimizers
from tests.bench.report import Column, Figure, Report, Table, arguments, finish, origin
from tests.bench.stepping import Batch, batch_of, interleaved

INPUTS, CLASSES, WIDTH = 784, 10, 256
# The first is judged: the sweeps of the design's model of a step. The second is what the preset `ep` takes.
CASES = ((256, 20, 10), (128, 4, 2))
TARGET = 5.0
# Gradients of float32 in two orders of summation, over their largest entry.
ALLOWED = 1e-3


def genes(batch: int, free: int, nudged: int, scheme: str = "block") -> dict[str, Value]:
    """The preset `ep` with so many sweeps."""
    changes: dict[str, Value] = {"width1": WIDTH, "batch": batch, "free_steps": free, "nudged_steps": nudged}
    changes |= {"scheme": scheme, "step_size": 0.5} if scheme == "synchronous" else {}
    return dict(MLP.genome({**dict(preset("ep").values), **changes}).values)


def ours(values: Mapping[str, Value]) -> Learner:
    """The CPU path's learner."""
    return build(
        values, inputs=INPUTS, classes=CLASSES, seed=bytes(32), arithmetic="fp32", backend="torch-cpu"
    )


def plain(values: Mapping[str, Value], like: Learner) -> PlainNet:
    """The loop's network, with the weights of a learner."""
    net = PlainNet(values, shape_of(values, inputs=INPUTS, classes=CLASSES))
    start = like.parameters()
    for (k, l), weight in net.W.items():
        weight.data.copy_(torch.from_numpy(start[weight_name(k, l)]))
    for l, bias in net.b.items():
        bias.data.copy_(torch.from_numpy(start[bias_name(l)]))
    return net


def plain_step(net: PlainNet, batch: Batch) -> Callable[[], None]:
    """One step of the loop: gradient, then torch's optimizer."""
    x, y = torch.from_numpy(batch[0]), torch.from_numpy(batch[1])
    target = torch.nn.functional.one_hot(y, CLASSES).float()
    chosen = optimizers(net.values, list(net.W.values()), list(net.b.values()))

    def act() -> None:
        with torch.no_grad():
            net.gradient(x, target)
            for one in chosen:
                one.step()

    return act


def gradient_gap(values: Mapping[str, Value], batch: Batch) -> float:
    """The largest difference of the two first steps of SGD over the largest step, over all weights."""
    learner = ours(values)
    net = plain(values, learner)
    before = {name: np.array(array) for name, array in learner.parameters().items()}
    learner.step(*batch, scale=1.0, sign=1)
    plain_step(net, batch)()
    after, worst = learner.parameters(), 0.0
    for (k, l), weight in net.W.items():
        name = weight_name(k, l)
        mine, theirs = after[name] - before[name], _array(weight) - before[name]
        worst = max(worst, float(np.abs(mine - theirs).max() / np.abs(theirs).max()))
    return worst


def _array(weight: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return weight.detach().numpy()


def measured(batch: int, free: int, nudged: int, rounds: int) -> list[str | int | float | None]:
    """One row: the CPU path, the loop with the same sweeps, and with leaky ones."""
    values, data = genes(batch, free, nudged), batch_of(batch, INPUTS)
    gap = gradient_gap(values, data)
    if not gap <= ALLOWED:
        raise SystemExit(f"expected gradients within {ALLOWED} of each other, got {gap:.3g}. One is wrong.")
    learner, leaky = ours(values), genes(batch, free, nudged, "synchronous")
    found = interleaved(
        {
            "ours": partial(learner.step, *data, scale=0.0),
            "loop": plain_step(plain(values, learner), data),
            "leaky": plain_step(plain(leaky, learner), data),
        },
        rounds=rounds,
        repeats=(3, 1, 1),
    )
    times = [found[name] for name in ("ours", "loop", "leaky")]
    return [
        batch, f"{free} + 2 x {nudged}", *(1e3 * each for each in times), times[1] / times[0], times[2] / times[0], gap
    ]  # fmt: skip


def main() -> None:
    """Compare, measure, report."""
    options = arguments(__doc__ or "").parse_args()
    began = origin("naive")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    rows = [measured(*case, 2 if options.smoke else 40) for case in CASES]
    gain = float(rows[0][5] or 0)
    finish(
        Report(
            name="naive",
            title="The CPU path against a plain loop",
            about="One training step of 784-256-10 (mse, centred, SGD with momentum, fp32), CPU time on one thread. "
            "The loop is that of `tests/bench/plain.py`: torch's products, the input's drive at every sweep, fresh "
            "tensors.",
            smoke=options.smoke,
            seeds=(0,),
            figures=(
                Figure(
                    what="784-256-10, 20 free and 2 x 10 nudged sweeps: CPU path against a plain loop, equal sweeps",
                    target=f">= {TARGET:g} x",
                    measured=f"{gain:.2f} x",
                    reached=gain >= TARGET,
                ),
            ),
            tables=(
                Table(
                    title="One step of 784-256-10",
                    columns=(
                        Column("batch", "d"),
                        Column("sweeps"),
                        Column("ms", ".2f"),
                        Column("ms, loop", ".2f"),
                        Column("ms, loop with leaky sweeps", ".2f"),
                        Column("gain", ".2f"),
                        Column("gain over leaky", ".2f"),
                        Column("gap of gradients", ".1e"),
                    ),
                    rows=rows,
                    note="Leaky sweeps: synchronous, step size 0.5, as many. They settle less far, so that more of "
                    "them would be needed. The gap is the largest difference of two first steps over the largest step.",
                ),
            ),
            origin=began,
            data=rows,
        ),
        options.output,
    )


if __name__ == "__main__":
    main()

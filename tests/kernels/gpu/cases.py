"""Gates 2 and 4: each kernel against the naive float64 operation, on the CPU's interpreter or on a device.

Odd shapes, outputs poisoned with NaN, guards around every tensor. A case raises where the kernel is wrong.
Under the interpreter this runs in a process of its own: python -m tests.kernels.gpu.cases KERNEL
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from kernels import OptimizerSettings
from kernels.backends.reference_optimizers import empty_slots, newton_schulz, optimizer_step
from kernels.backends.triton import (
    AdamState,
    Feed,
    Network,
    Product,
    RaggedLayout,
    SgdState,
    hebbian_bias,
    hebbian_update,
    newton_schulz_small,
    power_iter,
    settle_layer,
    settle_persistent_1h,
    settle_persistent_ragged,
)
from tests.kernels.gpu import naive, refusals
from tests.kernels.gpu.guarded import Guards
from tests.kernels.gpu.steps import errors, population
from tests.kernels.gpu.training_cases import training_cases

Case = Callable[[str], None]

P, B, K, N, ABOVE, CLASSES = 3, 37, 70, 45, 21, 10
# fp32: sums of about 100 products in another order. fp16: 2**-11 of a state in [0, 1] for each rounding on the way,
# operands included, times the sweeps.
CLOSE = {torch.float32: 1e-5, torch.float16: 4e-3}
DTYPES = (torch.float32, torch.float16)
BETAS = torch.tensor([0.3, -0.2, 0.45])


def drawn(seed: int) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """(states in [0, 1), weights around 0) from a seed."""
    generator = torch.Generator().manual_seed(seed)
    return (
        lambda *shape: torch.rand(*shape, generator=generator),
        lambda *shape: torch.randn(*shape, generator=generator) * 0.15,
    )


def wide(tensor: Tensor) -> np.ndarray:
    """A tensor in float64, as the naive operations take it."""
    return tensor.cpu().double().numpy()


def near(found: Tensor, expected: np.ndarray, allowed: float) -> None:
    """Fail unless all values are within `allowed`; NaN never is."""
    error = np.abs(wide(found) - expected)
    assert error.max() <= allowed, f"largest error {error.max():.3g}, allowed {allowed:.3g}"


def layer_case(
    device: str,
    dtype: torch.dtype,
    activation: str,
    *,
    drive: bool = False,
    below: bool = True,
    above: bool = True,
    nudged: bool = False,
    step_size: float | None = None,
    inplace: bool = False,
) -> None:
    """settle_layer in one configuration, its change included where states are known before."""
    state, weight = drawn(1)
    width = CLASSES if activation == "pull" else N
    guards = Guards(device)
    base = guards.of(weight(P, B, width) if drive else weight(P, width))
    down = guards.of(state(P, B, K), dtype), guards.of(weight(P, K, width), dtype)
    up = guards.of(state(P, B, ABOVE), dtype), guards.of(weight(P, width, ABOVE), dtype)
    y, beta = guards.of(state(P, B, width)), guards.of(BETAS, dense=True)
    before = guards.of(state(P, B, width), dtype)
    kept = wide(before)
    moves = step_size is not None
    measured = moves or inplace
    out = before if inplace else guards.empty((P, B, width), dtype)
    change = guards.empty((P,), torch.float32, dense=True)
    settle_layer(
        out,
        base=base,
        activation=activation,  # type: ignore[arg-type]
        below=Feed(*down) if below else None,
        above=Feed(*up) if above else None,
        clip=0.8,
        target=y if nudged else None,
        beta=beta if nudged else None,
        previous=before if measured else None,
        step_size=step_size,
        change=change if measured else None,
    )
    guards.check()
    for p in range(P):
        received = np.zeros((B, width))
        received += wide(down[0][p]) @ wide(down[1][p]) if below else 0.0
        received += wide(up[0][p]) @ wide(up[1][p]).T if above else 0.0
        expected = naive.layer(
            wide(base[p]),
            received,
            activation,
            clip=0.8,
            nudge=(wide(y[p]), float(beta[p])) if nudged else None,
            move=(kept[p], step_size) if step_size is not None else None,
        )
        near(out[p], expected, CLOSE[dtype])
        if measured:
            near(change[p], np.abs(expected - kept[p]).max(), CLOSE[dtype])


def layer_shows_nan(device: str) -> None:
    """A state that is not a number stays one, and its change is infinite."""
    state, weight = drawn(2)
    states = state(P, B, K)
    states[1, 5, 7] = float("nan")
    out = torch.zeros(P, B, N, device=device)
    change = torch.zeros(P, device=device)
    settle_layer(
        out, base=weight(P, N).to(device), activation="clip", below=Feed(states.to(device), weight(P, K, N).to(device)),
        previous=out, change=change,
    )  # fmt: skip
    assert torch.isnan(out[1, 5]).all()
    assert torch.isnan(out).sum() == N
    assert torch.isinf(change).tolist() == [False, True, False]


def one_hidden_case(
    device: str, dtype: torch.dtype, *, readout: bool, order: str, steps: int, narrow: bool
) -> None:
    """settle_persistent_1h against the naive sweeps; `narrow` has the drive in the dtype of the states."""
    state, weight = drawn(3)
    guards = Guards(device)
    drive = guards.of(weight(P, B, N) * 4, dtype if narrow else torch.float32)
    w2, bias = guards.of(weight(P, N, CLASSES), dtype), guards.of(weight(P, CLASSES))
    y, beta = guards.of(state(P, B, CLASSES)), guards.of(BETAS, dense=True)
    start = guards.of(state(P, B, N), dtype), guards.of(state(P, B, CLASSES), dtype)
    hidden = guards.empty((P, B, N), dtype)
    output = None if readout else guards.empty((P, B, CLASSES), dtype)
    change = settle_persistent_1h(
        hidden, output, start_hidden=start[0], start_output=None if readout else start[1],
        drive=drive, weight=w2, bias=bias, target=y, beta=beta,
        steps=steps, order=order, clip=0.9,  # type: ignore[arg-type]
    )  # fmt: skip
    guards.check()
    for p in range(P):
        states, moved = naive.settle(
            wide(drive[p]), [wide(w2[p])], [wide(bias[p])], [wide(start[0][p]), wide(start[1][p])],
            (wide(y[p]), float(beta[p])), steps=steps, order=order, readout=readout, clip=0.9,
        )  # fmt: skip
        near(hidden[p], states[0], CLOSE[dtype])
        near(change[p], np.float64(moved), 2 * CLOSE[dtype])
        if output is not None:
            near(output[p], states[1], CLOSE[dtype])


RAGGED = (
    Network((9, 45, CLASSES), "mse", 3, "backward"),
    Network((9, 20, 33, CLASSES), "ce", 2, "forward"),
    Network((9, 16, 70, 17, CLASSES), "mse", 2, "alternating"),
    Network((9, 70, 40, CLASSES), "ce", 3, "backward"),
    Network((9, 30, CLASSES), "ce", 1, "forward"),
    Network((9, 30, 18, CLASSES), "mse", 2, "forward"),
)


def ragged_case(device: str, dtype: torch.dtype, networks: tuple[Network, ...], batch: int) -> None:
    """Every network of a ragged launch against its own naive sweeps; the padding stays zero."""
    state, weight = drawn(4)
    layout = RaggedLayout(networks, batch)
    guards = Guards(device)
    flat = {
        "states": torch.zeros(layout.state_size), "weights": torch.zeros(layout.weight_size),
        "biases": torch.zeros(layout.bias_size), "drive": torch.zeros(layout.drive_size),
    }  # fmt: skip
    starts, padding = [], torch.ones(layout.state_size, dtype=torch.bool)
    for p, network in enumerate(networks):
        layers = range(1, len(network.sizes))
        layout.driven(flat["drive"], p).copy_(weight(batch, network.sizes[1]) * 3)
        for number in layers:
            layout.state(flat["states"], p, number).copy_(state(batch, network.sizes[number]))
            layout.state(padding, p, number).zero_()
        for number in layers[1:]:
            layout.weight(flat["weights"], p, number).copy_(weight(*network.sizes[number - 1 : number + 1]))
            layout.bias(flat["biases"], p, number).copy_(weight(network.sizes[number]))
    states, weights = (guards.of(flat[name], dtype, dense=True) for name in ("states", "weights"))
    biases, drive = (guards.of(flat[name], dense=True) for name in ("biases", "drive"))
    for p, network in enumerate(networks):
        starts.append([wide(layout.state(states, p, number)) for number in range(1, len(network.sizes))])
    count = len(networks)
    y = guards.of(state(count, batch, CLASSES))
    beta = guards.of(torch.linspace(-0.4, 0.4, count), dense=True)
    change = settle_persistent_ragged(
        layout, states, table=layout.table().to(device), order=layout.order().to(device), drive=drive,
        weights=weights, biases=biases, target=y, beta=beta,
    )  # fmt: skip
    guards.check()
    assert not states.cpu()[padding].any(), "padded states must stay 0"
    for p, network in enumerate(networks):
        numbers = range(2, len(network.sizes))
        expected, moved = naive.settle(
            wide(layout.driven(drive, p)),
            [wide(layout.weight(weights, p, number)) for number in numbers],
            [wide(layout.bias(biases, p, number)) for number in numbers],
            starts[p],
            (wide(y[p]), float(beta[p])),
            steps=network.steps,
            order=network.order,
            readout=network.output == "ce",
        )
        for number, values in enumerate(expected, start=1):
            near(layout.state(states, p, number), values, CLOSE[dtype])
        near(change[p], np.float64(moved), 2 * CLOSE[dtype])


def product_of(guards: Guards, dtype: torch.dtype, *, clamped: bool) -> Product:
    """Two phases whose states lie close together, as those of a small nudge do."""
    state, weight = drawn(5)
    pre, post = state(P, B, K), state(P, B, N)
    return Product(
        guards.of(pre, dtype),
        guards.of(post, dtype),
        None if clamped else guards.of((pre + 0.05 * weight(P, B, K)).clamp(0, 1), dtype),
        guards.of((post + 0.05 * weight(P, B, N)).clamp(0, 1), dtype),
    )


UNITS = torch.tensor([1 / 37, 1 / 30, 2 / 37])
RATES = torch.tensor([0.5, 0.01, 0.2])
DECAYS = torch.tensor([0.1, 0.0, 0.3])
MOMENTA = torch.tensor([0.9, 0.5, 0.0])
TIMES = 3


def settings_of(name: str, p: int) -> OptimizerSettings:
    """The settings of network `p` as the arbiter takes them."""
    decay = float(DECAYS[p]) if name == "adamw" else 0.0
    return OptimizerSettings(
        name, rate=float(RATES[p]), momentum=float(MOMENTA[p]), weight_decay=decay  # type: ignore[arg-type]
    )  # fmt: skip


def optimizer_of(
    name: str, slots: list[Tensor], rows: Mapping[str, Tensor], time: int
) -> SgdState | AdamState:
    """What the kernels take for an optimizer of this name."""
    if name == "sgd":
        return SgdState(slots[0], rows["momentum"])
    return AdamState(slots[0], slots[1], time, rows["decay"] if name == "adamw" else None)


def hebbian_case(device: str, dtype: torch.dtype, name: str, *, clamped: bool = False) -> None:
    """Three steps of hebbian_update and hebbian_bias, each against the arbiter's optimizer."""
    _, weight = drawn(6)
    guards = Guards(device)
    product = product_of(guards, dtype, clamped=clamped)
    master, bias = guards.of(weight(P, K, N), dense=True), guards.of(weight(P, N), dense=True)
    shadow = guards.empty((P, K, N), dtype, dense=True)
    slots = [guards.of(torch.zeros(P, K, N), dense=True) for _ in range(2)]
    bias_slots = [guards.of(torch.zeros(P, N), dense=True) for _ in range(2)]
    unit, rate = guards.of(UNITS, dense=True), guards.of(RATES, dense=True)
    rows = {"momentum": guards.of(MOMENTA, dense=True), "decay": guards.of(DECAYS, dense=True)}
    values = [[wide(master[p]) for p in range(P)], [wide(bias[p]) for p in range(P)]]
    held = [[empty_slots(value, settings_of(name, 0)) for value in some] for some in values]
    for time in range(1, TIMES + 1):
        hebbian_update(
            master,
            product,
            unit=unit,
            optimizer=optimizer_of(name, slots, rows, time),
            rate=rate,
            shadow=shadow,
        )
        hebbian_bias(
            bias, product.post, product.post_other,
            unit=unit, optimizer=optimizer_of(name, bias_slots, rows, time), rate=rate,
        )  # fmt: skip
        for p in range(P):
            other = product.pre_other
            gradient = naive.contrast(
                wide(product.pre[p]), wide(product.post[p]), None if other is None else wide(other[p]),
                wide(product.post_other[p]), float(UNITS[p]),
            )  # fmt: skip
            shift = float(UNITS[p]) * (wide(product.post_other[p]) - wide(product.post[p])).sum(axis=0)
            for which, step in enumerate((gradient, shift)):
                values[which][p], held[which][p] = optimizer_step(
                    values[which][p], step, held[which][p], settings_of(name, p), scale=1.0, time=time
                )
    guards.check()
    # Adam divides by the size of a gradient: where that is next to nothing, an error of the gradient is one of the
    # step, so fp16 is held to a tenth of the rate on average and to the sign of the step by the fp32 case.
    for p in range(P):
        moved = float(RATES[p]) * TIMES
        fine = CLOSE[dtype] * max(1.0, moved)
        errors = np.abs(wide(master[p]) - values[0][p])
        if name == "sgd" or dtype == torch.float32:
            assert errors.max() <= fine + (1e-3 * moved if name != "sgd" else 0.0), errors.max()
        assert errors.mean() <= fine, errors.mean()
        near(bias[p], values[1][p], (1e-3 * moved if name != "sgd" else 0.0) + 1e-5)
        assert torch.equal(shadow[p], master[p].to(dtype)), "the shadow is the rounded master"


def gradient_case(device: str, dtype: torch.dtype, *, clamped: bool) -> None:
    """The bare gradient of a small nudge: near-equal states are subtracted before anything is rounded."""
    guards = Guards(device)
    product = product_of(guards, dtype, clamped=clamped)
    out = guards.empty((P, K, N), torch.float32, dense=True)
    shift = guards.empty((P, N), torch.float32, dense=True)
    unit = guards.of(UNITS, dense=True)
    hebbian_update(out, product, unit=unit, optimizer=None)
    hebbian_bias(shift, product.post, product.post_other, unit=unit, optimizer=None)
    guards.check()
    for p in range(P):
        other = product.pre_other
        expected = naive.contrast(
            wide(product.pre[p]), wide(product.post[p]), None if other is None else wide(other[p]),
            wide(product.post_other[p]), float(UNITS[p]),
        )  # fmt: skip
        # A product of rounded states, unlike their difference, would err by more than the differences themselves.
        near(out[p], expected, (1e-3 if dtype == torch.float16 else 1e-5) * np.abs(expected).max())
        raw = (wide(product.post_other[p]) - wide(product.post[p])).sum(axis=0)
        near(shift[p], float(UNITS[p]) * raw, 1e-5)


def power_case(device: str, rows: int, columns: int) -> None:
    """power_iter against the naive iteration, and towards the truth; a zero matrix has norm 0."""
    _, weight = drawn(7)
    guards = Guards(device)
    matrices, vectors = weight(P, rows, columns), weight(P, columns)
    matrices[1] = 0.0
    matrix, vector = guards.of(matrices), guards.of(vectors)
    values = power_iter(matrix, vector, iterations=4)
    guards.check()
    for p in range(P):
        expected, direction = naive.power(wide(matrices[p]), wide(vectors[p]), 4)
        near(values[p], np.float64(expected), 1e-5)
        near(vector[p], direction, 1e-4)
    for _ in range(5):
        values = power_iter(matrix, vector, iterations=8)
    truth = np.linalg.norm(wide(matrices), ord=2, axis=(1, 2))
    assert (wide(values) <= truth * (1 + 1e-6)).all()
    assert (wide(values) >= truth * 0.97).all()


def orthogonal_case(device: str, precision: str, rows: int, columns: int) -> None:
    """newton_schulz_small against the arbiter; a zero matrix stays zero, a tiny one does not vanish."""
    _, weight = drawn(8)
    guards = Guards(device)
    matrices = weight(P, rows, columns)
    matrices[1] = 0.0
    matrices[2] *= 1e-25
    matrix, out = guards.of(matrices), guards.empty((P, rows, columns), torch.float32)
    newton_schulz_small(out, matrix, steps=5, precision=precision)  # type: ignore[arg-type]
    guards.check()
    for p in range(P):
        # Five steps of the quintic enlarge small directions 3.4445**5 = 485 times, and their rounding with them.
        near(out[p], newton_schulz(wide(matrices[p]), 5), 1e-4 if precision == "fp32" else 4e-2)
    newton_schulz_small(matrix, matrix, steps=5, precision=precision)  # type: ignore[arg-type]
    assert torch.equal(matrix, out), "in place gives the same"


def step_case(device: str, sizes: tuple[int, ...]) -> None:
    """A whole training step by the kernels, and its rival in the benchmark, against float64."""
    errors(lambda: population(sizes, P, B, (3, 2), device))


def layer_cases() -> Iterator[tuple[str, Case]]:
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")
        for what, options in {
            "clip": {"activation": "clip"},
            "clip-drive-above": {"activation": "clip", "drive": True, "below": False},
            "clip-synchronous": {"activation": "clip", "step_size": 0.3},
            "clip-in-place": {"activation": "clip", "inplace": True},
            "output-free": {"activation": "output", "above": False},
            "output-nudged": {"activation": "output", "above": False, "nudged": True},
            "output-synchronous": {"activation": "output", "above": False, "nudged": True, "step_size": 0.3},
            "pull": {"activation": "pull", "above": False, "nudged": True},
            "linear-base-alone": {"activation": "linear", "below": False, "above": False, "drive": True},
        }.items():
            yield f"{what}-{name}", partial(layer_case, dtype=dtype, **options)
    yield "nan", layer_shows_nan
    yield "whole-step", partial(step_case, sizes=(24, 18, 33, CLASSES))
    yield "refusals", refusals.layer


def one_hidden_cases() -> Iterator[tuple[str, Case]]:
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")
        for readout, order, steps in (
            (False, "forward", 3),
            (False, "backward", 1),
            (True, "backward", 3),
            (True, "forward", 2),
        ):
            yield (
                f"{'ce' if readout else 'mse'}-{order}-{steps}-{name}",
                partial(
                    one_hidden_case, dtype=dtype, readout=readout, order=order, steps=steps, narrow=steps == 1
                ),
            )
    yield "whole-step", partial(step_case, sizes=(24, 18, CLASSES))
    yield "refusals", refusals.one_hidden


def ragged_cases() -> Iterator[tuple[str, Case]]:
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")
        yield f"six-{name}", partial(ragged_case, dtype=dtype, networks=RAGGED, batch=B)
        yield f"two-tiles-{name}", partial(ragged_case, dtype=dtype, networks=RAGGED[1:3], batch=70)
    yield "refusals", refusals.ragged


def hebbian_cases() -> Iterator[tuple[str, Case]]:
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")
        for clamped in (False, True):
            which = "clamped" if clamped else "both"
            yield f"gradient-{which}-{name}", partial(gradient_case, dtype=dtype, clamped=clamped)
        for optimizer in ("sgd", "adam", "adamw"):
            yield f"{optimizer}-{name}", partial(hebbian_case, dtype=dtype, name=optimizer)
        yield f"adam-clamped-{name}", partial(hebbian_case, dtype=dtype, name="adam", clamped=True)
    yield "refusals", refusals.hebbian


def spectrum_cases() -> Iterator[tuple[str, Case]]:
    yield "power", partial(power_case, rows=45, columns=70)
    yield "power-tall", partial(power_case, rows=70, columns=45)
    for precision in ("fp32", "fp16"):
        yield f"newton-schulz-{precision}", partial(orthogonal_case, precision=precision, rows=37, columns=70)
        yield (
            f"newton-schulz-tall-{precision}",
            partial(orthogonal_case, precision=precision, rows=70, columns=37),
        )
    yield "refusals", refusals.spectrum


CASES: Mapping[str, Mapping[str, Case]] = {
    "layer": dict(layer_cases()),
    "one_hidden": dict(one_hidden_cases()),
    "ragged": dict(ragged_cases()),
    "hebbian": dict(hebbian_cases()),
    "spectrum": dict(spectrum_cases()),
    "training": dict(training_cases()),
}


def main() -> None:
    """Run the cases of one kernel on the CPU; the first that fails ends it, its name on the line before."""
    for name, case in CASES[sys.argv[1]].items():
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()
        case("cpu")
    sys.stdout.write(f"{len(CASES[sys.argv[1]])} passed\n")


if __name__ == "__main__":
    main()

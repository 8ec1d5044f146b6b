"""Gate 4, on a device: parity, the same bits from run to run, one compilation, memory, and arrays past 2**31."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from tests.kernels.gpu.gates import needs_triton

pytestmark = [
    pytest.mark.gpu,
    needs_triton,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="no CUDA device here: run this on a machine with a GPU"
    ),
]

P, B, H, C = 16, 256, 256, 10


def names() -> list[tuple[str, str]]:
    """Every case by kernel and name, on a device; elsewhere one that stands for them all, so that a skip is counted."""
    if not (torch.cuda.is_available() and find_spec("triton")):
        return [("every kernel", "every case")]
    from tests.kernels.gpu.cases import CASES

    return [(kernel, name) for kernel, cases in CASES.items() for name in cases]


@pytest.mark.parametrize(("kernel", "name"), names())
def test_the_device_agrees_with_the_naive_operations(kernel: str, name: str):
    from tests.kernels.gpu.cases import CASES

    CASES[kernel][name]("cuda")


def made(*shape: int, seed: int, dtype: torch.dtype = torch.float32, size: float = 1.0) -> Tensor:
    generator = torch.Generator("cuda").manual_seed(seed)
    return (torch.rand(shape, generator=generator, device="cuda") * size).to(dtype)


def one_hidden(steps: int) -> Callable[[], list[Tensor]]:
    """A phase of 16 networks 256-10 whose results are returned."""
    from kernels.backends.triton import settle_persistent_1h

    half = torch.float16
    drive, weight = made(P, B, H, seed=1) - 0.5, made(P, H, C, seed=2, dtype=half, size=0.1) - 0.05
    bias, y, beta = made(P, C, seed=3), made(P, B, C, seed=4), made(P, seed=5, size=0.4)
    start = made(P, B, H, seed=6, dtype=half), made(P, B, C, seed=7, dtype=half)
    hidden, output = torch.empty_like(start[0]), torch.empty_like(start[1])

    def act() -> list[Tensor]:
        change = settle_persistent_1h(
            hidden, output, start_hidden=start[0], start_output=start[1], drive=drive, weight=weight, bias=bias,
            target=y, beta=beta, steps=steps, order="backward",
        )  # fmt: skip
        return [hidden.clone(), output.clone(), change]

    return act


def layer(steps: int) -> Callable[[], list[Tensor]]:
    """So many steps of a layer 512-512-512 of 4 networks."""
    from kernels.backends.triton import Feed, settle_layer

    half = torch.float16
    below, above = (
        Feed(
            made(4, B, 512, seed=seed, dtype=half),
            made(4, 512, 512, seed=seed + 1, dtype=half, size=0.02) - 0.01,
        )
        for seed in (1, 3)
    )
    base, out = made(4, 512, seed=5), torch.empty(4, B, 512, device="cuda", dtype=half)
    change = torch.empty(4, device="cuda")

    def act() -> list[Tensor]:
        out.zero_()
        for _ in range(steps):
            settle_layer(
                out,
                base=base,
                activation="clip",
                below=below,
                above=above,
                previous=out,
                step_size=0.5,
                change=change,
            )
        return [out.clone(), change.clone()]

    return act


def ragged(steps: int) -> Callable[[], list[Tensor]]:
    """A phase of 32 networks of different shapes, which share their programs' caches."""
    from kernels.backends.triton import Network, RaggedLayout, settle_persistent_ragged

    half = torch.float16
    shapes = [(784, *[16 + 24 * (i % 7)] * (1 + i % 3), C) for i in range(32)]
    layout = RaggedLayout(tuple(Network(shape, "ce" if i % 2 else "mse", steps, "alternating")
                                for i, shape in enumerate(shapes)), B)  # fmt: skip
    weights = torch.zeros(layout.weight_size, dtype=half)
    biases, drive = torch.zeros(layout.bias_size), torch.zeros(layout.drive_size)
    generator = torch.Generator().manual_seed(8)
    for p, shape in enumerate(shapes):
        layout.driven(drive, p).copy_(torch.rand(B, shape[1], generator=generator) - 0.3)
        for number in range(2, len(shape)):
            view = layout.weight(weights, p, number)
            view.copy_((torch.rand(view.shape, generator=generator) - 0.5) * 0.2)
    weights, biases, drive = weights.cuda(), biases.cuda(), drive.cuda()
    table, order = layout.table().cuda(), layout.order().cuda()
    states = torch.zeros(layout.state_size, dtype=half, device="cuda")
    y, beta = made(32, B, C, seed=4), made(32, seed=5, size=0.4)

    def act() -> list[Tensor]:
        states.zero_()
        change = settle_persistent_ragged(
            layout,
            states,
            table=table,
            order=order,
            drive=drive,
            weights=weights,
            biases=biases,
            target=y,
            beta=beta,
        )
        return [states.clone(), change]

    return act


def hebbian(steps: int) -> Callable[[], list[Tensor]]:
    """So many Adam steps of 16 weights 256 x 512."""
    from kernels.backends.triton import AdamState, Product, hebbian_update

    half = torch.float16
    states = [made(P, B, width, seed=seed, dtype=half) for seed, width in enumerate((H, 512, H, 512))]
    start, unit, rate = made(P, H, 512, seed=9), made(P, seed=10), made(P, seed=11, size=0.01)
    shadow = torch.empty(P, H, 512, device="cuda", dtype=half)

    def act() -> list[Tensor]:
        weight, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
        for time in range(1, steps + 1):
            hebbian_update(
                weight,
                Product(*states),
                unit=unit,
                optimizer=AdamState(first, second, time),
                rate=rate,
                shadow=shadow,
            )
        return [weight, first, second, shadow.clone()]

    return act


@pytest.mark.parametrize("make", [layer, one_hidden, ragged, hebbian])
def test_runs_are_the_same_bit_for_bit(make: Callable[[int], Callable[[], list[Tensor]]]):
    act = make(20)
    first = act()
    for _ in range(5):
        # A result that moves from run to run is a race.
        assert all(torch.equal(a, b) for a, b in zip(first, act(), strict=True))


@pytest.mark.parametrize("make", [layer, one_hidden, ragged])
def test_memory_does_not_depend_on_the_number_of_steps(make: Callable[[int], Callable[[], list[Tensor]]]):
    peaks = []
    for steps in (10, 1000):
        act = make(steps)
        act()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        act()
        torch.cuda.synchronize()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[0] == peaks[1]


def test_arrays_may_pass_31_bits():
    from kernels.backends.triton import Feed, settle_layer

    networks, batch, width, half = 2**19 + 8, 64, 64, torch.float16
    if torch.cuda.get_device_properties(0).total_memory < 16 * 2**30:
        pytest.skip("needs 16 GiB of device memory")
    out = torch.full((networks, batch, width), float("nan"), dtype=half, device="cuda")
    assert out.numel() > 2**31
    states, weight = (
        made(networks, batch, 16, seed=1, dtype=half),
        made(networks, 16, width, seed=2, dtype=half),
    )
    base = made(networks, width, seed=3)
    settle_layer(out, base=base, activation="linear", below=Feed(states, weight))
    for p in (0, networks // 2, networks - 1):
        expected = states[p].double() @ weight[p].double() + base[p].double()
        # Sums of 16 products below 17, rounded to 11 bits.
        assert (out[p].double() - expected).abs().max() <= 17 * 2**-11
    assert not torch.isnan(out).any()


def test_a_thousand_random_networks_are_one_compilation():
    from kernels.backends.triton import Network, RaggedLayout, settle_persistent_ragged

    kernel = import_module("kernels.backends.triton.ragged")._kernel
    generator = torch.Generator().manual_seed(1)
    compiled = []
    for count in (10, 1000):
        networks = []
        for _ in range(count):
            depth = int(torch.randint(1, 6, (), generator=generator))
            hidden = torch.randint(1, 300, (depth,), generator=generator).tolist()
            networks.append(Network((784, *hidden, C), ("ce", "mse")[depth % 2], 2, "backward"))
        layout = RaggedLayout(tuple(networks), 64)
        change = settle_persistent_ragged(
            layout,
            torch.zeros(layout.state_size, dtype=torch.float16, device="cuda"),
            table=layout.table().cuda(),
            order=layout.order().cuda(),
            drive=torch.zeros(layout.drive_size, device="cuda"),
            weights=torch.zeros(layout.weight_size, dtype=torch.float16, device="cuda"),
            biases=torch.zeros(layout.bias_size, device="cuda"),
            target=made(count, 64, C, seed=4),
            beta=made(count, seed=5, size=0.4),
        )
        assert torch.isfinite(change).all()
        compiled.append(len(kernel.device_caches[torch.cuda.current_device()][0]))
    assert compiled[0] == compiled[1]

"""Populations and learners of the Triton kernels against the engine of the CPU, on the interpreter or on a device.

A case raises where they differ. Under the interpreter this runs in a process of its own:
python -m tests.kernels.gpu.population_cases CASE
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from kernels import DivergedError, KernelError, OptimizerSettings, Relaxation, Rule, Topology, dispatch
from kernels.backends.torch_backend import TorchLearner
from kernels.backends.triton.learner import TritonLearner
from kernels.backends.triton.population import TritonPopulation, lacks_population
from kernels.backends.triton.ragged_group import RaggedGroup
from kernels.dispatch import Crossover
from kernels.members import Member, Span, SpanReport
from tests.kernels.networks import batch, parameters, rule, uniform

Case = Callable[[str], None]
SAMPLES = 23
# As the engine's own fp32 against float64: what differs is the order of sums, which grows from step to step.
CLOSE = 1e-4
# fp16: 2**-11 of a state for each rounding, and differences of near-equal states over 2 beta. Adam takes the sign of
# what is left of a small gradient, so the bound is a share of the steps taken.
CLOSE_FP16 = 0.05


@contextmanager
def always(path: str) -> Iterator[None]:
    """Serve every network that the kernels serve by `path`, "ragged" or "persistent"."""
    tiny = -1 if path == "ragged" else 2**62
    before = dispatch.CROSSOVERS
    dispatch.CROSSOVERS = {name: Crossover(tiny, 1 << 30) for name in before}  # type: ignore[assignment]
    try:
        yield
    finally:
        dispatch.CROSSOVERS = before


def settings(number: int) -> OptimizerSettings:
    """Another optimizer and rate for each number."""
    return (
        OptimizerSettings("sgd", rate=0.1, momentum=0.8),
        OptimizerSettings("adam", rate=0.01),
        OptimizerSettings("adamw", rate=0.02, weight_decay=0.3),
        OptimizerSettings("sgd", rate=0.05, momentum=0.0),
    )[number % 4]


def member(
    sizes: Sequence[int],
    output: str,
    chosen: Rule,
    number: int,
    *,
    rows: int = 6,
    clip: float = 1.0,
) -> Member:
    """A network with parameters of its own."""
    topology = Topology(tuple(sizes), output=output, clip=clip)  # type: ignore[arg-type]
    seed = bytes([number] * 32)
    return Member(topology, parameters(topology, seed=seed), chosen, settings(number), rows)


def members() -> list[Member]:
    """Depths, widths, outputs, estimates, orders, sweeps, clips, batches and optimizers side by side."""
    return [
        member((12, 9, 5), "ce", rule("centred", free=1, nudged=2), 0),
        member((12, 20, 7, 5), "mse", rule("negative", 0.2, free=2, nudged=2), 1),
        member(
            (12, 40, 5),
            "mse",
            rule("random-sign", 0.4, free=2, nudged=1, orders=("backward", "backward")),
            2,
            rows=17,
        ),
        member(
            (12, 8, 19, 6, 5), "ce", rule("centred", free=2, nudged=2, orders=("alternating", "forward")), 3
        ),
        member((12, 18, 5), "ce", rule("one-sided", 0.5, free=0, nudged=1), 4, clip=0.7),
        member(
            (12, 35, 10, 5),
            "ce",
            rule("centred", 1.0, free=1, nudged=2, orders=("forward", "alternating")),
            5,
            rows=17,
        ),
    ]


def data() -> tuple[np.ndarray, np.ndarray]:
    """Samples that all share; the first, which no span reads, is unlike the others."""
    x, y = batch(Topology((12, 9, 5)), SAMPLES, "held")
    x[0] = -1.0
    return x, y


def spans(chosen: Sequence[Member], steps: Sequence[int], label: str = "span") -> list[Span]:
    """Spans of different lengths, whose last batch is short."""
    made = []
    for number, (each, count) in enumerate(zip(chosen, steps, strict=True)):
        drawn = uniform(f"{label}/{number}", count, each.batch) * SAMPLES
        rows = np.maximum(drawn.astype(np.int32), 1)
        rows[-1, max(1, each.batch - 3) :] = -1
        signs = np.where(uniform(f"{label}/signs/{number}", count) < 0.5, -1, 1).astype(np.int8)
        made.append(Span(rows, 1.0 - np.arange(count) / (2 * count), signs))
    return made


def trained(each: Member, parts: Sequence[Span]) -> tuple[TorchLearner, list[SpanReport]]:
    """What the engine of the CPU makes of a member."""
    x, y = data()
    learner = TorchLearner(each.topology, each.parameters, each.rule, each.optimizer, batch=each.batch)
    reports = []
    for span in parts:
        free = nudged = 0
        residual = 0.0
        for rows, scale, sign in zip(span.rows, span.scales, span.signs, strict=True):
            present = rows[rows >= 0]
            report = learner.step(x[present], y[present], scale=float(scale), sign=int(sign))
            free, nudged, residual = free + report.free_steps, nudged + report.nudged_steps, report.residual
        reports.append(SpanReport(free, nudged, residual, 0))
    return learner, reports


def population(chosen: Sequence[Member], device: str, arithmetic: str = "fp32") -> TritonPopulation:
    """A population that holds the data."""
    made = TritonPopulation.of(chosen, arithmetic=arithmetic, device=device)  # type: ignore[arg-type]
    made.hold(*data())
    return made


def same_state(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return left.keys() == right.keys() and all(left[name].tobytes() == right[name].tobytes() for name in left)


def follows(device: str, path: str, numbers: Sequence[int] = range(6)) -> None:
    """Every member against an engine of its own: parameters, reports and predictions, over two spans."""
    chosen = [members()[number] for number in numbers]
    lengths = [2 - number % 2 for number in numbers]
    parts = [spans(chosen, lengths, "first"), spans(chosen, (1,) * len(chosen), "second")]
    with always(path):
        made = population(chosen, device)
    assert (made.backend, made.size) == ("triton", len(chosen))
    reports = [made.run(part) for part in parts]
    x, _ = data()
    scores = made.predict(x)
    for index, each in enumerate(chosen):
        learner, expected = trained(each, [part[index] for part in parts])
        right, found = learner.parameters(), made.parameters(index)
        for name, values in right.items():
            assert found[name].dtype == np.float32
            assert found[name].shape == values.shape
            moved = np.abs(values - each.parameters[name]).max()
            assert np.abs(found[name] - values).max() <= CLOSE * max(moved, 1e-3), (index, name)
        assert np.abs(scores[index] - learner.predict(x)).max() <= CLOSE, index
        for told, wanted in zip([report[index] for report in reports], expected, strict=True):
            assert (told.free_steps, told.nudged_steps, told.failed_at) == (
                wanted.free_steps,
                wanted.nudged_steps,
                0,
            )
            assert abs(told.residual - wanted.residual) <= CLOSE, index


def is_itself(device: str, path: str) -> None:
    """A member's bits are those that it has alone, and those of a population that went on from its states."""
    chosen = [members()[number] for number in (0, 2, 3)]
    lengths = (2, 1, 1)
    parts = [spans(chosen, lengths, "first"), spans(chosen, lengths, "second")]
    with always(path):
        made, later = population(chosen, device), population(chosen[::-1], device)
        made.run(parts[0])
        half = [made.state(index) for index in range(made.size)]
        made.run(parts[1])
        for index in range(made.size):
            later.load(made.size - 1 - index, half[index])
        later.run(parts[1][::-1])
        for index in (0, 2):
            alone = population([chosen[index]], device)
            alone.run([parts[0][index]])
            alone.run([parts[1][index]])
            assert same_state(alone.state(0), made.state(index)), index
    for index in range(made.size):
        assert same_state(made.state(index), later.state(made.size - 1 - index)), index
        assert int(made.state(index)["step"]) == 2 * lengths[index]


def goes_on_elsewhere(device: str) -> None:
    """What one route saved another continues, as near as their roundings are."""
    chosen = [members()[number] for number in (0, 2, 3)]
    parts = [spans(chosen, (1, 1, 1), label) for label in ("first", "second")]
    made = {}
    for path in ("ragged", "persistent"):
        with always(path):
            made[path] = population(chosen, device)
    made["ragged"].run(parts[0])
    for index in range(len(chosen)):
        made["persistent"].load(index, made["ragged"].state(index))
        assert same_state(made["persistent"].state(index), made["ragged"].state(index))
    for each in made.values():
        each.run(parts[1])
    for index in range(len(chosen)):
        left, right = (made[path].state(index) for path in ("ragged", "persistent"))
        assert left.keys() == right.keys()
        for name, values in left.items():
            assert np.abs(values - right[name]).max() <= CLOSE * 0.1, name
        assert not same_state(left, made["ragged"].state((index + 1) % len(chosen)))


def harms_nobody(device: str, path: str) -> None:
    """A network that diverges names its step; its neighbour of the same launch has the bits that it has alone."""
    well = member((12, 9, 5), "ce", rule(), 0)
    ill = replace(well, optimizer=OptimizerSettings("sgd", rate=3e38, momentum=0.9))
    part = spans([well, ill], (3, 3))
    with always(path):
        both, alone = population([well, ill], device), population([well], device)
    reports = both.run(part)
    alone.run(part[:1])
    assert same_state(both.state(0), alone.state(0))
    assert reports[0].failed_at == 0
    # Its first step makes the parameters infinite, or the next, once momentum has summed two of them.
    learner = TorchLearner(ill.topology, ill.parameters, ill.rule, ill.optimizer, batch=ill.batch)
    x, y = data()
    expected = 0
    for number, (rows, scale) in enumerate(zip(part[1].rows, part[1].scales, strict=True), start=1):
        present = rows[rows >= 0]
        if not learner.step(x[present], y[present], scale=float(scale)).finite:
            expected = number
            break
    assert expected > 1
    assert reports[1].failed_at == expected


def fp16(device: str, path: str) -> None:
    """States in fp16 take the network where fp32 takes it, about; its parameters are wider than fp16."""
    chosen = [each for each in members() if each.optimizer.name == "sgd"]
    part = spans(chosen, (2,) * len(chosen))
    with always(path):
        made = population(chosen, device, "fp16")
    made.run(part)
    for index, each in enumerate(chosen):
        learner, _ = trained(each, [part[index]])
        right, found = learner.parameters(), made.parameters(index)
        for name, values in right.items():
            moved = np.abs(values - each.parameters[name]).max()
            assert np.abs(found[name] - values).max() <= CLOSE_FP16 * moved, (index, name)
        weights = found["w0-1"]
        assert (weights != weights.astype(np.float16)).any()
    x, _ = data()
    assert all(scores.dtype == np.float32 and np.isfinite(scores).all() for scores in made.predict(x))


def prediction(device: str) -> None:
    """Any number of samples, those of a chunk's end too; nothing that is learned moves."""
    chosen = members()[:2]
    made = population(chosen, device)
    before = [made.state(index) for index in range(2)]
    x, _ = batch(chosen[0].topology, 259, "many")
    scores = made.predict(x)
    for index, each in enumerate(chosen):
        learner = TorchLearner(each.topology, each.parameters, each.rule, each.optimizer, batch=each.batch)
        assert scores[index].shape == (259, 5)
        assert np.abs(scores[index] - learner.predict(x)).max() <= CLOSE
        assert same_state(before[index], made.state(index))


def held_again(device: str) -> None:
    """Other data of the same shape, and of another, are what the next spans read."""
    chosen = members()[:1]
    part = spans(chosen, (1,))
    x, y = data()
    with always("ragged"):
        made, fresh, wide = (TritonPopulation.of(chosen, device=device) for _ in range(3))
    made.hold(x, y)
    made.run(part)
    state = made.state(0)
    for other in (1.0 - x, np.concatenate([1.0 - x, x])):
        made.load(0, state)
        made.hold(other.astype(np.float32), np.resize(y[::-1], len(other)))
        made.run(part)
        target = fresh if len(other) == SAMPLES else wide
        target.hold(other.astype(np.float32), np.resize(y[::-1], len(other)))
        target.load(0, state)
        target.run(part)
        assert same_state(made.state(0), target.state(0))
    fresh.load(0, state)
    fresh.hold(x, y)
    fresh.run(part)
    assert not same_state(fresh.state(0), made.state(0))


def learner(device: str) -> None:
    """Step by step with batches of the host: against the CPU, and bit for bit from a state."""
    each = replace(members()[1], optimizer=OptimizerSettings("adamw", rate=0.02, weight_decay=0.1))
    arguments = (each.topology, each.parameters, each.rule, each.optimizer)
    made, other = (TritonLearner(*arguments, batch=6, device=device) for _ in range(2))
    right = TorchLearner(*arguments, batch=6)
    for number, rows in enumerate((6, 4, 6)):
        x, y = batch(each.topology, rows, f"step {number}")
        told, wanted = (one.step(x, y, scale=1.0 - number / 4) for one in (made, right))
        assert replace(told, residual=0.0) == replace(wanted, residual=0.0)
        assert abs(told.residual - wanted.residual) <= CLOSE
        if number == 1:
            other.load(made.state())
    other.step(*batch(each.topology, 6, "step 2"), scale=0.5)
    assert same_state(made.state(), other.state())
    assert int(made.state()["step"]) == 3
    for name, values in right.parameters().items():
        assert np.abs(made.parameters()[name] - values).max() <= CLOSE * 0.06, name
    assert np.abs(made.predict(x) - right.predict(x)).max() <= CLOSE
    seen, expected = made.diagnose(x, y), right.diagnose(x, y)
    assert seen.verdict == expected.verdict
    assert seen.free_energy == pytest.approx(expected.free_energy, abs=1e-4)
    with pytest.raises(KernelError, match="classes 0 to 4"):
        made.step(x, y + 5, scale=1.0)
    with pytest.raises(KernelError, match="1 to 6 samples"):
        made.step(*batch(each.topology, 7), scale=1.0)
    with pytest.raises(KernelError, match="scale"):
        made.step(x, y, scale=1.5)
    with pytest.raises(KernelError, match="another network or optimizer"):
        made.load(right.state())


def learner_diverges(device: str, path: str) -> None:
    """A step that is not finite is the last; a diagnosis still tells of it."""
    each = member((12, 9, 5), "ce", rule(), 0)
    wild = OptimizerSettings("sgd", rate=3e38, momentum=0.9)
    with always(path):
        made = TritonLearner(each.topology, each.parameters, each.rule, wild, batch=6, device=device)
    start = made.state()
    x, y = batch(each.topology, 6)
    finite = [True]
    while finite[-1]:
        assert len(finite) < 6, "it should have diverged by now"
        finite.append(made.step(x, y, scale=1.0).finite)
    with pytest.raises(DivergedError, match=f"step {len(finite) - 1}"):
        made.step(x, y, scale=1.0)
    assert made.diagnose(x, y).verdict == "diverged"
    made.load(start)
    assert made.step(x, y, scale=0.0).finite, "nothing that is left of it may show"


def refusals(device: str) -> None:
    """What the kernels do not do is said before anything is allocated."""
    good = members()[0]
    relaxation = Relaxation(steps=2)
    lacking = {
        "skips": replace(good, topology=replace(good.topology, skips=((0, 2),))),
        "linearised": replace(good, rule=rule("linearised")),
        "synchronously": replace(good, rule=rule(scheme="synchronous")),
        "tolerance": replace(good, rule=Rule("centred", 0.2, replace(relaxation, tolerance=0.1), relaxation)),
        "muon": replace(good, optimizer=OptimizerSettings("muon")),
        "spectral": replace(good, optimizer=OptimizerSettings(spectral_cap=1.0)),
        "classes": replace(good, topology=Topology((12, 9, 65))),
        "layers": replace(good, topology=Topology((12, *[4] * 8, 5))),
        "samples": replace(good, batch=2**15 + 1),
    }
    assert lacks_population(good) is None
    for word, each in lacking.items():
        lack = lacks_population(each)
        assert lack is not None
        assert word in lack, lack
        with pytest.raises(KernelError, match=word):
            TritonPopulation.of([good, each], device=device)
    with pytest.raises(KernelError, match="fp32 and fp16, got 'exact-1'"):
        TritonPopulation.of([good], arithmetic="exact-1", device=device)
    with pytest.raises(KernelError, match="at least one"):
        TritonPopulation.of([], device=device)
    with pytest.raises(KernelError, match="same data"):
        TritonPopulation.of([good, member((13, 9, 5), "ce", rule(), 0)], device=device)
    with pytest.raises(KernelError, match="finite"):
        TritonPopulation.of(
            [replace(good, parameters=good.parameters | {"b1": np.full(9, np.nan)})], device=device
        )
    made = TritonPopulation.of([good], device=device)
    part = spans([good], (1,))
    with pytest.raises(KernelError, match="Call `hold` first"):
        made.run(part)
    x, y = data()
    with pytest.raises(KernelError, match="classes 0 to 4"):
        made.hold(x, y + 5)
    made.hold(x, y)
    with pytest.raises(KernelError, match="one for each"):
        made.run(part * 2)
    with pytest.raises(KernelError, match="rows of a span"):
        made.run([replace(part[0], rows=part[0].rows + SAMPLES)])

    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    (_, group), *_ = made._groups
    with pytest.MonkeyPatch.context() as patch:
        for name in ("run", "predict"):
            patch.setattr(group, name, full)
        with pytest.raises(MemoryError, match="a step of 1 networks"):
            made.run(part)
        with pytest.raises(MemoryError, match="predictions of 1 networks"):
            made.predict(x)


def bits_of(device: str, *, recorded: bool) -> list[dict[str, np.ndarray]]:
    """The states after 37 steps of ragged networks, with and without recordings."""
    chosen = members()
    part = spans(chosen, (37, 36, 20, 5, 1, 37))
    with always("ragged"):
        made = population(chosen, device)
    for _, group in made._groups:
        assert isinstance(group, RaggedGroup)
        if not recorded:
            group._replays._recorder = None
    for _ in range(2):
        made.run(part)
    return [made.state(index) for index in range(made.size)]


def memory_of_spans() -> tuple[int, int]:
    """The device's memory in use after some spans, and after many more."""
    chosen = members()
    with always("ragged"):
        made = population(chosen, "cuda")
    part = spans(chosen, (50,) * len(chosen))
    for _ in range(2):
        made.run(part)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(20):
        made.run(part)
    torch.cuda.synchronize()
    return before, torch.cuda.memory_allocated()


CASES: dict[str, Case] = {
    "follows-ragged": lambda device: follows(device, "ragged"),
    # The kernel has cases of its own.
    "follows-persistent": lambda device: follows(device, "persistent", (1, 2, 4)),
    "itself-ragged": lambda device: is_itself(device, "ragged"),
    "itself-persistent": lambda device: is_itself(device, "persistent"),
    "elsewhere": goes_on_elsewhere,
    "diverging-ragged": lambda device: harms_nobody(device, "ragged"),
    "diverging-persistent": lambda device: harms_nobody(device, "persistent"),
    "fp16-ragged": lambda device: fp16(device, "ragged"),
    "fp16-persistent": lambda device: fp16(device, "persistent"),
    "prediction": prediction,
    "held-again": held_again,
    "refusals": refusals,
}
LEARNER_CASES: dict[str, Case] = {
    "learner": learner,
    "diverges-ragged": lambda device: learner_diverges(device, "ragged"),
    "diverges-persistent": lambda device: learner_diverges(device, "persistent"),
}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        (CASES | LEARNER_CASES)[name]("cpu")
        sys.stdout.write(f"{name} passed\n")

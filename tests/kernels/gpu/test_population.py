"""Populations of the Triton kernels: against the CPU, their tables, their recordings and their machine code."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels import KernelError, OptimizerSettings, Relaxation, Topology
from kernels.backends.triton.population_layout import (
    HIDDEN,
    INPUT,
    LAYER_ROW,
    OUTPUT,
    READOUT,
    PopulationLayout,
    phase_table,
)
from kernels.backends.triton.ragged_layout import MAX_LAYERS, UNIT
from kernels.backends.triton.replay import PORTIONS, Replays, portions
from kernels.backends.triton.step_numbers import Number, step_numbers, step_rows
from kernels.members import Member, Span
from tests.kernels.gpu import aot, aot_population, mutants_population
from tests.kernels.gpu.gates import ROOT, child, needs_interpreter, needs_triton
from tests.kernels.gpu.mutants import Mutant, mutated
from tests.kernels.networks import parameters, rule

CASES = [
    "follows-ragged",
    "follows-persistent",
    "itself-ragged",
    "itself-persistent",
    "elsewhere",
    "diverging-ragged",
    "diverging-persistent",
    "fp16-ragged",
    "fp16-persistent",
    "prediction",
    "held-again",
    "refusals",
]
# The kernel that trains whole has cases of its own for these.
ON_A_DEVICE_ALONE = {"itself-persistent", "diverging-persistent"}
TOPOLOGIES = (
    Topology((7, 45, 10)),
    Topology((7, 20, 33, 10), output="mse"),
    Topology((7, 16, 70, 17, 10)),
)
STEPS = Relaxation(steps=2, order="backward")


@needs_interpreter
@pytest.mark.interp
@pytest.mark.parametrize("case", [case for case in CASES if case not in ON_A_DEVICE_ALONE])
def test_the_interpreter_agrees_with_the_engine_of_the_cpu(case: str) -> None:
    done = child(["tests.kernels.gpu.population_cases", case], interpret=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout == f"{case} passed\n"


@needs_triton
def test_every_case_is_run() -> None:
    from tests.kernels.gpu import population_cases

    assert list(population_cases.CASES) == CASES


@needs_triton
@pytest.mark.parametrize("mutant", mutants_population.MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_still_changes_its_source(mutant: Mutant) -> None:
    from tests.kernels.gpu import population_cases

    source = (ROOT / mutant.path).read_text()
    assert mutated(source, mutant) != source
    assert mutant.kernel in population_cases.CASES | population_cases.LEARNER_CASES


@needs_triton
@pytest.mark.aot
def test_compiled_kernels_keep_their_budgets(tmp_path: Path) -> None:
    expected = {each.name: each for each in aot_population.configurations()}
    done = child(["tests.kernels.gpu.aot_population"], interpret=False, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    counts = msgspec.json.decode(done.stdout, type=dict[str, aot.Count])
    budget = aot_population.read_budgets()[aot.version()]
    assert counts.keys() == expected.keys() == budget.keys()
    found = {name: aot.complaints(expected[name], counts[name], budget[name]) for name in counts}
    assert not any(found.values()), found


layouts = st.builds(
    lambda hidden, batch: PopulationLayout(
        tuple(
            Topology((5, *widths, 10), output=("ce", "mse")[len(widths) % 2])  # type: ignore[arg-type]
            for widths in hidden
        ),
        (STEPS,) * len(hidden),
        batch,
    ),
    st.lists(st.lists(st.integers(1, 70), min_size=1, max_size=MAX_LAYERS - 1), min_size=1, max_size=4),
    st.integers(1, 9),
)


@given(layouts)
def test_every_parameter_has_memory_of_its_own(layout: PopulationLayout) -> None:
    block = torch.zeros(layout.size)
    expected = 0
    for number, topology in enumerate(layout.topologies):
        views = layout.views(block, number)
        assert {name: tuple(view.shape) for name, view in views.items()} == dict(topology.parameter_shapes)
        for view in views.values():
            view.add_(1)
            expected += view.numel()
    assert block.max() == 1, "two views share an element"
    assert block.sum() == expected
    # What has a shadow are the weights, and all of them.
    weights = sum(a * b for each in layout.topologies for a, b in pairwise(each.sizes))
    assert block[: layout.bias_start].sum() == weights


@given(layouts)
def test_the_rows_of_layers_say_where_everything_lies(layout: PopulationLayout) -> None:
    block = torch.arange(layout.size)
    states, drives = torch.arange(layout.ragged.state_size), torch.arange(layout.ragged.drive_size)
    table = layout.layers().view(len(layout.topologies), MAX_LAYERS, LAYER_ROW)
    for number, topology in enumerate(layout.topologies):
        for layer in range(1, topology.last + 1):
            member, kind, sources, width, weight, bias, below, own, drive, depth = table[
                number, layer - 1
            ].tolist()[:10]
            assert (member, depth) == (number, len(topology.state_layers))
            top = READOUT if topology.has_readout else OUTPUT
            assert kind == (INPUT if layer == 1 else top if layer == topology.last else HIDDEN)
            assert sources == (5 if layer == 1 else -(-topology.sizes[layer - 1] // UNIT))
            assert width == -(-topology.sizes[layer] // UNIT)
            assert weight * UNIT == int(layout.weight(block, number, layer)[0, 0])
            assert bias * UNIT == int(layout.bias(block, number, layer)[0])
            assert own * UNIT == int(layout.ragged.state(states, number, layer)[0, 0])
            if layer > 1:
                assert below * UNIT == int(layout.ragged.state(states, number, layer - 1)[0, 0])
            assert drive * UNIT == int(layout.ragged.driven(drives, number)[0, 0])
        assert not table[number, topology.last :].any()


@given(layouts, st.sampled_from([16, 32, 64]))
def test_tiles_cover_every_weight_once(layout: PopulationLayout, block: int) -> None:
    rows = layout.layers()
    covered = torch.zeros(layout.size, dtype=torch.int32)
    for row, source, target in layout.weight_tiles(block).tolist():
        _, kind, sources, width, weight, *_ = rows[row].tolist()
        fan_in = sources if kind == INPUT else sources * UNIT
        matrix = covered[weight * UNIT :][: fan_in * width * UNIT].view(fan_in, width * UNIT)
        part = matrix[source * block : (source + 1) * block, target * block : (target + 1) * block]
        assert part.numel() > 0
        part += 1
    assert (covered[: layout.bias_start] == 1).all()
    columns = [pair[0] // MAX_LAYERS for pair in layout.column_tiles(block).tolist()]
    wanted = [-(-(-(-each.sizes[1] // UNIT) * UNIT) // block) for each in layout.topologies]
    assert [columns.count(number) for number in range(len(wanted))] == wanted


def test_a_phase_has_sweeps_of_its_own_or_none() -> None:
    layout = PopulationLayout(TOPOLOGIES, (STEPS,) * 3, 4).ragged
    table = phase_table(layout, [Relaxation(steps=7, order="alternating"), None, Relaxation(steps=0)])
    assert table[:, 2].tolist() == [7, 0, 0]
    assert table[:, 3].tolist() == [2, 0, 0]
    same = torch.ones(table.shape[1], dtype=torch.bool)
    same[2:4] = False
    assert torch.equal(table[:, same], layout.table()[:, same])


def test_inputs_of_one_population_are_equally_wide() -> None:
    with pytest.raises(KernelError, match="read one input"):
        PopulationLayout((TOPOLOGIES[0], Topology((8, 9, 10))), (STEPS,) * 2, 4)


def chosen(estimate: str, optimizer: OptimizerSettings, beta: float = 0.25) -> Member:
    topology = Topology((7, 9, 10))
    return Member(topology, parameters(topology), rule(estimate, beta), optimizer, 3)


SPAN = Span(
    np.array([[0, 1, 2], [3, 4, -1]], dtype=np.int32), np.array([1.0, 0.5]), np.array([1, -1], dtype=np.int8)
)


def numbers_of(member: Member, taken: int = 0) -> dict[str, list[float]]:
    """The numbers of both steps by name, worked out by the table."""
    table = step_numbers([member], [SPAN], [taken], 3)
    assert table.shape == (4, len(Number), 16)
    assert not table[2:].any(), "nobody steps after the span"
    assert not table[:, :, 1:].any()
    return {number.name: table[:2, number, 0].tolist() for number in Number}


def test_the_numbers_of_sgd_are_those_of_the_formulas() -> None:
    found = numbers_of(chosen("centred", OptimizerSettings("sgd", rate=0.5, momentum=0.75)))
    assert found == {
        "BETA": [0.25, 0.25],
        "BETA_OTHER": [-0.25, -0.25],
        "UNIT": pytest.approx([1 / (0.5 * 3), 1 / (0.5 * 2)]),
        "UNIT_READOUT": pytest.approx([1 / 3, 1 / 2]),
        "RATE": [0.5, 0.25],
        "MOMENTUM": [0.75, 0.75],
        "KEEP": [0, 0],
        "GAIN": [0, 0],
        "FLOOR": [0, 0],
        "ADAM": [0, 0],
        "SAMPLES": [3, 2],
    }


@pytest.mark.parametrize(
    ("estimate", "betas", "units"),
    [
        ("one-sided", [0.25, 0.25], [4 / 3, 4 / 2]),
        ("negative", [-0.25, -0.25], [-4 / 3, -4 / 2]),
        ("random-sign", [0.25, -0.25], [4 / 3, -4 / 2]),
    ],
)
def test_a_single_nudge_has_the_sign_of_its_difference(
    estimate: str, betas: list[float], units: list[float]
) -> None:
    found = numbers_of(chosen(estimate, OptimizerSettings("sgd")))
    assert found["BETA"] == betas
    assert found["BETA_OTHER"] == [0, 0]
    assert found["UNIT"] == pytest.approx(units)


def test_the_numbers_of_adam_count_the_steps_before() -> None:
    member = chosen("centred", OptimizerSettings("adamw", rate=0.5, weight_decay=0.2))
    found = numbers_of(member, taken=4)
    spreads = [(1 - 0.999**time) ** 0.5 for time in (5, 6)]
    assert found["GAIN"] == pytest.approx(
        [spread / (1 - 0.9**time) for spread, time in zip(spreads, (5, 6), strict=True)]
    )
    assert found["FLOOR"] == pytest.approx([1e-8 * spread for spread in spreads])
    assert found["KEEP"] == pytest.approx([1 - 0.5 * 0.2, 1 - 0.25 * 0.2])
    assert found["ADAM"] == [1, 1]
    plain = numbers_of(replace(member, optimizer=OptimizerSettings("adam", rate=0.5, weight_decay=0.2)))
    assert plain["KEEP"] == [1, 1], "the decay of adamw alone"


def test_rows_end_where_spans_end() -> None:
    longer = Span(np.zeros((3, 3), dtype=np.int32), np.ones(3), np.ones(3, dtype=np.int8))
    rows = step_rows([SPAN, longer], 4)
    assert rows.shape == (5, 2, 3)
    assert rows[:2, 0].tolist() == SPAN.rows.tolist()
    assert (rows[2:, 0] == -1).all()
    assert (rows[:3, 1] == 0).all()
    assert (rows[3:, 1] == -1).all()


class Tape:
    """Records what is done while it records, and does it again."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.recording = False

    def advance(self) -> None:
        self.log.append("recorded" if self.recording else "done")

    def warm(self, work: Callable[[], object]) -> None:
        work()

    def record(self, work: Callable[[], object]) -> Callable[[], object]:
        before, self.recording = len(self.log), True
        work()
        self.recording = False
        steps = len(self.log) - before
        del self.log[before:]
        return lambda: self.log.extend(["replayed"] * steps)


@given(st.integers(0, 200))
def test_portions_make_up_the_steps(steps: int) -> None:
    cut = list(portions(steps))
    assert sum(cut) == steps
    assert set(cut) <= set(PORTIONS)
    assert len(cut) <= steps // PORTIONS[0] + PORTIONS[0] - 1


def test_steps_are_recorded_once_and_replayed() -> None:
    tape = Tape()
    replays = Replays(tape.advance, tape)
    replays.prepare(35)
    assert tape.log == ["done"], "once, to compile"
    replays.run(35)
    replays.prepare(3)
    replays.run(3)
    assert tape.log == ["done", *["replayed"] * 38]
    replays.forget()
    replays.prepare(1)
    replays.run(1)
    assert tape.log[39:] == ["done", "replayed"]
    with pytest.raises(KeyError):
        replays.run(16)


def test_without_a_recorder_steps_are_taken_one_by_one() -> None:
    tape = Tape()
    replays = Replays(tape.advance, None)
    replays.prepare(5)
    assert tape.log == []
    replays.run(5)
    assert tape.log == ["done"] * 5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("case", CASES)
def test_a_device_agrees_with_the_engine_of_the_cpu(case: str) -> None:
    from tests.kernels.gpu import population_cases

    population_cases.CASES[case]("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_recorded_steps_have_the_bits_of_steps_and_of_other_runs() -> None:
    from tests.kernels.gpu.population_cases import bits_of, same_state

    plain, *recorded = (bits_of("cuda", recorded=each) for each in (False, True, True))
    for states in recorded:
        assert all(same_state(a, b) for a, b in zip(plain, states, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_memory_does_not_grow_with_the_steps() -> None:
    from tests.kernels.gpu.population_cases import memory_of_spans

    before, after = memory_of_spans()
    assert before == after

"""The CUDA source on the emulated device, against the naive float64 sweeps; and that breaks of it are seen."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from kernels.backends.cupy.two_hidden import phase
from kernels.backends.cupy.two_hidden_plan import Memory, plan, source
from tests.kernels.cupy.cases import CASES, Case, check, check_at_rest, check_nan
from tests.kernels.cupy.emulation import SCHEDULES, Emulation, needs_compiler

pytestmark = needs_compiler

# Shared memory in which small networks keep some rows of W_2, some of W_3, or none; and whether loads are vectors.
TIGHT = {
    "some of both": (Case("fp16", "mse", "alternating", 3, widths=(144, 96, 20)), 54_800, True),
    "some of W3": (Case("fp16", "ce", "forward", 2, widths=(45, 70, 10)), 27_000, False),
    "little": (Case("fp32", "mse", "backward", 3, widths=(48, 64, 16)), 34_000, True),
    "odd rows": (Case("fp32", "ce", "backward", 2, widths=(45, 70, 10)), 40_000, False),
}
WIDE = {
    "widest": Case("fp16", "mse", "backward", 2, widths=(512, 512, 64), batch=5),
    "widest readout": Case("fp32", "ce", "forward", 1, widths=(512, 512, 64), batch=3),
    "64 rows": Case("fp16", "ce", "backward", 1, narrow=True, widths=(304, 256, 64), batch=50),
    "one unit": Case("fp16", "mse", "forward", 3, widths=(1, 1, 1), batch=1),
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulated")


def same(runs: list[list[Tensor]]) -> bool:
    """Whether every run gave the bits of the first."""
    return all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


def layout(case: Case, limit: int) -> Memory:
    """The shared memory of a case."""
    return plan(
        case.widths, case.batch, half=case.half, half_drive=case.half and case.narrow, readout=case.readout,
        shared_bytes=limit,
    ).memory  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_source_agrees_with_the_naive_sweeps_in_every_order_of_warps(case: Case, folder: Path):
    assert same([check(partial(phase, Emulation(folder, schedule)), case, "cpu") for schedule in SCHEDULES])


@pytest.mark.parametrize(("case", "limit", "dense"), TIGHT.values(), ids=TIGHT.keys())
def test_weights_that_do_not_fit_are_streamed(case: Case, limit: int, dense: bool, folder: Path):
    assert layout(case, limit).buffer_bytes > 0
    runs = [
        check(partial(phase, Emulation(folder, schedule, limit)), case, "cpu", dense=dense)
        for schedule in SCHEDULES
    ]
    assert same(runs)


def test_the_tight_cases_keep_some_rows_and_not_others():
    made = [layout(case, limit) for case, limit, _ in TIGHT.values()]
    assert [memory.kept2 > 0 for memory in made] == [True, False, False, False]
    # W_3 has 96, 80, 64 and 80 rows in shared memory.
    assert [memory.kept3 for memory in made] == [96, 32, 16, 64]


@pytest.mark.parametrize("case", WIDE.values(), ids=WIDE.keys())
def test_extreme_widths_agree_with_the_naive_sweeps(case: Case, folder: Path):
    check(partial(phase, Emulation(folder, SCHEDULES[1])), case, "cpu", dense=True)


@pytest.mark.parametrize("readout", [False, True], ids=["mse", "ce"])
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_what_is_no_number_stays_none_and_stays_alone(half: bool, readout: bool, folder: Path):
    check_nan(partial(phase, Emulation(folder)), "cpu", half=half, readout=readout)


def test_a_network_at_rest_does_not_change(folder: Path):
    check_at_rest(partial(phase, Emulation(folder)), "cpu")


class Mutant(NamedTuple):
    """In the source `old`, which stands there once, becomes `new`; `case` must notice, in some order of warps."""

    old: str
    new: str
    case: tuple[Case, int, bool] = TIGHT["some of both"]


FREE = 232_448
READOUT = (CASES["ce-backward-3-fp32"], FREE, False)
OUTPUT = (CASES["mse-forward-3-fp32"], FREE, False)
ALTERNATING = (CASES["ce-alternating-2-fp32"], FREE, False)
KEPT = (Case("fp16", "mse", "forward", 1, widths=(48, 64, 16)), FREE, True)
MUTANTS = {
    "nudge sign, output": Mutant("received + p.nudge * y", "received - p.nudge * y", OUTPUT),
    "nudge not divided": Mutant(" / (1.0f + p.nudge)", "", OUTPUT),
    "nudge sign, readout": Mutant("p.nudge * (y - scores", "-p.nudge * (y - scores", READOUT),
    "one nudge for all": Mutant("array<const float>(a.beta)[network]", "array<const float>(a.beta)[0]", OUTPUT),
    "dropped K tail, up": Mutant("for (int k = first; k < last; k += SIDE)",
                                 "for (int k = first; k < last - SIDE; k += SIDE)", OUTPUT),
    "dropped K tail, down": Mutant("for (int k = 0; k < depth; k += SIDE)",
                                   "for (int k = 0; k < depth - SIDE; k += SIDE)", OUTPUT),
    "dropped tile": Mutant("while (first < rows)", "while (first < rows - w.step)"),
    "not transposed": Mutant("DOWN ? right.p[n * right.lead + k] :", "false ? right.p[0] :", OUTPUT),
    "no clip above": Mutant("(value > clip ? clip : value)", "value", OUTPUT),
    "clip hides NaN": Mutant("return value < 0.0f ? 0.0f :", "return !(value >= 0.0f) ? 0.0f :"),
    "NaN has no change": Mutant("return by == by ? by : INFINITY", "return by"),
    "bias forgotten": Mutant("return p.bias2[unit];", "return 0.0f;", OUTPUT),
    "order": Mutant("int layer = backward ? 4 - turn : turn;", "int layer = turn;", READOUT),
    "readout read first": Mutant("layer = 5 - turn;", "layer = turn;", (CASES["ce-forward-3-fp32"], FREE, False)),
    "alternates the other way": Mutant("step % 2 == 0", "step % 2 == 1", ALTERNATING),
    "dead rows counted": Mutant("unit < width && first + row < p.live)", "unit < width)", OUTPUT),
    "change of any sweep": Mutant("const bool last = step == a.steps - 1;", "const bool last = true;", OUTPUT),
    "wrong offset, drive": Mutant("network * a.drive_p", "network * a.start1_p", OUTPUT),
    "wrong offset, row": Mutant("p.y_row = a.target_b;", "p.y_row = a.classes;", OUTPUT),
    "no barrier, first layer": Mutant("  });\n  BARRIER();\n}\n\nDEVICE void move_sec",
                                      "  });\n}\n\nDEVICE void move_sec"),
    "no barrier, between matrices": Mutant("  // Both matrices pass through the same buffers.\n  BARRIER();\n", "",
                                           TIGHT["little"]),
    "no barrier, tile": Mutant("all are done with the other buffer.\n      BARRIER();\n", "all are done.\n"),
    "no barrier, scores": Mutant("the work of several warps.\n  BARRIER();\n", "the work of several warps.\n", READOUT),
    "no wait, tile": Mutant("      wait_for_copies();\n      // This", "      // This"),
    "no wait, start": Mutant("  wait_for_copies();\n  BARRIER();\n\n  float", "  BARRIER();\n\n  float", KEPT),
    "buffers swapped too late": Mutant("w.buffer + (1 - turn) * w.buffer_size);", "w.buffer + turn * w.buffer_size);"),
    "a barrier for some": Mutant("  FOR_LANES(lane) p.scratch[WARP()",
                                 "  if (WARP() == 3) BARRIER();\n  FOR_LANES(lane) p.scratch[WARP()", OUTPUT),
}  # fmt: skip


def noticed(act: Callable[..., Any], *arguments: Any, **options: Any) -> bool:
    try:
        act(*arguments, **options)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("name", MUTANTS)
def test_every_break_of_the_source_is_noticed(name: str, folder: Path):
    old, new, (case, limit, dense) = MUTANTS[name]
    text = source()
    assert text.count(old) == 1, "write the mutant after the source as it is now"
    for schedule in SCHEDULES:
        settle = partial(phase, Emulation(folder, schedule, limit, text.replace(old, new)))
        if (
            noticed(check, settle, case, "cpu", dense=dense)
            or noticed(check_nan, settle, "cpu", half=case.half, readout=case.readout)
            or noticed(check_at_rest, settle, "cpu")
        ):
            return
    pytest.fail("no order of warps showed it")

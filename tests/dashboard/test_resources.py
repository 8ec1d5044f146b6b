"""Samples of a machine, and the pace and size of a store."""

from pathlib import Path

import pytest

from dashboard.machine import gpus_of, machine, memory_of, ticks_of, worker_of
from node.store.board import Board
from node.store.board.resources import Mark, calibrations, pace, per_hour, store_size
from node.store.records import Reader
from tests.dashboard.conftest import make_client

STAT = "cpu  100 5 50 800 40 1 2 2 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 1\n"


def test_cpu_is_all_but_idle_and_waiting() -> None:
    assert ticks_of(STAT) == (160, 1000)
    assert ticks_of("intr 1\n") is None


def test_memory_is_what_programs_could_still_get() -> None:
    found = memory_of("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:   250 kB\n")
    assert found is not None
    assert (found.total_bytes, found.available_bytes) == (1_024_000, 256_000)
    assert memory_of("") is None


def test_a_worker_is_read_whatever_its_name_is() -> None:
    fields = ["S", *["0"] * 10, "70", "30", *["0"] * 8, "5", *["0"] * 20]
    found = worker_of(9, f"9 (a) b) {' '.join(fields)}\n", 4096)
    assert found is not None
    assert (found.ticks, found.resident_bytes) == (100, 5 * 4096)
    assert worker_of(9, "", 4096) is None


def test_gpus_are_read_with_what_the_driver_leaves_out() -> None:
    found = gpus_of(
        "NVIDIA H100 80GB HBM3, 87, 1024, 81559, 41\nOther, [N/A], [N/A], [N/A], [N/A]\nnonsense\n"
    )
    assert [(gpu.name, gpu.busy, gpu.used_bytes) for gpu in found] == [
        ("NVIDIA H100 80GB HBM3", 87.0, 2**30),
        ("Other", None, None),
    ]


def test_a_sample_of_this_machine_is_plausible() -> None:
    found = machine()
    assert found.cpus >= 1
    assert found.busy_ticks is not None and found.all_ticks is not None
    assert 0 < found.busy_ticks <= found.all_ticks
    assert found.memory is not None and 0 < found.memory.available_bytes <= found.memory.total_bytes


def test_the_pace_is_read_off_the_record(searched: Path) -> None:
    with Board(searched) as board:
        found, made = pace(board), calibrations(board)
    with Reader(searched) as reader:
        rows = reader.evaluations()
        times = [row.finished_at for row in rows]
    assert (found.marks[0], found.marks[-1]) == (
        Mark(evaluations=1, at=times[0]),
        Mark(evaluations=len(times), at=times[-1]),
    )
    assert (found.last_hour, found.last_at) == (sum(at >= times[-1] - 3600 for at in times), times[-1])
    assert [run for run, _ in made] == [1]
    assert all(calibration.seconds_per_mac >= 0 for _, calibration in made)


def test_results_that_came_together_make_no_pace_of_their_own() -> None:
    marks = [Mark(evaluations=number, at=float(10 * (number // 10))) for number in range(401)]
    found = per_hour(marks)
    assert [rate for _, rate in found] == [pytest.approx(3600.0)] * 40
    assert per_hour([]) == per_hour(marks[:1]) == []


def test_a_store_is_weighed_with_its_log_and_weights(store: Path) -> None:
    folder = store.with_name(f"{store.name}.weights")
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(b"x" * 700)
    with Board(store) as board:
        found = store_size(board)
    assert (found.path, found.store_bytes) == (store.name, store.stat().st_size)
    assert (found.weights_bytes, found.weights_files, found.counted_all) == (700, 1, True)
    assert found.rows["evaluation"] > found.rows["run"] == 1


def test_the_page_and_its_questions_answer(searched: Path) -> None:
    with make_client(searched) as client:
        assert client.get("/resources").status_code == 200
        sample = client.get("/api/resources/machine").json()
        told = client.get("/api/resources/store").json()
    assert sample["machine"]["cpus"] >= 1
    assert (told["size"]["rows"]["run"], len(told["calibrations"])) == (1, 1)

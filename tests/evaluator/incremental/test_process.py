"""The child that computes an experiment, as its parent sees it."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from evaluator.errors import EvaluatorError
from evaluator.incremental import run_folder
from evaluator.incremental.__main__ import answer
from evaluator.incremental.messages import Learn, Look, Refused
from evaluator.incremental.process import learn_all, look

GIVEN = {"memory_bytes": 2**31, "nice": 0, "deadline_s": 150.0}
FILES = ("errors.csv", "growth.csv", "reconstructions.safetensors")


def asked(out: Path, *variants: str, seed: int = 0) -> Learn:
    return Learn(dataset="digits", variants=variants, seed=seed, out=str(out), smoke=True, per_class=6)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of a run's files; the manifest without its seconds."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["result"]["seconds"]
    found = {name: (folder / name).read_bytes() for name in FILES}
    return found | {"manifest": json.dumps(manifest).encode()}


def children() -> set[int]:
    """The processes that this one started and that are there, waited for or not."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(os.getpid()):
                found.add(int(folder.name))
    return found


@contextlib.contextmanager
def standard_error() -> Iterator[trio.lowlevel.FdStream]:
    """What this process, and those it starts, write on standard error meanwhile."""
    reading, writing = os.pipe()
    kept = os.dup(2)
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield trio.lowlevel.FdStream(reading)
    finally:
        os.dup2(kept, 2)
        os.close(kept)


async def test_a_cancelled_experiment_ends_its_process_and_goes_on_where_it_was(tmp_path: Path) -> None:
    before, whole, broken = children(), tmp_path / "whole", tmp_path / "broken"
    await learn_all([asked(whole, "ndl+ir")], workers=1, **GIVEN)
    folder = run_folder(broken, "ndl+ir", 0)
    with trio.fail_after(300), standard_error() as told:
        async with told, trio.open_nursery() as nursery:
            nursery.start_soon(lambda: learn_all([asked(broken, "ndl+ir")], workers=1, **GIVEN))
            said = b""
            # What is told of a stage is told once its checkpoint stands.
            while b"learned" not in said:
                said += await told.receive_some()
            nursery.cancel_scope.cancel()
    assert (folder / "checkpoint.safetensors").exists()
    assert not (folder / "manifest.json").exists()
    assert children() <= before
    await learn_all([asked(broken, "ndl+ir")], workers=1, **GIVEN)
    assert contents(folder) == contents(run_folder(whole, "ndl+ir", 0))


async def test_seeds_side_by_side_are_those_one_after_another(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    await learn_all([asked(a, "ndl", seed=seed) for seed in (0, 1)], workers=2, **GIVEN)
    await learn_all([asked(b, "ndl", seed=seed) for seed in (1, 0)], workers=1, **GIVEN)
    for seed in (0, 1):
        assert contents(run_folder(a, "ndl", seed)) == contents(run_folder(b, "ndl", seed))


async def test_what_the_child_refuses_is_raised(tmp_path: Path) -> None:
    with pytest.raises(EvaluatorError, match="no finished run"):
        await look(Look(out=str(tmp_path), report=False), **GIVEN)


async def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(EvaluatorError, match=r"within 0\.01 s.*--deadline"):
        await look(Look(out=str(tmp_path), report=False), **{**GIVEN, "deadline_s": 0.01})


async def test_a_process_that_ends_without_an_answer_is_told(tmp_path: Path) -> None:
    # No priority is so low: the child fails before it can answer.
    with pytest.raises(EvaluatorError, match="must end with an answer, it ended with exit status 1"):
        await look(Look(out=str(tmp_path), report=False), **{**GIVEN, "nice": 2**40})


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    found = answer(asked(tmp_path / "taken", "ndl"))
    assert isinstance(found, Refused)
    assert "taken" in found.detail


def test_want_of_memory_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def grow(_folder: Path) -> None:
        raise MemoryError

    monkeypatch.setattr("evaluator.incremental.__main__.read_runs", grow)
    found = answer(Look(out=str(tmp_path), report=False))
    assert isinstance(found, Refused)
    assert "worker_memory" in found.detail


def test_a_missing_folder_of_images_is_refused(tmp_path: Path) -> None:
    folder = str(tmp_path / "nowhere")
    found = answer(Learn(dataset="sd19", variants=("ndl",), seed=0, out=str(tmp_path), folder=folder))
    assert isinstance(found, Refused)
    assert "--data" in found.detail

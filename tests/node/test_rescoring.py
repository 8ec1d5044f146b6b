"""Scoring the front again: fresh seeds of a genome share a launch, and the record does not tell when they came."""

import sys
from pathlib import Path

import pytest
import trio

import evaluator.pool
from evaluator.groups import group_key
from genome import Genome
from node.search import SearchState
from node.service import run_search
from node.settings import Settings
from node.store.records import Reader
from node.store.rows import EvaluationRow
from tests.support.jobs import job


class Unwatched:
    """Nobody looks."""

    def started(self, state: SearchState) -> None:
        pass

    def progressed(self, state: SearchState, genome: Genome, progress: object) -> None:
        pass

    def recorded(self, state: SearchState, row: EvaluationRow) -> None:
        pass


@pytest.fixture(autouse=True)
def own_calibration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EQMESH_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that train nothing and tell as an objective how many jobs shared the launch; narrow networks are best."""
    command = [sys.executable, "-m", "tests.evaluator.scripted_worker"]
    monkeypatch.setattr(evaluator.pool, "worker_command", lambda _settings: command)


def search(store: Path, *, evaluations: int, rescore: int, workers: int = 1) -> SearchState:
    settings = Settings(
        task="digits",
        tier="smoke",
        evaluations=evaluations,
        rescore=rescore,
        workers=workers,
        store=str(store),
        nice=0,
    )
    return trio.run(run_search, settings, Unwatched())


def again(store: Path) -> list[tuple[Genome, EvaluationRow]]:
    """Genome and row of every score on a fresh seed, in the order of the record."""
    with Reader(store) as reader:
        rows = [row for row in reader.evaluations() if row.purpose == "rescore"]
        return [(reader.genome(row.genome), row) for row in sorted(rows, key=lambda row: row.id)]


@pytest.mark.parametrize("workers", [1, 3])
def test_fresh_seeds_of_a_genome_share_a_launch(tmp_path: Path, scripted: None, workers: int) -> None:
    store = tmp_path / "eqmesh.db"
    # The baseline, and the presets shallow, ep, smep and deep, of which ep and smep are the narrowest.
    search(store, evaluations=5, rescore=4, workers=workers)
    found = again(store)
    assert [row.ask for _, row in found] == [1, 2, 3, 4] * 3
    assert [genome for genome, _ in found] == [genome for genome, _ in found[::4] for _ in range(4)]
    shared = 0
    for genome, row in found:
        grouped = group_key(job(genome, purpose="rescore")) is not None
        assert (row.objectives["company"] > 1) <= grouped
        shared += row.objectives["company"] > 1
        if workers == 1:
            assert row.objectives["company"] == (4 if grouped else 1)
    assert workers > 1 or shared == 4


def test_a_rescoring_that_is_taken_up_again_gives_the_same_values(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.db", tmp_path / "parts.db"
    search(whole, evaluations=3, rescore=3)
    for replicates in (1, 3):
        search(parts, evaluations=3, rescore=replicates)
    first, second = (
        sorted(
            (genome.id, row.ask, row.seed, sorted(row.objectives.items()), row.weights)
            for genome, row in again(store)
        )
        for store in (whole, parts)
    )
    assert any(group_key(job(genome, purpose="rescore")) is not None for genome, _ in again(whole))
    assert first == second

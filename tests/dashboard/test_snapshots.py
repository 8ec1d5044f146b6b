"""Questions to a store that a search writes into meanwhile."""

from pathlib import Path

import pytest

from dashboard.kinship import Kinship
from genome import MLP, Birth
from genome.variation import mutate
from node.store.board import Board, fronts
from node.store.board.fronts import cloud
from node.store.board.kin import ids_at
from node.store.board.runs import choose, counts
from node.store.records import Reader
from node.store.writer import Writer
from tests.dashboard.conftest import make_client
from tests.support.bigstore import TASK_ID, make_big_store
from tests.support.outcomes import outcome


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    make_big_store(tmp_path / "s.db", 60)
    return tmp_path / "s.db"


def add(store: Path, seed: int) -> None:
    """One birth and its evaluation, as a search writes them."""
    with Reader(store) as reader:
        parent = reader.genome(list(reader.births())[-1].genome)
    child = mutate(MLP, parent, seed=seed)
    values = {"accuracy": 0.5, "speed": 1e5, "memory": 1e6}
    with Writer(store, now=lambda: 1.8e9, durable=False) as writer:
        birth = Birth((parent.id,), "mutate/1", seed)
        writer.record(
            1, 900 + seed, "search", child, birth, outcome(child, objectives=values, task_id=TASK_ID)
        )


def test_a_board_sees_one_state_until_it_looks_anew(growing: Path) -> None:
    with Board(growing) as board:
        before = counts(board)
        add(growing, 1)
        assert counts(board) == before
        board.look()
        assert counts(board).births == before.births + 1


def test_an_evaluation_that_comes_within_a_question_is_not_half_seen(
    growing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fronts._values

    def slowly(*arguments: object) -> object:
        found = whole(*arguments)  # type: ignore[arg-type]
        add(growing, 1)
        return found

    monkeypatch.setattr(fronts, "_values", slowly)
    with Board(growing) as board:
        run = choose(board, None).run
        assert run is not None
        assert cloud(board, run).tried == 60
    with make_client(growing) as client:
        monkeypatch.setattr(fronts, "_values", whole)
        assert client.get("/api/pareto").status_code == 200


def test_a_lineage_that_another_question_has_grown_holds_nothing_unknown(growing: Path) -> None:
    kinship = Kinship()
    with Board(growing) as early:
        counts(early)
        add(growing, 1)
        with Board(growing) as late:
            assert kinship.ask(late, None, lambda held: len(held.kin)) == 61
        found = kinship.ask(early, None, lambda held: ids_at(early, held.kin, range(len(held.kin))))
        assert sorted(found) == list(range(61))

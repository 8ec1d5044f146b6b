import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from importlib import resources
from pathlib import Path

import msgspec
import pytest

from evaluator.jobs import CostLimits, failure_of
from evaluator.objectives import NETWORK_OBJECTIVES
from genome import Birth, Genome, preset, preset_birth
from node.errors import NotFoundError, StoreError
from node.store.connection import APPLICATION_ID, newest_schema
from node.store.records import Reader
from node.store.rows import RunSpec
from node.store.writer import Writer
from tests.support.jobs import CALIBRATION, job
from tests.support.outcomes import outcome

SPEC = RunSpec(
    seed=1,
    task="digits",
    task_id="t" * 64,
    tier="smoke",
    space="mlp/1",
    space_source="",
    strategy="nsga2",
    arithmetic="fp32",
    objectives=NETWORK_OBJECTIVES,
    limits=CostLimits(),
    look_behind=None,
    baselines=("backprop",),
    seeds=("shallow",),
    population=8,
)
SHALLOW, DEEP = preset("shallow"), preset("deep")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "eqmesh.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    with Writer(path, now=lambda: 5.0) as opened:
        yield opened


def record(writer: Writer, ask: int, genome: Genome = SHALLOW, purpose: str = "search") -> None:
    run, _ = writer.begin_run(SPEC)
    birth = preset_birth("shallow")
    writer.record(run, ask, purpose, genome, birth, outcome(genome, accuracy=0.5 + ask / 100))


def test_what_is_written_is_read(writer: Writer, path: Path) -> None:
    run, _ = writer.begin_run(SPEC)
    result = outcome(SHALLOW, accuracy=0.75)
    written = writer.record(run, 3, "search", SHALLOW, preset_birth("shallow"), result)
    with Reader(path) as reader:
        (row,) = reader.evaluations(run=run)
        assert row == written
        assert row.objectives == result.objectives
        assert reader.result(row.id) == result
        assert reader.genome(SHALLOW.id) == SHALLOW
        assert [(b.genome, b.birth) for b in reader.births()] == [(SHALLOW.id, preset_birth("shallow"))]
        assert [event.kind for event in reader.events()] == ["run.started", "evaluation.finished"]
        assert reader.evaluations_of(SHALLOW.id) == [row]
        found = {table: count for table, count in reader.counts().items() if count}
        assert found == {"run": 1, "genome": 1, "birth": 1, "evaluation": 1, "event": 2}


def test_a_failure_is_a_record_too(writer: Writer, path: Path) -> None:
    run, _ = writer.begin_run(SPEC)
    failed = failure_of(job(SHALLOW), "diverged", "at step 3")
    writer.record(run, 0, "search", SHALLOW, None, failed)
    with Reader(path) as reader:
        (row,) = reader.evaluations(task_id=failed.task_id)
        assert (row.failure, row.detail, row.objectives) == ("diverged", "at step 3", {})
        assert reader.result(row.id) == failed
        assert reader.run().failures == 1


def test_a_birth_with_parents_and_a_large_seed_survives(writer: Writer, path: Path) -> None:
    run, _ = writer.begin_run(SPEC)
    birth = Birth((SHALLOW.id, preset("ep").id), "cross/1", 2**63 - 1)
    writer.record(run, 0, "search", DEEP, birth, outcome(DEEP))
    with Reader(path) as reader:
        (row,) = reader.births()
        assert row.birth == birth


def test_an_ask_is_recorded_once(writer: Writer) -> None:
    record(writer, 1)
    with pytest.raises(StoreError, match="cannot be written: UNIQUE"):
        record(writer, 1)


def test_an_evaluation_goes_in_whole_or_not_at_all(writer: Writer, path: Path) -> None:
    record(writer, 1)
    with pytest.raises(StoreError):
        record(writer, 1, DEEP, purpose=None)  # type: ignore[arg-type]
    with Reader(path) as reader:
        assert reader.counts()["genome"] == 1
        assert reader.counts()["event"] == 3  # a run started, resumed, and one evaluation


def test_equal_specifications_are_one_run(writer: Writer) -> None:
    first, began = writer.begin_run(SPEC)
    again, spec = writer.begin_run(msgspec.structs.replace(SPEC, seeds=("shallow", "f" * 64)))
    other, _ = writer.begin_run(msgspec.structs.replace(SPEC, seed=2))
    assert first == again != other
    assert spec == began == SPEC  # a run keeps the seeds that it began with


def test_a_store_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "eqmesh.db.lock").mkdir()
    with pytest.raises(StoreError, match="can be written"):
        Writer(tmp_path / "eqmesh.db", now=lambda: 0.0)


def test_a_full_disk_is_told_and_loses_nothing(writer: Writer, path: Path) -> None:
    record(writer, 0)
    (pages,) = writer._connection.execute("PRAGMA page_count").fetchone()
    writer._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="make room"):
        list(map(partial(record, writer), range(1, 500)))
    with Reader(path) as reader:
        rows = reader.evaluations()
        assert [row.ask for row in rows] == list(range(len(rows)))
        kinds = [event.kind for event in reader.events()]
        assert kinds.count("evaluation.finished") == len(rows)


def test_a_run_keeps_the_calibration_that_it_began_with(writer: Writer) -> None:
    run, _ = writer.begin_run(SPEC)
    assert writer.calibrate_run(run, CALIBRATION) == CALIBRATION
    later = msgspec.structs.replace(CALIBRATION, seconds_per_call=1.0)
    assert writer.calibrate_run(run, later) == CALIBRATION


def test_the_run_worked_on_last_comes_last(writer: Writer, path: Path) -> None:
    first, _ = writer.begin_run(SPEC)
    second, _ = writer.begin_run(msgspec.structs.replace(SPEC, seed=2))
    with Reader(path) as reader:
        assert reader.run().id == second
    writer.begin_run(SPEC)
    with Reader(path) as reader:
        assert reader.run().id == first
        assert reader.run(second).seed == 2
        with pytest.raises(NotFoundError, match="no run 9"):
            reader.run(9)


@pytest.mark.parametrize("table", ["event", "evaluation"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET rowid = 99", "DELETE FROM {}"])
def test_the_record_is_append_only(writer: Writer, path: Path, table: str, verb: str) -> None:
    record(writer, 1)
    connection = sqlite3.connect(path)
    try:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(verb.format(table))
    finally:
        connection.close()


def test_a_second_writer_is_kept_out(writer: Writer, path: Path) -> None:
    with pytest.raises(StoreError, match="another eqmesh"):
        Writer(path, now=lambda: 0.0)


def test_a_reader_cannot_write(writer: Writer, path: Path) -> None:
    with Reader(path) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM run")


def test_a_missing_store_names_what_makes_one(path: Path) -> None:
    with pytest.raises(StoreError, match="eqmesh search"):
        Reader(path)
    assert not path.exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        Writer(tmp_path / "nowhere" / "eqmesh.db", now=lambda: 0.0)


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at" * 20, b""])
def test_another_file_is_not_taken_for_a_store(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match="store"):
        Reader(path)


def test_another_database_is_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another database"):
        Writer(path, now=lambda: 0.0)
    assert path.read_bytes() == before


def test_a_newer_store_is_refused_in_words(path: Path) -> None:
    Writer(path, now=lambda: 0.0).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {newest_schema() + 1}")
    connection.close()
    with pytest.raises(StoreError, match="Update eqmesh"):
        Reader(path)
    with pytest.raises(StoreError, match="Update eqmesh"):
        Writer(path, now=lambda: 0.0)


def test_an_id_is_found_by_its_first_digits(writer: Writer, path: Path) -> None:
    record(writer, 0)
    with Reader(path) as reader:
        assert reader.resolve(SHALLOW.id[:8].upper()) == SHALLOW.id
        with pytest.raises(NotFoundError, match="at least 6"):
            reader.resolve("abc")
        with pytest.raises(NotFoundError, match="no genome starts"):
            reader.resolve("000000000")
        with pytest.raises(NotFoundError, match="has no genome"):
            reader.genome("0" * 64)
        with pytest.raises(NotFoundError, match="has no evaluation"):
            reader.result(77)


def test_an_import_is_taken_once(writer: Writer, path: Path) -> None:
    birth = Birth((), "import/1", 0)
    assert writer.import_genome(DEEP, birth)
    assert not writer.import_genome(DEEP, birth)
    with Reader(path) as reader:
        assert [event.kind for event in reader.events()] == ["genome.imported"]
        assert set(reader.genomes()) == {DEEP.id}


def test_readers_never_see_a_lock_while_the_writer_writes(writer: Writer, path: Path) -> None:
    """The long form, eight readers for a minute, is tests/bench/readers.py."""
    record(writer, 0)
    troubles: list[Exception] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                with Reader(path) as reader:
                    rows = reader.evaluations()
                    assert rows
                    assert all(row.objectives for row in rows), "an evaluation is read whole"
        except (sqlite3.Error, StoreError, AssertionError) as error:
            troubles.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for ask in range(1, 200):
        record(writer, ask)
    stop.set()
    for thread in threads:
        thread.join()
    assert troubles == []


def test_an_older_store_is_not_read_before_it_was_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.executescript(
            resources.files("node.store.schema").joinpath("0001.sql").read_text(encoding="utf-8")
        )
        made.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;")
    with pytest.raises(StoreError, match="schema 1"):
        Reader(path)
    Writer(path, now=lambda: 0.0).close()
    with Reader(path) as reader:
        assert reader.beliefs() == (None, [])

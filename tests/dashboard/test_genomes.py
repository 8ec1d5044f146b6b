"""The table of genomes and the page of one: filters, pages, differences, intervals; and in a browser."""

import operator
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from starlette.testclient import TestClient

from evaluator.jobs import Failure
from genome import MLP, Birth, Genome, diff
from genome.variation import draw
from node.comparison import interval as with_scipy
from node.errors import NotFoundError
from node.front import front_of, standings
from node.store.board import Board
from node.store.board.filters import FilterError, parse
from node.store.board.fronts import cloud, front_rows, genomes_of
from node.store.board.genome import genome_detail, interval, training
from node.store.board.genomes import Page, Query, count, page, resolve
from node.store.board.runs import RunHead, choose
from node.store.records import Reader
from node.store.writer import Writer
from tests.dashboard.conftest import Served, axe, make_client
from tests.support.bigstore import make_big_store
from tests.support.meshstore import PEERS

OpenPage = Callable[..., object]


@pytest.fixture
def board(searched: Path) -> Iterator[Board]:
    with Board(searched) as opened:
        yield opened


@pytest.fixture
def run(board: Board) -> RunHead:
    found = choose(board, None).run
    assert found is not None
    return found


# Filters


def test_a_filter_is_read_as_tests() -> None:
    found = parse('depth >= 2 and optimizer=adam, lr_adam<1e-2 & estimate != "one-sided"')
    assert [(each.name, each.op, each.value) for each in found] == [
        ("depth", ">=", 2),
        ("optimizer", "=", "adam"),
        ("lr_adam", "<", 0.01),
        ("estimate", "!=", "one-sided"),
    ]
    assert parse("  ") == ()
    assert parse("id = 0123456")[0].raw == "0123456"


@pytest.mark.parametrize(
    "text",
    ["depth", "depth >=", ">= 2", "depth = 2 or a = 1", "depth = 2 and", "a = 1,", "x" * 401, "a=1," * 9],
)
def test_what_is_no_filter_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(FilterError, match="filter"):
        parse(text)


def values_by_id(path: Path, run: RunHead) -> dict[str, tuple[Genome, dict[str, float]]]:
    """Genomes of the run with the values of their first evaluation, as the plain reader gives them."""
    found: dict[str, tuple[Genome, dict[str, float]]] = {}
    with Reader(path) as reader:
        for row in reader.evaluations(run=run.id):
            if row.purpose in ("baseline", "search"):
                found.setdefault(row.genome, (reader.genome(row.genome), row.objectives))
    return found


@pytest.mark.parametrize(
    "text", ["batch >= 64", "optimizer = adam and depth < 2", "accuracy > 0.3", "width3 != 8"]
)
def test_rows_are_those_that_pass_every_test(board: Board, searched: Path, run: RunHead, text: str) -> None:
    ops = {">=": operator.ge, "<": operator.lt, ">": operator.gt, "=": operator.eq, "!=": operator.ne}
    expected = set()
    for id_, (genome, objectives) in values_by_id(searched, run).items():
        found = [(objectives.get(each.name, genome.get(each.name)), each) for each in parse(text)]
        # A test of a gene that is not expressed is false, of whatever kind.
        if all(value is not None and ops[each.op](value, each.value) for value, each in found):
            expected.add(id_)
    query = Query(where=text)
    assert {line.id for line in page(board, run, query, ()).rows} == expected
    assert count(board, run, query, ()).matching == len(expected)


def test_where_nothing_matches_it_says_what_each_test_keeps_away(board: Board, run: RunHead) -> None:
    every = count(board, run, Query(), ())
    found = count(board, run, Query(where="depth >= 1 and accuracy > 2", standing="front"), ())
    assert (every.total, every.matching, every.without) == (every.total, every.total, ())
    assert (found.total, found.matching) == (every.total, 0)
    assert dict(found.without)["depth >= 1"] == 0
    assert [text for text, _ in found.without] == ["depth >= 1", "accuracy > 2", "standing = front"]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("dept = 2", "Did you mean 'depth'"),
        ("standing > front", "compare it with ="),
        ("standing = good", "one of front"),
    ],
)
def test_a_filter_of_unknown_names_is_refused(client: TestClient, where: str, said: str) -> None:
    answer = client.get("/api/genomes", params={"where": where})
    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    "params", [{"sort": "nothing"}, {"after": "[1"}, {"scope": "all"}, {"limit": "x"}, {"where": "a" * 700}]
)
def test_what_the_table_does_not_have_is_refused(client: TestClient, params: dict[str, str]) -> None:
    assert client.get("/api/genomes", params=params).status_code == 400


# Pages


@pytest.mark.parametrize("sort", ["recorded", "born", "accuracy", "lr_adam", "width2"])
@pytest.mark.parametrize("descending", [True, False])
def test_pages_hold_each_row_once_in_order_and_lead_back(
    board: Board, run: RunHead, sort: str, descending: bool
) -> None:
    def ask(after: str = "", before: str = "") -> Page:
        return page(
            board, run, Query(sort=sort, descending=descending, limit=4, after=after, before=before), ()
        )

    pages = [ask()]
    while pages[-1].next:
        pages.append(ask(after=pages[-1].next))
    ids = [line.id for each in pages for line in each.rows]
    whole = page(board, run, Query(sort=sort, descending=descending, limit=500), ())
    assert ids == [line.id for line in whole.rows]
    assert len(ids) == len(set(ids)) == count(board, run, Query(), ()).total > 8
    keys = [line.objectives.get(sort, line.genes.get(sort)) for line in whole.rows]
    known = [key for key in keys if key is not None]
    if sort not in ("recorded", "born"):
        assert known == sorted(known, reverse=descending)
        assert keys[: len(known)] == known  # rows without a value come last
    assert [line.id for line in ask(before=pages[-1].previous).rows] == [line.id for line in pages[-2].rows]
    assert (pages[0].previous, pages[-1].next) == ("", "")


def test_the_front_of_the_table_is_the_front(board: Board, searched: Path, run: RunHead) -> None:
    with Reader(searched) as reader:
        rows = reader.evaluations(run=run.id)
    expected = {standing.genome for standing in front_of(standings(rows), run.objectives)}
    found = cloud(board, run)
    front = genomes_of(board, found, front_rows(found))
    assert front == expected
    lines = page(board, run, Query(standing="front"), front).rows
    assert {line.id for line in lines} == expected
    assert {line.standing for line in page(board, run, Query(standing="baseline"), front).rows} == {
        "baseline"
    }


def test_the_whole_store_has_genomes_that_the_run_did_not_evaluate(mesh_store: Path) -> None:
    with Board(mesh_store) as board:
        run = choose(board, None).run
        of_run, of_store = (count(board, run, Query(scope=scope), ()) for scope in ("run", "store"))
        assert (of_run.total, of_store.total) == (20, 52)
        lines = page(board, run, Query(scope="store", standing="unevaluated", limit=500), ()).rows
        assert (len(lines), {line.born for line in lines}) == (32, {None})


def test_a_genome_is_named_by_the_start_of_its_id(board: Board, run: RunHead) -> None:
    line = page(board, run, Query(limit=1), ()).rows[0]
    assert resolve(board, line.id[:12]) == resolve(board, line.id.upper()) == line.id
    for text in ("", "12345", "zzzzzzzz", "ffffffffffff%", "0" * 64):
        with pytest.raises(NotFoundError):
            resolve(board, text)


# One genome


def test_genes_stand_beside_the_parents_as_diff_has_it(tmp_path: Path) -> None:
    make_big_store(tmp_path / "s.db", 120)
    with Board(tmp_path / "s.db") as board, Reader(tmp_path / "s.db") as reader:
        run = choose(board, None).run
        rows = [line for line in page(board, run, Query(limit=500), ()).rows if line.parents]
        assert {len(line.parents) for line in rows} == {1, 2}
        for line in rows[:40]:
            found = genome_detail(board, line.id, 0.0)
            own, parents = reader.genome(line.id), [reader.genome(parent) for parent in found.parents]
            differing = {change.gene for parent in parents for change in diff(parent, own)}
            assert {gene.name for gene in found.genes if gene.changed} == differing
            for gene in found.genes:
                beside = tuple(parent.get(gene.name) for parent in parents)
                assert (gene.value, gene.parents) == (own.get(gene.name), beside)
                assert gene.card is not None
            assert all(line.id in genome_detail(board, parent, 0.0).children for parent in found.parents)


def test_fresh_seeds_give_intervals_and_a_training_its_curve(board: Board, searched: Path) -> None:
    (id_,) = board.connection.execute(
        "SELECT genome FROM evaluation WHERE purpose = 'rescore' LIMIT 1"
    ).fetchone()
    found = genome_detail(board, id_, 0.0)
    with Reader(searched) as reader:
        values = [
            row.objectives["accuracy"]
            for row in reader.evaluations_of(id_)
            if row.purpose == "rescore" and not row.failure
        ]
        first = reader.result(found.evaluations[0].id)
    made = found.fresh[found.evaluations[0].run]["accuracy"]
    expected = with_scipy(values)
    assert (made.n, made.mean, made.deviation) == (len(values), expected.mean, expected.deviation)
    assert made.half_width == pytest.approx(expected.half_width, rel=1e-4)
    told = training(board, found.evaluations[0].id)
    assert told.curve["accuracy"] == [point.accuracy for point in first.curve]  # type: ignore[union-attr]
    assert {len(column) for column in told.curve.values()} == {len(first.curve)}  # type: ignore[union-attr]
    assert told.settling["verdict"] == first.settling.verdict  # type: ignore[union-attr]


@pytest.mark.parametrize("n", [2, 3, 10, 31, 60])
def test_intervals_are_students(n: int) -> None:
    values = [(7 * k % 11) / 10 for k in range(n)]
    found, expected = interval(values), with_scipy(values)
    # Beyond 31 values the normal quantile stands in for Student's.
    assert found.half_width == pytest.approx(expected.half_width, rel=1e-3 if n <= 31 else 0.05)
    assert interval([1.0]).half_width is None


def test_figures_that_another_version_records_are_shown_too(store: Path) -> None:
    with Board(store) as board:
        (evaluation, body) = board.connection.execute("SELECT id, body FROM evaluation LIMIT 1").fetchone()
    plain = msgspec.msgpack.decode(body)
    plain["curve"] = [
        {"epoch": 1, "news": {"w0-1": 0.5, "w1-2": 2}, "list": [3.0], "word": "x"},
        {"epoch": 2, "loss": 0.25},
    ]
    with sqlite3.connect(store) as writing:
        writing.execute("DROP TRIGGER evaluation_is_append_only_update")
        writing.execute(
            "UPDATE evaluation SET body = ? WHERE id = ?", (msgspec.msgpack.encode(plain), evaluation)
        )
    with Board(store) as board:
        curve = training(board, evaluation).curve
    assert curve == {
        "epoch": [1, 2],
        "news.w0-1": [0.5, None],
        "news.w1-2": [2, None],
        "list.0": [3, None],
        "loss": [None, 0.25],
    }


def test_an_exported_genome_is_one_again(client: TestClient, board: Board, run: RunHead) -> None:
    line = page(board, run, Query(limit=1), ()).rows[0]
    answer = client.get(f"/api/genome/{line.id[:12]}/export")
    document = answer.json()
    assert "attachment" in answer.headers["content-disposition"]
    assert document.pop("genome") == Genome.from_json(document).id == line.id


def test_pages_answer_and_what_is_not_there_is_not_found(
    client: TestClient, board: Board, run: RunHead
) -> None:
    line = page(board, run, Query(limit=1), ()).rows[0]
    assert client.get("/genomes").status_code == client.get(f"/genome/{line.id[:8]}").status_code == 200
    told = client.get(f"/api/genome/{line.id}").json()
    # Seeds have more bits than a browser's numbers: what would be rounded is text.
    assert {type(each["seed"]) for each in told["evaluations"]} <= {str, int}
    assert all(abs(each["seed"]) < 2**53 for each in told["evaluations"] if isinstance(each["seed"], int))
    for path in (
        "/genome/00000000",
        "/api/genome/00000000",
        "/api/evaluation/99999999/training",
        f"/api/evaluation/{2**70}/training",
        "/api/genome/zz/export",
    ):
        assert client.get(path).status_code == 404


def test_an_empty_store_has_an_empty_table(tmp_path: Path) -> None:
    with Writer(tmp_path / "empty.db", now=lambda: 1.0):
        pass
    with make_client(tmp_path / "empty.db") as asking:
        told = asking.get("/api/genomes").json()
        assert (told["rows"], told["next"], told["previous"], told["run"]) == ([], "", "", None)
        assert asking.get("/api/genomes/count", params={"where": "depth > 1"}).json()["total"] == 0
        assert asking.get("/genomes").status_code == 200


def test_a_failure_is_told_in_full(client: TestClient, store: Path, tmp_path: Path) -> None:
    genome = draw(MLP, seed=12345)
    with Writer(store, now=lambda: 1.8e9) as writer:
        (run, task_id) = sqlite3.connect(store).execute("SELECT id, task_id FROM run").fetchone()
        failure = Failure(
            number=0, genome=genome.id, task="digits", task_id=task_id, tier="smoke", seed=5, arithmetic="fp32",
            purpose="search", kind="diverged", detail="at step 7 <b>\u202e",
        )  # fmt: skip
        writer.record(run, 900, "search", genome, Birth((), "random/1", 12345), failure)
    with make_client(store) as asking:
        (row,) = asking.get("/api/genomes", params={"where": "failure = diverged"}).json()["rows"]
        told = asking.get(f"/api/genome/{genome.id}").json()["evaluations"][0]
    assert (row["id"], row["standing"], row["failure"]) == (genome.id, "failed", "diverged")
    assert (told["failure"], told["detail"]) == ("diverged", "at step 7 <b>")


# In a browser


@pytest.mark.browser
def test_the_table_is_walked_by_keys_and_a_filter_that_matches_nothing_says_what_to_drop(
    open_page: OpenPage,
) -> None:
    shown = open_page("/genomes?columns=lr_adam,operator")
    shown.wait_for_selector("tbody tr")
    for key in ("j", "j", "j", "k"):
        shown.keyboard.press(key)
    chosen = shown.get_attribute("tr[aria-selected=true]", "data-id")
    assert chosen == shown.locator("tbody tr").nth(1).get_attribute("data-id")
    shown.keyboard.press("c")
    shown.wait_for_selector("tbody .tag >> text=compared")
    assert axe(shown) == []
    shown.fill("#where", "accuracy > 2 and batch >= 1")
    shown.keyboard.press("Enter")
    shown.wait_for_selector("text=None of")
    assert "where=" in shown.url
    shown.click("text=Without accuracy > 2")
    shown.wait_for_selector("tbody tr")
    shown.keyboard.press("Escape")
    shown.locator("tbody tr").first.focus()
    shown.keyboard.press("Enter")
    shown.wait_for_url("**/genome/**")


@pytest.mark.browser
@pytest.mark.parametrize(("theme", "width"), [("light", 360), ("neon", 1280)])
def test_the_page_of_a_genome_draws_its_training_and_says_why_nothing_can_be_verified(
    open_page: OpenPage, searched: Path, theme: str, width: int
) -> None:
    with Board(searched) as board:
        (id_,) = board.connection.execute(
            "SELECT genome FROM evaluation WHERE purpose = 'rescore' LIMIT 1"
        ).fetchone()
    shown = open_page(f"/genome/{id_}", theme=theme, width=width)
    shown.wait_for_selector(".plot canvas")
    assert shown.is_disabled("#verify")
    assert "running search" in shown.text_content("#verify-why")
    assert shown.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert axe(shown) == []


@pytest.mark.browser
def test_a_peers_text_stays_text(open_page: OpenPage, served_mesh: Served) -> None:
    shown = open_page(f"/peer/{PEERS['hostile']}", dashboard=served_mesh)
    shown.wait_for_selector(".claim")
    text = shown.text_content("#peer")
    assert "<img src=x onerror=alert(1)>" in text
    assert "\u202e" not in text and "\0" not in text
    assert shown.locator("#peer img").count() == 0
    assert axe(shown) == []

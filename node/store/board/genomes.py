"""Genomes in a table: filtered, sorted and paged in SQL, so that a page of 100,000 costs what a page costs."""

import difflib
import sqlite3
from collections.abc import Callable, Collection
from typing import Final, Literal

import msgspec

from evaluator.objectives import Objective
from genome import Genome, Value
from genome.spaces import SPACES
from node.errors import NotFoundError
from node.store.board.board import Board
from node.store.board.filters import Clause, FilterError, parse
from node.store.board.runs import RunHead
from node.text import summary

__all__ = [
    "STANDINGS",
    "Counted",
    "GenomeLine",
    "Page",
    "Query",
    "count",
    "known_names",
    "page",
    "resolve",
]

Scope = Literal["run", "store"]
STANDINGS: Final = ("front", "dominated", "baseline", "failed", "unevaluated")
"""What became of a genome in a run; `unevaluated` ones were imported, or came from a peer."""
MOST_ROWS: Final = 500
_COLUMNS: Final = ("standing", "failure", "operator", "space", "task", "id")
_PREFIX = 6
_RECORDED = "recorded"
_BORN = "born"
# No strategy proposes a genome twice, so a run has one such evaluation a genome, or one as a baseline beside it.
_OF_RUN = "run = :run AND purpose IN ('baseline', 'search')"
_STANDING = (
    "CASE WHEN r.evaluation IS NULL THEN 'unevaluated' WHEN e.failure IS NOT NULL THEN 'failed'"
    " WHEN e.purpose = 'baseline' THEN 'baseline' WHEN on_front(r.genome) THEN 'front' ELSE 'dominated' END"
)
_BIRTH = "LEFT JOIN birth b ON b.genome = r.genome AND b.born = (SELECT min(born) FROM birth WHERE genome = r.genome)"
_EVALUATION = "LEFT JOIN evaluation e ON e.id = r.evaluation"
_GENOME = "JOIN genome g ON g.id = r.genome"


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows of the table. `scope` run: genomes that the run evaluated; store: all that the store has.

    `sort` is "recorded" (order of results), "born", an objective or a gene. `after` and `before` are cursors of an
    earlier page, at most one given. `standing` is one of STANDINGS, or empty.
    """

    scope: Scope = "run"
    where: str = ""
    standing: str = ""
    sort: str = _RECORDED
    descending: bool = True
    after: str = ""
    before: str = ""
    limit: int = 100


class GenomeLine(msgspec.Struct, frozen=True, kw_only=True):
    """One row: what a genome is, where it came from, and what it achieved in the run."""

    id: str
    space: str
    summary: str
    born: int | None
    operator: str
    parents: tuple[str, ...]
    standing: str
    failure: str
    objectives: dict[str, float]
    genes: dict[str, Value]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one page, and the cursors of its neighbours ("" where there is none)."""

    rows: tuple[GenomeLine, ...]
    next: str
    previous: str


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows there are and match; where none does, how many would without each test alone."""

    total: int
    matching: int
    without: tuple[tuple[str, int], ...]


class _Made(msgspec.Struct, frozen=True, kw_only=True):
    """SQL that tests rows: the joins that it needs, one condition a test, and its values by name."""

    joins: tuple[str, ...]
    tests: tuple[str, ...]
    values: dict[str, object]


class _Order(msgspec.Struct, frozen=True, kw_only=True):
    """SQL of a sort's key and the joins that it needs; a `plain` key is never missing, and no two rows share it."""

    key: str
    joins: tuple[str, ...]
    plain: bool = False


def known_names(board: Board, run: RunHead | None) -> dict[str, tuple[str, ...]]:
    """Names that a filter may use: objectives of the run, genes of the spaces in the store, and columns."""
    spaces = {name for (name,) in board.connection.execute("SELECT DISTINCT space FROM run")}
    genes: dict[str, None] = {}
    for space in SPACES.values():
        if space.id in spaces or not spaces:
            genes |= dict.fromkeys(gene.name for gene in space.genes)
    # A space of one's own is code that is not loaded here: its genes are read off some of its genomes.
    for (body,) in board.connection.execute("SELECT body FROM genome LIMIT 64"):
        genes |= dict.fromkeys(name for name, _ in Genome.decode(body).values)
    objectives = () if run is None else tuple(objective.name for objective in run.objectives)
    return {"objectives": objectives, "genes": tuple(genes), "columns": _COLUMNS}


def page(board: Board, run: RunHead | None, query: Query, front: Collection[str]) -> Page:
    """One page of the table. `front` holds the ids on the run's front. Raises FilterError."""
    made = _tests(board, run, query, front)
    order = _order(board, run, query)
    cursor = _cursor(query.after or query.before)
    backwards = bool(query.before)
    descending = query.descending != backwards
    where = [*made.tests]
    values = {**made.values, "run": None if run is None else run.id, "sort": query.sort}
    if cursor is not None:
        test, bound = _beyond(cursor, order, descending=descending, backwards=backwards)
        where.append(test)
        values |= bound
    limit = max(1, min(query.limit, MOST_ROWS))
    joins = " ".join(dict.fromkeys((*order.joins, *made.joins)))
    found = _execute(
        board,
        f"{_rows(query.scope)} SELECT {order.key} AS key, r.genome, r.evaluation FROM r {joins}"
        f" WHERE {' AND '.join(where) or '1'} ORDER BY {_ordering(order, descending, backwards)} LIMIT {limit + 1}",
        values,
    )
    more = len(found) > limit
    found = found[:limit]
    if backwards:
        found.reverse()
    after, before = (True, more) if backwards else (more, cursor is not None)
    return Page(
        rows=tuple(_lines(board, run, found)),
        next=_write(found[-1]) if found and after else "",
        previous=_write(found[0]) if found and before else "",
    )


def count(board: Board, run: RunHead | None, query: Query, front: Collection[str]) -> Counted:
    """How many rows there are, how many match, and where none does, which test keeps how many away."""
    made = _tests(board, run, query, front)
    values = {**made.values, "run": None if run is None else run.id}
    base = f"FROM r {' '.join(made.joins)}"
    everything = " AND ".join(made.tests) or "1"
    # sum() of no rows is NULL, and so is a test that meets a gene that is not expressed.
    sums = [f"coalesce(sum(coalesce({everything}, 0)), 0)"]
    for left_out in range(len(made.tests)):
        others = " AND ".join(test for number, test in enumerate(made.tests) if number != left_out) or "1"
        sums.append(f"coalesce(sum(coalesce({others}, 0)), 0)")
    ((total, matching, *without),) = _execute(
        board, f"{_rows(query.scope)} SELECT count(*), {', '.join(sums)} {base}", values
    )
    texts = [clause.text for clause in parse(query.where)]
    if query.standing:
        texts.append(f"standing = {query.standing}")
    return Counted(
        total=int(str(total)),
        matching=int(str(matching)),
        without=tuple(
            (text, int(str(number))) for text, number in zip(texts, without, strict=True) if not matching
        ),
    )


def resolve(board: Board, text: str) -> str:
    """The id that starts with `text` (at least six digits). Raises NotFoundError."""
    lower = text.lower()
    plain = len(text) >= _PREFIX and all(digit in "0123456789abcdef" for digit in lower)
    rows = (
        board.connection.execute(
            "SELECT id FROM genome WHERE id >= ? AND id < ? LIMIT 2", (lower, lower + "g")
        )
        if plain
        else []
    )
    found = [str(id_) for (id_,) in rows]
    if len(found) != 1:
        what = f"several genomes start with {text!r}" if found else f"no genome starts with {text[:64]!r}"
        raise NotFoundError(
            f"{what} in {board.path}. Give at least six digits of an id that the table lists."
        )
    return found[0]


# SQL


def _rows(scope: Scope) -> str:
    if scope == "run":
        return f"WITH r AS NOT MATERIALIZED (SELECT genome, id AS evaluation FROM evaluation WHERE {_OF_RUN})"
    return (
        "WITH r AS NOT MATERIALIZED (SELECT g.id AS genome, (SELECT min(id) FROM evaluation WHERE genome = g.id"
        f" AND {_OF_RUN}) AS evaluation FROM genome g)"
    )


def _tests(board: Board, run: RunHead | None, query: Query, front: Collection[str]) -> _Made:
    _teach(board.connection, front)
    names = known_names(board, run)
    joins: dict[str, None] = {}
    tests: list[str] = []
    values: dict[str, object] = {}
    clauses = [*parse(query.where)]
    if query.standing:
        clauses.append(
            Clause(name="standing", op="=", value=query.standing, raw=query.standing, text="standing")
        )
    for number, clause in enumerate(clauses):
        needs, test = _test(clause, f"v{number}", f"n{number}", names)
        joins |= dict.fromkeys(needs)
        tests.append(test)
        # An id may look like a number: what is compared as a word is taken as it was typed.
        values |= {
            f"v{number}": clause.raw if clause.name in _COLUMNS else clause.value,
            f"n{number}": clause.name,
        }
    return _Made(joins=tuple(joins), tests=tuple(tests), values=values)


def _test(
    clause: Clause, value: str, name: str, names: dict[str, tuple[str, ...]]
) -> tuple[tuple[str, ...], str]:
    """The joins that one test needs, and its SQL; the values it compares with are bound by name."""
    if clause.name in names["objectives"]:
        chosen = f"(SELECT o.value FROM objective o WHERE o.evaluation = r.evaluation AND o.name = :{name})"
        return (), f"{chosen} {clause.op} :{value}"
    if clause.name in names["genes"]:
        return (_GENOME,), f"gene(g.body, :{name}) {clause.op} :{value}"
    if clause.name not in _COLUMNS:
        every = [*names["objectives"], *_COLUMNS, *names["genes"]]
        near = difflib.get_close_matches(clause.name, every, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise FilterError(
            f"a filter names an objective ({', '.join(names['objectives']) or 'none here'}), a gene or one of "
            f"{', '.join(_COLUMNS)}; got {clause.name!r}.{hint}"
        )
    if clause.op not in ("=", "!="):
        raise FilterError(f"{clause.name!r} is a word: compare it with = or !=, got {clause.op!r}.")
    return _column(clause, value)


def _column(clause: Clause, value: str) -> tuple[tuple[str, ...], str]:
    turn = "" if clause.op == "=" else "NOT "
    match clause.name:
        case "standing":
            if clause.value not in STANDINGS:
                raise FilterError(f"standing is one of {', '.join(STANDINGS)}, got {clause.value!r}.")
            return (_EVALUATION,), f"{_STANDING} {clause.op} :{value}"
        case "failure" if clause.value in ("any", "none"):
            failed = turn if clause.value == "any" else ("NOT " if not turn else "")
            return (_EVALUATION,), f"{failed}(e.failure IS NOT NULL)"
        case "failure":
            return (_EVALUATION,), f"coalesce(e.failure, '') {clause.op} :{value}"
        case "operator":
            return (
                _BIRTH,
            ), f"{turn}(coalesce(b.operator, '') = :{value} OR b.operator LIKE :{value} || '/%')"
        case "space":
            return (_GENOME,), f"{turn}(g.space = :{value} OR g.space LIKE :{value} || '/%')"
        case "task":
            return (), (
                f"{turn}EXISTS (SELECT 1 FROM evaluation t JOIN run ON run.id = t.run WHERE t.genome = r.genome"
                f" AND run.task = :{value})"
            )
    return (), f"{turn}(r.genome LIKE lower(:{value}) || '%')"


def _order(board: Board, run: RunHead | None, query: Query) -> _Order:
    """What a table is sorted by. Raises FilterError."""
    if query.sort == _RECORDED:
        # In a run, results are read along their own index, and a page costs no sorting.
        return _Order(key="r.evaluation", joins=(), plain=query.scope == "run")
    if query.sort == _BORN:
        return _Order(key="b.born", joins=(_BIRTH,))
    names = known_names(board, run)
    if query.sort in names["objectives"]:
        key = "(SELECT o.value FROM objective o WHERE o.evaluation = r.evaluation AND o.name = :sort)"
        return _Order(key=key, joins=())
    if query.sort in names["genes"]:
        return _Order(key="gene(g.body, :sort)", joins=(_GENOME,))
    raise FilterError(
        f"a table is sorted by {_RECORDED}, {_BORN}, an objective or a gene, got {query.sort[:64]!r}."
    )


def _ordering(order: _Order, descending: bool, backwards: bool) -> str:
    direction = "DESC" if descending else "ASC"
    if order.plain:
        return f"key {direction}"
    # What has no value comes last in both directions, and first where one walks back.
    return f"key IS NULL {'DESC' if backwards else 'ASC'}, key {direction}, r.genome {direction}"


def _teach(connection: sqlite3.Connection, front: Collection[str]) -> None:
    """Give SQL two functions: the value of a gene of an encoded genome, and whether a genome is on the front."""
    connection.create_function("gene", 2, _gene_reader(), deterministic=True)
    ids = frozenset(front)
    connection.create_function("on_front", 1, lambda genome: genome in ids, deterministic=True)


def _gene_reader() -> Callable[[bytes, str], Value | None]:
    """Reads a gene of canonical bytes; several tests of one row decode them once."""
    last: tuple[bytes, dict[str, Value]] = (b"", {})

    def read(body: bytes, name: str) -> Value | None:
        nonlocal last
        if body != last[0]:
            # The store checked these bytes when it took them: decoding them again as a Genome is eight times slower.
            last = (body, msgspec.msgpack.decode(body)[3])
        return last[1].get(name)

    return read


def _execute(board: Board, text: str, values: dict[str, object]) -> list[tuple[object, ...]]:
    # SQLite refuses values that the text does not name.
    return board.connection.execute(
        text, {name: v for name, v in values.items() if f":{name}" in text}
    ).fetchall()


# Pages


def _write(row: tuple[object, ...]) -> str:
    """A cursor: sort value and id of a row."""
    return msgspec.json.encode(row[:2]).decode()


def _cursor(text: str) -> tuple[float | int | str | None, str] | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=tuple[float | int | str | None, str])
    except msgspec.MsgspecError as error:
        raise FilterError(
            f"a page's cursor is what an earlier page gave, got {text[:64]!r} ({error}). Begin at the first page."
        ) from error


def _beyond(
    cursor: tuple[float | int | str | None, str], order: _Order, *, descending: bool, backwards: bool
) -> tuple[str, dict[str, object]]:
    """Rows beyond the cursor in the direction of reading; those without a value are the last ones read forwards."""
    key, genome = cursor
    sign = "<" if descending else ">"
    if order.plain:
        return f"{order.key} {sign} :key", {"key": key}
    bound: dict[str, object] = {"key": key, "from": genome}
    if key is None:
        rest = " OR key IS NOT NULL" if backwards else ""
        return f"((key IS NULL AND r.genome {sign} :from){rest})", bound
    rest = "" if backwards else " OR key IS NULL"
    return f"(key {sign} :key OR (key = :key AND r.genome {sign} :from){rest})", bound


def _lines(board: Board, run: RunHead | None, found: list[tuple[object, ...]]) -> list[GenomeLine]:
    objectives: tuple[Objective, ...] = () if run is None else run.objectives
    text = (
        "WITH r AS (SELECT :genome AS genome, :evaluation AS evaluation)"
        " SELECT r.genome, g.body, b.born, b.operator, b.parent1, b.parent2, r.evaluation, e.failure,"
        f" {_STANDING} FROM r {_GENOME} {_BIRTH} {_EVALUATION}"
    )
    rows = (
        board.connection.execute(text, {"genome": genome, "evaluation": evaluation}).fetchone()
        for _, genome, evaluation in found
    )
    return [_line(board, row, objectives) for row in rows]


def _line(board: Board, row: tuple[object, ...], objectives: tuple[Objective, ...]) -> GenomeLine:
    id_, body, born, operator, first, second, evaluation, failure, standing = row
    assert isinstance(body, bytes)
    genome = Genome.decode(body)
    values = dict(
        board.connection.execute("SELECT name, value FROM objective WHERE evaluation = ?", (evaluation,))
    )
    return GenomeLine(
        id=str(id_),
        space=genome.space,
        summary=summary(genome),
        born=None if born is None else int(str(born)),
        operator="" if operator is None else str(operator),
        parents=tuple(str(parent) for parent in (first, second) if parent is not None),
        standing=str(standing),
        failure="" if failure is None else str(failure),
        objectives={o.name: values[o.name] for o in objectives if o.name in values},
        genes=dict(genome.values),
    )

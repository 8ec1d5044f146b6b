"""A store in the terminal: the run, what its node does, the front, peers, what happened last."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dashboard.node import ask_node
from dashboard.text import clean
from node import output
from node.orders import NodeState, Status, control_path
from node.settings import identity_path
from node.store.board import Board
from node.store.board.events import newest_events
from node.store.board.fronts import cloud, front_rows, hypervolume_of, named, values_of
from node.store.board.resources import pace
from node.store.board.runs import Counts, RunHead, choose, counts
from node.store.rows import EventRow
from node.text import number, short

__all__ = ["Front", "Glance", "Watcher", "show"]

_EVERY_S = 1.0
_MOST_FRONT = 12
_MOST_EVENTS = 8


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A genome of the front: means over `n` fresh seeds, or as selected where `n` is 0."""

    genome: str
    summary: str
    values: dict[str, float]
    n: int


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """The run's own front, the best first; at most twelve members of `size`."""

    size: int
    hypervolume: float
    failed: int
    members: tuple[Member, ...]


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """All that one look at a store shows. `node` is None where no search and no node runs on it."""

    store: str
    run: RunHead | None
    counts: Counts
    last_hour: int
    front: Front | None
    node: NodeState | None
    events: tuple[EventRow, ...]


class Watcher:
    """Looks at a store again and again; a front is made anew only when there are new results."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._front: tuple[tuple[int, int], Front] | None = None

    def glance(self) -> Glance:
        """The store as it is now. Raises BoardError."""
        node = asyncio.run(ask_node(control_path(self._store, identity_path().parent), Status()))
        with Board(self._store) as board:
            run, found = choose(board, None).run, counts(board)
            return Glance(
                store=str(self._store),
                run=run,
                counts=found,
                last_hour=pace(board).last_hour,
                front=self._front_of(board, run, found) if run is not None else None,
                node=node if isinstance(node, NodeState) else None,
                events=tuple(newest_events(board, _MOST_EVENTS)),
            )

    def _front_of(self, board: Board, run: RunHead, found: Counts) -> Front:
        state = (run.id, found.evaluations)
        if self._front is None or self._front[0] != state:
            self._front = (state, _front(board, run))
        return self._front[1]


def _front(board: Board, run: RunHead) -> Front:
    results = cloud(board, run)
    rows = front_rows(results)
    shown = rows[:_MOST_FRONT]
    names = {each.evaluation: each for each in named(board, [results.evaluations[row] for row in shown])}
    members = []
    for row in shown:
        genome = names[results.evaluations[row]]
        scored = results.scored.get(row)
        values = zip((each.name for each in run.objectives), values_of(results, row), strict=True)
        members.append(
            Member(
                genome=genome.genome, summary=genome.summary, values=dict(values), n=scored.n if scored else 0
            )
        )
    volume = hypervolume_of(run.objectives, [values_of(results, row) for row in rows])
    return Front(size=len(rows), hypervolume=volume, failed=results.failed, members=tuple(members))


def show(store: Path, *, once: bool, json: bool) -> None:
    """Show a store: as JSON, once, or once a second until Ctrl-C. Raises BoardError."""
    watcher = Watcher(store)
    glance = watcher.glance()
    if json:
        output.write_json(document(glance))
    elif once:
        Console(markup=False, highlight=False).print(drawn(glance))
    else:
        asyncio.run(_watch(watcher, glance))


def document(glance: Glance) -> dict[str, object]:
    """A look as plain data; bodies of events are objects."""
    plain: dict[str, object] = msgspec.to_builtins(glance)
    plain["events"] = [
        {**msgspec.to_builtins(row), "body": msgspec.Raw(row.body.encode())} for row in glance.events
    ]
    return plain


async def _watch(watcher: Watcher, glance: Glance) -> None:
    with Live(
        drawn(glance), console=Console(markup=False, highlight=False), auto_refresh=False, screen=True
    ) as live:
        while True:
            await asyncio.sleep(_EVERY_S)
            live.update(drawn(await asyncio.to_thread(watcher.glance)), refresh=True)


def drawn(glance: Glance) -> RenderableType:
    """A look as it stands in a terminal."""
    parts: list[RenderableType] = [_headline(glance)]
    if glance.run is None:
        parts.append(Text("no runs yet; `eqmesh search` begins one"))
    if glance.run is not None and glance.front is not None:
        parts += [Text(_figures(glance, glance.front)), _front_table(glance.run, glance.front)]
    if glance.events:
        parts.append(_events_table(glance.events))
    return Group(*parts)


def _headline(glance: Glance) -> Text:
    run, node = glance.run, glance.node
    words = [Text(clean(glance.store, 80), style="bold")]
    if run is not None:
        words.append(
            Text(
                f"run {run.id}: {clean(run.task, 40)} {clean(run.tier, 20)} {run.arithmetic} seed {run.seed}"
            )
        )
    doing = "not running" if node is None else node.doing
    style = {"running": "green", "scoring": "green", "serving": "green", "paused": "yellow"}.get(doing, "dim")
    words.append(Text(f"node {doing}", style=style))
    return Text("  ").join(words)


def _figures(glance: Glance, front: Front) -> str:
    found, node = glance.counts, glance.node
    limit = f"/{node.limit}" if node is not None and node.limit is not None else ""
    run = glance.run
    assert run is not None
    peers = f"   signed records {found.signed}   checks {found.findings}" if found.signed else ""
    return (
        f"evaluations {run.evaluations}{limit}   failed {front.failed}   last hour {glance.last_hour}   "
        f"front {front.size}   hypervolume {front.hypervolume:.4f}   births {found.births}{peers}"
    )


def _front_table(run: RunHead, front: Front) -> Table:
    made = Table(box=None, pad_edge=False)
    for name in ("genome", *(each.name for each in run.objectives), "n", "summary"):
        made.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1 if name == "summary" else None)
    for member in front.members:
        values = (number(member.values[each.name], each) for each in run.objectives)
        made.add_row(short(member.genome), *values, str(member.n), clean(member.summary, 80))
    if front.size > len(front.members):
        made.add_row("...", *("" for _ in run.objectives), "", f"and {front.size - len(front.members)} more")
    return made


def _events_table(events: tuple[EventRow, ...]) -> Table:
    made = Table(box=None, pad_edge=False)
    made.add_column("at (UTC)", no_wrap=True, min_width=8)
    made.add_column("event", no_wrap=True, min_width=max(len(clean(row.kind, 24)) for row in events))
    made.add_column("what", no_wrap=True, overflow="ellipsis")
    for row in events:
        made.add_row(datetime.fromtimestamp(row.at, UTC).strftime("%H:%M:%S"), clean(row.kind, 24), told(row))
    return made


def told(row: EventRow) -> str:
    """What an event says, in one short line; ids cut to what names them."""
    body = msgspec.json.decode(row.body, type=dict[str, object])
    words = []
    for name, value in body.items():
        if isinstance(value, dict):
            words.append(
                " ".join(
                    f"{each} {number(float(found))}" for each, found in value.items() if _is_number(found)
                )
            )
        elif isinstance(value, str) and len(value) == 64:
            words.append(f"{name} {short(value)}")
        elif value is not None and name != "run":
            words.append(f"{name} {value}")
    return clean("  ".join(words), 100)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

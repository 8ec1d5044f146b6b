"""Peers and claims as commands show them, orders to a running node, and claims that are trained again."""

import functools
import json
import os
import random
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from evaluator.jobs import CostLimits, Failure, Job, Outcome, Result, failure_of, objectives_fingerprint
from evaluator.pool import PoolSettings, open_pool
from evaluator.tasks import DatasetTask, resolve, task_id
from genome import Genome, preset
from node import control
from node.cli import main
from node.commands.doctor import bind_refusal
from node.commands.peers import named_peer
from node.commands.verify import REFUTED, VerifyError, compared, judged
from node.errors import NodeError, NotFoundError
from node.keyfile import load_or_make
from node.membership import Membership
from node.mesh import Judge, Trainings
from node.mesh.books import Books, read_ledger
from node.mesh.claimant import Signer
from node.mesh.front import Front
from node.mesh.intake import Intake
from node.protocol import merkle, trust
from node.protocol.claims import KERNELS, Accusation, Attestation, Birth, Claim, Signed, epoch_of
from node.protocol.identity import Identity, peer_id
from node.protocol.trust import Ledger, Stage, TrustSettings
from node.search import threaded_disk
from node.service import wall_clock
from node.settings import identity_path
from node.standing import known_peers, peer_rows, peer_standing
from node.store.beliefs import BeliefWriter
from node.store.records import Reader
from node.store.rows import RunSpec, SignedRow
from node.store.writer import Writer
from node.transports.base import Status, TransportError
from tests.support.outcomes import outcome
from tests.support.tasks import SPACE

ROOT = Path(__file__).parents[2]
BOWL = "tests.support.tasks:Bowl"
ALICE, BOB, CAROL = (Identity(bytes([number]) * 32) for number in (1, 2, 3))
NEAR = SPACE.genome({"a": 0.3, "b": 0.7, "mood": "good"})
CHEAP = SPACE.genome({"a": 0.0, "b": 0.0, "mood": "good"})
POOR = SPACE.genome({"a": 1.0, "b": 1.0, "mood": "good"})
DAY_S = 86_400.0

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run one command in a fresh folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EQMESH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return call


def values_of(genome: Genome) -> dict[str, float]:
    task = resolve(BOWL)
    assert not isinstance(task, DatasetTask)
    return task.measure(dict(genome.values), seed=0, tier=task.tier())


def spec_of(name: str = BOWL, tier: str = "full", arithmetic: str = "task") -> RunSpec:
    task = resolve(name)
    return RunSpec(
        seed=0,
        task=name,
        task_id=task_id(task, task.tier(tier)),
        tier=tier,
        space=task.space.id,
        space_source="",
        strategy="nsga2",
        arithmetic=arithmetic,  # type: ignore[arg-type] # one of the classes
        objectives=task.objectives,
        limits=CostLimits(),
        look_behind=None,
        baselines=(),
        seeds=(),
        population=16,
    )


@functools.cache
def signer_of(who: Identity) -> Signer:
    """One signer an identity: no two records have one number."""
    return Signer(who, now=wall_clock)


def claim_of(
    who: Identity, genome: Genome, objectives: dict[str, float] | None = None, **changes: Any
) -> tuple[Signed, Claim]:
    """What `who` signs about a bowl's genome, honest unless told otherwise."""
    stated = objectives or values_of(genome)
    now = wall_clock()
    fields: dict[str, Any] = {
        "task": bytes.fromhex(spec_of().task_id),
        "tier": "full",
        "epoch": epoch_of(now),
        "space": genome.space,
        "genome": bytes.fromhex(genome.id),
        "birth": Birth(parents=(), operator="random/1", seed=1),
        "kernels": KERNELS,
        "arithmetic": "task",
        "backend": "task",
        "objectives": stated,
        "correct": 0,
        "examples": 0,
        "weights": None,
        "weights_bytes": 0,
        "predictions": None,
        "checkpoints": merkle.root([bytes.fromhex(objectives_fingerprint(stated))]),
        "checkpoint_count": 1,
        "macs": 0.0,
        "peak_bytes": 0,
        "measured": None,
    }
    return signer_of(who).sign(Claim, **(fields | changes))


def row_of(record: Signed, body: Claim | Attestation | Accusation) -> SignedRow:
    claim = isinstance(body, Claim)
    return SignedRow(
        id=record.id,
        kind=type(body).__name__.lower(),
        task=bytes.fromhex(spec_of().task_id),
        peer=peer_id(body.peer),
        sequence=body.sequence,
        about=None if claim else body.claim,
        genome=body.genome.hex() if claim else None,
        expiry=body.expiry,
        body=record.body,
        signature=record.signature,
        received_at=wall_clock(),
    )


def heard(record: Signed, who: Identity, *, admit: bool) -> list[trust.Event]:
    """A claim that passed stage 1 here, and with `admit` a whole replay too, after which it was admitted."""
    at, claim = wall_clock(), record.id.hex()
    events: list[trust.Event] = [
        trust.Heard(at=at, claim=claim, peer=who.peer, task=spec_of().task_id),
        trust.Checked(at=at, claim=claim, stage=Stage.WEIGHTS, passed=True),
    ]
    if admit:
        events += [
            trust.Checked(at=at, claim=claim, stage=Stage.REPLAY, passed=True, complete=True),
            trust.Ticked(at=at, compute=1.0),
            trust.Admitted(at=at, claim=claim),
        ]
    return events


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store whose node measured a genome itself, and heard of Alice's claims (confirmed) and Bob's (provisional)."""
    path = tmp_path / "eqmesh.db"
    with Writer(path, now=wall_clock) as writer:
        number, spec = writer.begin_run(spec_of())
        own = SPACE.genome({"a": 0.2, "b": 0.6, "mood": "good"})
        found = outcome(own, task_id=spec.task_id, objectives=values_of(own), weights="", arithmetic="task")
        writer.record(number, 0, "search", own, None, found)
        for who, genome, admit in ((ALICE, NEAR, True), (BOB, CHEAP, False), (ALICE, POOR, True)):
            record, body = claim_of(who, genome)
            BeliefWriter(writer).keep(
                signed=[row_of(record, body)],
                genomes=[(genome, None)],
                events=[msgspec.msgpack.encode(event) for event in heard(record, who, admit=admit)],
                values={record.id: values_of(genome)},
            )
    return path


def claims_of(path: Path, who: Identity) -> list[str]:
    with Reader(path) as reader:
        return [row.id.hex() for row in reader.signed(kind="claim") if row.peer == who.peer]


def add(path: Path, *signed: SignedRow, genomes: tuple[Genome, ...] = ()) -> None:
    with Writer(path, now=wall_clock) as writer:
        BeliefWriter(writer).keep(signed=signed, genomes=[(genome, None) for genome in genomes])


def ledger_of(path: Path) -> Ledger:
    with Reader(path) as reader:
        return read_ledger(reader, TrustSettings())


# Peers


def test_peers_are_listed_with_what_is_made_of_them(run: Run, store: Path) -> None:
    code, out, _ = run("peers", "list", "--json")
    rows = {row["peer"]: row for row in json.loads(out)}
    assert (code, set(rows)) == (0, {ALICE.peer, BOB.peer})
    alice, bob = rows[ALICE.peer], rows[BOB.peer]
    # Two checks passed, of which the first has faded by a round: not quite what makes a newcomer trusted.
    assert (alice["standing"], alice["claims"], alice["confirmed"]) == ("newcomer", 2, 2)
    assert (bob["standing"], bob["claims"], bob["confirmed"], bob["a"]) == ("known", 1, 0, 0.0)
    assert alice["a"] == pytest.approx(1.0, abs=0.01)
    assert (alice["residual"], alice["banned_until"], alice["me"]) == (None, None, False)
    assert ALICE.peer in run("peers", "list")[1]


def test_the_node_itself_is_told_apart(run: Run, store: Path) -> None:
    mine = load_or_make(identity_path())
    record, body = claim_of(mine, CHEAP)
    add(store, row_of(record, body))
    rows = {row["peer"]: row for row in json.loads(run("peers", "list", "--json")[1])}
    assert (rows[mine.peer]["me"], rows[mine.peer]["standing"]) == (True, "self")
    shown = json.loads(run("claim", "show", record.id.hex(), "--json")[1])
    assert (shown["mine"], shown["standing"], shown["log_odds"]) == (True, "own", None)
    assert run("peers", "ban", mine.peer, "--reason", "x")[0] == 1


def test_looking_at_peers_makes_no_identity(run: Run, store: Path) -> None:
    run("peers", "list")
    assert not identity_path().exists()


def test_a_peer_is_named_by_either_end_of_its_id() -> None:
    known = [ALICE.peer, BOB.peer]
    assert named_peer(ALICE.peer[:20], known) == named_peer(ALICE.peer[-6:], known) == ALICE.peer
    for text, said in (
        ("12D3KooW", "several"),
        ("nobody", "no known"),
        ("12D3", "at least 6"),
        ("", "at least"),
    ):
        with pytest.raises(NotFoundError, match=said):
            named_peer(text, known)


@pytest.mark.parametrize(
    ("events", "standing"),
    [
        ([], "known"),
        ([("passed", 1)], "newcomer"),
        ([("passed", 2)], "trusted"),
        ([("retrained", 6)], "quarantined"),
        ([("passed", 2), ("banned", 1)], "banned"),
    ],
)
def test_a_peer_has_one_standing(events: list[tuple[str, int]], standing: str) -> None:
    ledger, number = Ledger(settings=TrustSettings()), 0
    for kind, count in events:
        for _ in range(count):
            number += 1
            claim = f"{number:064x}"
            if kind == "banned":
                ledger.apply(trust.Banned(at=1.0, peer="p", until=9.0, reason="r"))
                continue
            ledger.apply(trust.Heard(at=1.0, claim=claim, peer="p", task="t"))
            if kind == "passed":
                ledger.apply(trust.Checked(at=1.0, claim=claim, stage=Stage.REPLAY, passed=True))
            else:
                ledger.apply(
                    trust.Checked(
                        at=1.0, claim=claim, stage=Stage.RETRAIN, passed=True, claimed=91.5, mine=90.0
                    )
                )
    assert peer_standing(ledger, "p", 2.0) == standing
    if standing == "quarantined":
        (row,) = peer_rows(ledger, [], 2.0, mine=None)
        assert row.residual == pytest.approx(1.5)


def test_a_peer_is_shown_with_claims_and_bans(run: Run, store: Path) -> None:
    claim = claims_of(store, ALICE)[0]
    event = trust.Checked(at=wall_clock(), claim=claim, stage=Stage.REPLAY, passed=False, item="3")
    again = trust.Repeated(at=wall_clock(), claim=claim, stage=Stage.REPLAY, item="3", passed=False)
    with Writer(store, now=wall_clock) as writer:
        BeliefWriter(writer).keep(events=[msgspec.msgpack.encode(one) for one in (event, again)])
    code, out, _ = run("peers", "show", ALICE.peer[-8:], "--json")
    shown = json.loads(out)
    assert (code, shown["peer"], shown["standing"]) == (0, ALICE.peer, "banned")
    (ban,) = shown["bans"]
    assert ban["evidence"] == [{"claim": claim, "stage": "2a", "item": "3", "accuser": None}]
    assert {one["claim"]: one["standing"] for one in shown["claims"]}[claim] == "refused"
    text = run("peers", "show", ALICE.peer[-8:])[1]
    assert f"eqmesh verify {claim[:12]}" in text


# Bans


def test_a_ban_is_written_where_no_node_runs_and_lifted_again(run: Run, store: Path) -> None:
    code, out, _ = run("peers", "ban", ALICE.peer[-8:], "--days", "2", "--reason", "floods us", "--json")
    assert (code, json.loads(out)["by"]) == (0, "store")
    ban = ledger_of(store).ban(ALICE.peer, wall_clock())
    assert ban is not None
    assert (ban.manual, ban.reason) == (True, "floods us")
    assert ban.until - ban.since == pytest.approx(2 * DAY_S)
    assert not [row for row in json.loads(run("front", "--json")[1])["front"] if row["origin"] == ALICE.peer]
    assert run("peers", "unban", ALICE.peer[-8:])[0] == 0
    assert ledger_of(store).ban(ALICE.peer, wall_clock()) is None
    with Reader(store) as reader:
        kinds = [event.kind for event in reader.events() if event.kind.startswith("peer.")]
    assert kinds == ["peer.banned", "peer.unbanned"]


def test_a_whole_id_may_be_banned_before_anything_is_heard_of_it(run: Run, store: Path) -> None:
    assert run("peers", "ban", CAROL.peer, "--reason", "known from elsewhere")[0] == 0
    assert CAROL.peer in known_peers(ledger_of(store), [])


@pytest.mark.parametrize(
    "arguments",
    [
        (CAROL.peer[-8:], "--reason", "x"),
        (ALICE.peer, "--reason", ""),
        (ALICE.peer, "--reason", "x" * 201),
        (ALICE.peer, "--reason", "x", "--days", "0"),
        (ALICE.peer, "--reason", "x", "--days", "inf"),
        (ALICE.peer, "--reason", "x", "--store", "nowhere.db"),
    ],
)
def test_a_ban_that_makes_no_sense_is_refused_and_nothing_is_written(
    run: Run, store: Path, arguments: tuple[str, ...]
) -> None:
    code, _, err = run("peers", "ban", *arguments)
    assert (code, bool(err)) == (1, True)
    assert ledger_of(store).bans == {}
    assert not Path("nowhere.db").exists()


# Orders to a running node


async def _obey_nothing(order: control.Order) -> None:
    raise AssertionError(f"nobody may order {order}")


async def test_a_running_node_takes_orders_at_its_socket(store: Path, tmp_path: Path) -> None:
    taken: list[control.Order] = []

    async def obey(order: control.Order) -> None:
        taken.append(order)

    path = control.control_path(store, tmp_path)
    order = control.Ban(peer=ALICE.peer, days=3, reason="r")
    async with trio.open_nursery() as nursery:
        await nursery.start(control.serve, path, obey)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert control.is_served(path)
        assert await control.give(order, store, tmp_path, now=wall_clock)
        nursery.cancel_scope.cancel()
    assert taken == [order]
    assert ledger_of(store).bans == {}  # it was the node's to write
    assert not path.exists()
    assert not control.is_served(path)
    assert await control.ask(path, order) is None


async def test_what_a_node_refuses_is_told_with_the_reason(store: Path, tmp_path: Path) -> None:
    async def obey(order: control.Order) -> None:
        raise NodeError("not today")

    path = control.control_path(store, tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(control.serve, path, obey)
        with pytest.raises(control.ControlError, match="not today"):
            await control.give(control.Unban(peer=ALICE.peer), store, tmp_path, now=wall_clock)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"nonsense\n",
        b'{"order": "halt"}\n',
        b'{"order": "ban", "peer": "p", "days": -1, "reason": "r"}\n',
        b'{"order": "unban", "peer": "p", "more": 1}\n',
        b"[" * 70_000,
    ],
)
async def test_a_line_that_is_no_order_is_refused_and_the_node_lives(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "s"
    async with trio.open_nursery() as nursery:
        await nursery.start(control.serve, path, _obey_nothing)
        stream = await trio.open_unix_socket(os.fspath(path))
        await stream.send_all(line)
        await stream.send_eof()
        answer = msgspec.json.decode(await stream.receive_some(4096), type=control.Answer)
        assert isinstance(answer, control.Refused)
        await stream.aclose()
        assert control.is_served(path)
        nursery.cancel_scope.cancel()


async def test_who_says_nothing_is_not_waited_for(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "s"
    async with trio.open_nursery() as nursery:
        await nursery.start(control.serve, path, _obey_nothing)
        stream = await trio.open_unix_socket(os.fspath(path))
        assert await stream.receive_some(1) == b""
        await stream.aclose()
        nursery.cancel_scope.cancel()


def test_a_socket_that_a_dead_node_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    control.listen(path).close()
    assert path.exists()
    assert not control.is_served(path)
    control.listen(path).close()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(control.ControlError, match="Move it away"):
        control.listen(path)
    assert path.read_text() == "mine"


def test_a_long_name_lies_in_the_state_folder(tmp_path: Path) -> None:
    state = tmp_path / "s"
    store = tmp_path / ("x" * 120)
    found = control.control_path(store, state)
    assert found.parent == state
    assert found != control.control_path(tmp_path / ("y" * 120), state)
    assert control.control_path(tmp_path / "a.db", state) == tmp_path / "a.db.sock"


async def test_where_no_socket_can_be_the_store_is_written(store: Path, tmp_path: Path) -> None:
    far = store.rename(tmp_path / f"{'x' * 120}.db")
    order = control.Ban(peer=ALICE.peer, days=1, reason="r")
    assert not await control.give(order, far, tmp_path / ("y" * 120), now=wall_clock)
    assert ledger_of(far).ban(ALICE.peer, wall_clock()) is not None
    with pytest.raises(control.ControlError, match="EQMESH_STATE_DIR"):
        control.listen(tmp_path / ("y" * 120))


async def test_a_search_that_holds_the_store_is_named(store: Path, tmp_path: Path) -> None:
    order = control.Ban(peer=ALICE.peer, days=1, reason="r")
    with Writer(store, now=wall_clock), pytest.raises(NodeError, match="being written by another"):
        await control.give(order, store, tmp_path, now=wall_clock)


# A node's own record of how it is reached


class StubBooks:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []

    def log(self, kind: str, **body: object) -> None:
        self.lines.append((kind, body))

    async def flush(self) -> None:
        self.lines.append(("flushed", {}))


class StubMesh:
    """As much of a mesh as a membership needs; `life` is what happens while it runs."""

    def __init__(self, life: Callable[["StubMesh"], Awaitable[None]]) -> None:
        self.books = StubBooks()
        self.transport = self
        self.now = Status()
        self.sanctions: list[object] = []
        self._life = life

    def status(self) -> Status:
        return self.now

    def contained(self) -> tuple[str, ...]:
        return ()

    async def run(self, ready: Callable[[], Awaitable[None]]) -> None:
        async with trio.open_nursery():
            await ready()
            await self._life(self)

    async def sanction(self, event: object) -> None:
        self.sanctions.append(event)


def membership(logged: list[str]) -> Membership:
    def refuse(*_: object) -> Any:
        raise AssertionError("no transport is made here")

    return Membership(
        identity=ALICE,
        make_transport=refuse,
        now=lambda: 100.0,
        told=lambda status, _: logged.append(status.reachability),
        log=lambda event, **_: logged.append(event),
    )


async def test_only_changes_of_how_a_node_is_reached_are_recorded(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    states = [
        Status(reachability="alone"),
        Status(reachability="outgoing only", peers=("a",)),
        Status(reachability="outgoing only", peers=("a", "b")),
        Status(reachability="outgoing only", peers=("a",), trouble="lame"),
        Status(reachability="outgoing only", peers=("b",), trouble="lame"),
    ]

    async def life(mesh: StubMesh) -> None:
        for state in states:
            mesh.now = state
            await trio.sleep(10)
        raise TransportError("enough")

    mesh, logged = StubMesh(life), list[str]()
    with pytest.RaisesGroup(TransportError, flatten_subgroups=True):
        await membership(logged).serve(mesh)  # type: ignore[arg-type]
    kinds = [(kind, body.get("reachability"), body.get("trouble")) for kind, body in mesh.books.lines]
    assert kinds == [
        ("mesh.status", "alone", ""),
        ("mesh.status", "outgoing only", ""),
        ("mesh.status", "outgoing only", "lame"),
        ("mesh.failed", None, None),
        ("flushed", None, None),
    ]
    assert mesh.books.lines[3][1] == {"why": "enough"}
    assert (
        len(logged) == 5
    )  # a change of the number of peers is told, the same number of others is not; and the end


async def test_a_ban_reaches_the_mesh_of_a_running_node() -> None:
    async def life(_: StubMesh) -> None:
        """It ends at once."""

    mesh, member = StubMesh(life), membership([])
    for order in (control.Ban(peer="p", days=1, reason="r"), control.Unban(peer="p")):
        assert await member.obey(mesh, order) == control.Done()  # type: ignore[arg-type]
    assert mesh.sanctions == [
        trust.Banned(at=100.0, peer="p", until=100.0 + DAY_S, reason="r"),
        trust.Unbanned(at=100.0, peer="p"),
    ]


# Claims


def test_a_claim_is_shown_with_all_that_is_known_of_it(run: Run, store: Path) -> None:
    (claim,) = claims_of(store, BOB)
    signer = signer_of(CAROL)
    accusation = signer.sign(
        Accusation,
        claim=bytes.fromhex(claim),
        stage="2a",
        segment=0,
        claimed=bytes(32),
        found=bytes(32),
        path=(),
    )
    held = signer.sign(Attestation, claim=bytes.fromhex(claim), stage="2a", leaves=(), objectives={})
    add(store, row_of(*accusation), row_of(*held))
    code, out, _ = run("claim", "show", claim[:8], "--json")
    shown = json.loads(out)
    assert (code, shown["claim"], shown["peer"]) == (0, claim, BOB.peer)
    assert (shown["standing"], shown["mine"], shown["accused"]) == ("provisional", False, True)
    assert (shown["objectives"], shown["genome"]) == (values_of(CHEAP), CHEAP.id)
    assert shown["log_odds"] == pytest.approx(ledger_of(store).log_odds(claim))
    assert {(word["kind"], word["peer"]) for word in shown["words"]} == {
        ("accusation", CAROL.peer),
        ("attestation", CAROL.peer),
    }
    assert f"{CAROL.peer} (stage 2a, item 0)" in run("claim", "show", claim[:8])[1]
    assert run("claim", "show", "ffff")[0] == 1


async def test_an_accusation_of_an_own_claim_is_kept_for_its_owner_to_see(store: Path) -> None:
    spec = spec_of()
    task = resolve(BOWL)
    judge = Judge(
        task,
        task.tier(),
        SPACE,
        arithmetic="task",
        limits=CostLimits(),
        calibration=None,
        objectives=spec.objectives,
    )
    with Writer(store, now=wall_clock) as writer, Reader(store) as reader:
        books = Books(
            me=BOB.peer,
            task=judge.task_id,
            writer=BeliefWriter(writer),
            reader=reader,
            disk=threaded_disk(),
            settings=TrustSettings(),
        )
        desk: Any = None  # nothing has to be asked for
        intake = Intake(
            me=BOB.peer, judge=judge, books=books, desk=desk, front=Front(judge), rng=random.Random(1)
        )
        record, claim = claim_of(BOB, NEAR)
        books.keep(record, claim, now=wall_clock())
        accused, _ = signer_of(CAROL).sign(
            Accusation,
            claim=record.id,
            stage="2a",
            segment=0,
            claimed=bytes.fromhex(objectives_fingerprint(claim.objectives)),
            found=bytes(32),
            path=(),
        )
        framed, _ = signer_of(CAROL).sign(
            Accusation,
            claim=record.id,
            stage="2a",
            segment=0,
            claimed=bytes(32),
            found=bytes(32),
            path=(),
        )
        believed = books.ledger.claims.copy()
        assert await intake.take(CAROL.peer, [accused, framed], wall_clock()) == []
        assert (
            books.ledger.claims == believed
        )  # nobody is to be convinced of an own claim, or talked out of it
        await books.flush()
        assert [row.id for row in reader.signed_about(record.id)] == [accused.id]
        (event,) = [event for event in reader.events() if event.kind == "claim.accused"]
    assert json.loads(event.body) == {
        "claim": record.id.hex(),
        "peer": CAROL.peer,
        "stage": "2a",
        "item": "0",
    }


def test_the_front_has_confirmed_claims_and_keeps_provisional_ones_apart(run: Run, store: Path) -> None:
    found = json.loads(run("front", "--json")[1])
    front = {row["genome"]: row for row in found["front"]}
    assert NEAR.id in front
    assert POOR.id not in front  # confirmed, and dominated
    assert (front[NEAR.id]["origin"], front[NEAR.id]["standing"]) == (ALICE.peer, "confirmed")
    assert front[NEAR.id]["claim"] in claims_of(store, ALICE)
    (own,) = [row for row in found["front"] if row["origin"] == "self"]
    assert (own["claim"], own["standing"]) == (None, "confirmed")
    (waiting,) = found["provisional"]
    assert (waiting["genome"], waiting["origin"], waiting["standing"]) == (CHEAP.id, BOB.peer, "provisional")
    table = run("front")[1].splitlines()
    assert "origin" in table[1] and "standing" in table[1]
    (line,) = [line for line in table if CHEAP.id[:12] in line]
    assert f"..{BOB.peer[-8:]}" in line and "provisional" in line


# Claims that are trained again


def test_an_honest_claim_holds(run: Run, store: Path) -> None:
    (claim,) = claims_of(store, BOB)
    before = store.read_bytes()
    code, out, _ = run("verify", claim[:10], "--json")
    found = json.loads(out)
    assert (code, found["holds"], found["rule"], found["claim"]) == (0, True, "bits", claim)
    assert all(row["same"] for row in found["compared"])
    assert store.read_bytes() == before


def test_a_false_claim_is_refuted_with_a_code_of_its_own(run: Run, store: Path) -> None:
    lie = values_of(POOR) | {"near": 0.0}
    record, body = claim_of(CAROL, POOR, lie)
    add(store, row_of(record, body))
    code, out, _ = run("verify", record.id.hex(), "--json")
    found = json.loads(out)
    assert (code, found["holds"]) == (REFUTED, False)
    assert [row["what"] for row in found["compared"] if not row["same"]] == ["near", "checkpoint root"]
    assert "is refuted" in run("verify", record.id.hex())[1]


def test_what_cannot_be_verified_speaks_against_nobody(run: Run, store: Path) -> None:
    absent = SPACE.genome({"a": 0.5, "b": 0.5, "mood": "good"})
    gone = claim_of(CAROL, absent)
    other = claim_of(CAROL, CHEAP, kernels="0")
    foreign = claim_of(CAROL, CHEAP, task=bytes(32))
    for (record, body), said in (
        (gone, "genome import"),
        (other, "version 0"),
        (foreign, "no run of the task"),
    ):
        add(store, row_of(record, body))
        code, _, err = run("verify", record.id.hex())
        assert code == 1
        assert said in err
    assert "no claim starts" in run("verify", "abcdef0123")[2]


class Trained(msgspec.Struct, frozen=True):
    """A claim about a small network, the judge of its task, and its training."""

    claim: Claim
    genome: Genome
    judge: Judge
    result: Outcome


async def train(job: Job) -> Result:
    """What a worker makes of a job: in this process, the fast classes would change how every later test rounds."""
    async with open_pool(PoolSettings(workers=1, nice=0)) as pool:
        return await pool.run(job)


@pytest.fixture(scope="module", params=["exact-1", "fp32"])
def trained(request: pytest.FixtureRequest) -> Trained:
    spec = spec_of("digits", "smoke", request.param)
    task = resolve("digits")
    judge = Judge(
        task,
        task.tier("smoke"),
        task.space,
        arithmetic=request.param,
        limits=CostLimits(),
        calibration=None,
        objectives=spec.objectives,
    )
    genome = task.space.genome({**dict(preset("shallow").values), "width1": 12})
    cost = judge.cost(genome, request.param)
    assert cost is not None
    _, blank = claim_of(
        ALICE,
        genome,
        {"accuracy": 0.0},
        task=judge.task_id,
        tier="smoke",
        arithmetic=request.param,
        macs=cost.macs_per_step,
        peak_bytes=cost.peak_bytes,
    )
    result = trio.run(train, job_of(blank, genome, judge))
    assert isinstance(result, Outcome), result
    claim = msgspec.structs.replace(
        blank,
        objectives={"accuracy": result.objectives["accuracy"]},
        correct=result.correct,
        examples=result.examples,
        weights=bytes.fromhex(result.weights),
        weights_bytes=result.weights_bytes,
        predictions=bytes.fromhex(result.predictions),
        checkpoints=merkle.root([bytes.fromhex(leaf) for leaf in result.checkpoints]),
        checkpoint_count=len(result.checkpoints),
    )
    return Trained(claim, genome, judge, result)


def job_of(claim: Claim, genome: Genome, judge: Judge) -> Job:
    return Trainings(judge, task="digits", space="", deadline_s=60.0).again(claim, genome)


def verdict(trained: Trained, result: Outcome | Failure | None = None, **changes: Any) -> tuple[bool, str]:
    claim = msgspec.structs.replace(trained.claim, **changes)
    found = result or trained.result
    rows = compared(claim, trained.genome, trained.judge, found)
    judgement = judged(claim, rows, found, bits=trained.judge.replayable(claim), sigma=0.4)
    return judgement.holds, judgement.rule


def test_a_networks_claim_is_compared_bit_for_bit_in_the_exact_class_alone(trained: Trained) -> None:
    exact = trained.claim.arithmetic == "exact-1"
    assert verdict(trained) == (True, "bits" if exact else "2b")
    for changes in ({"weights": bytes(32)}, {"predictions": bytes(32)}, {"checkpoints": bytes(32)}):
        assert verdict(trained, **changes)[0] is not exact


def test_what_follows_from_the_genome_must_be_so_in_any_class(trained: Trained) -> None:
    assert verdict(trained, peak_bytes=trained.claim.peak_bytes + 1) == (False, "bits")
    assert verdict(trained, macs=0.0) == (False, "bits")


@pytest.mark.parametrize("trained", ["fp32"], indirect=True)
@pytest.mark.parametrize(("points", "holds"), [(-5.0, True), (1.6, True), (1.8, False)])
def test_outside_the_exact_class_three_deviations_of_a_difference_are_forgiven(
    trained: Trained, points: float, holds: bool
) -> None:
    stated = {"accuracy": trained.claim.objectives["accuracy"] + points / 100}
    assert verdict(trained, objectives=stated) == (holds, "2b")


def test_a_training_that_fails_for_the_machines_reasons_says_nothing(trained: Trained) -> None:
    job = job_of(trained.claim, trained.genome, trained.judge)
    for kind in ("refused", "out-of-memory", "deadline", "crashed", "data", "environment", "error"):
        with pytest.raises(VerifyError, match=kind):
            verdict(trained, failure_of(job, kind, "so"))  # type: ignore[arg-type] # a kind
    diverged = failure_of(job, "diverged", "so")
    if trained.claim.arithmetic == "exact-1":
        assert verdict(trained, diverged) == (False, "bits")
    else:
        with pytest.raises(VerifyError):
            verdict(trained, diverged)


# Doctor


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}" in bind_refusal(f"/ip4/127.0.0.1/tcp/{port}")
    assert bind_refusal(f"/ip4/127.0.0.1/tcp/{port}") == ""  # it was let go of
    assert bind_refusal("/ip4/127.0.0.1/tcp/0") == ""


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:4001", "/ip4/127.0.0.1/udp/4001", "/ip4/127.0.0.1/tcp/70000"]
)
def test_an_address_that_is_none_is_told(address: str) -> None:
    assert bind_refusal(address)


def test_doctor_tells_of_identity_ports_peers_and_the_last_start(
    run: Run, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = load_or_make(identity_path())
    with Writer(store, now=wall_clock) as writer:
        writer.event("mesh.status", {"reachability": "reachable", "trouble": "", "addresses": []})
        writer.event("mesh.failed", {"why": "the port is in use"})
    Path("eqmesh.db.peers").write_text(f"/ip4/192.0.2.1/tcp/4001/p2p/{ALICE.peer}\n\nrubbish\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        monkeypatch.setenv("EQMESH_LISTEN", address)
        code, out, _ = run("doctor", "--json")
    found = {row["what"]: row for row in json.loads(out)}
    assert code == 1
    assert (found["identity"]["state"], found["identity"]["found"]) == ("ok", mine.peer)
    assert found[f"listen {address}"]["state"] == "problem"
    assert (found["node"]["state"], "the port is in use" in found["node"]["found"]) == ("problem", True)
    assert "line 3" in found["saved peers"]["found"]
    assert found["mesh"]["state"] in ("ok", "note")

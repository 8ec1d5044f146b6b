"""`eqmesh peers`: the peers that a store's node has heard of, what it makes of them, and bans by hand."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter

from node import control, output
from node.commands.options import Json, StorePath, store_path
from node.errors import NotFoundError
from node.keyfile import load_identity
from node.mesh.books import read_ledger
from node.protocol.claims import Claim
from node.protocol.errors import ProtocolError
from node.protocol.identity import key_of
from node.protocol.trust import Ledger, TrustSettings
from node.protocol.wire import decode
from node.service import wall_clock
from node.settings import identity_path
from node.standing import PeerRow, claim_standing, known_peers, peer_rows
from node.store.records import Reader, SignedRow
from node.text import short

__all__ = ["ban", "list_", "me", "show", "unban", "when"]

_PART = 6

PeerName = Annotated[
    str, Parameter(name="PEER", help="A peer id, or its first or last characters if they name one peer.")
]


class ClaimLine(msgspec.Struct, frozen=True, kw_only=True):
    """One claim of a peer, and what a node makes of it."""

    claim: str
    genome: str
    arithmetic: str
    objectives: dict[str, float]
    standing: str


def list_(*, store: StorePath = None, json: Json = False) -> None:
    """List the peers that the store's node has heard of, and what it makes of each.

    Example: eqmesh peers list --store eqmesh.db
    """
    with Reader(store_path(store)) as reader:
        ledger = read_ledger(reader, TrustSettings())
        rows = peer_rows(ledger, list(reader.signed()), wall_clock(), mine=me())
    if json:
        output.write_json([msgspec.to_builtins(row) for row in rows])
        return
    output.write_table(
        ["peer", "standing", "a", "b", "ok", "bad", "claims", "confirmed", "refused", "residual"],
        [
            [
                row.peer + (" (this node)" if row.me else ""),
                row.standing if row.banned_until is None else f"banned until {when(row.banned_until)}",
                f"{row.a:.2f}",
                f"{row.b:.2f}",
                f"{row.attestations_ok:.1f}",
                f"{row.attestations_bad:.1f}",
                str(row.claims),
                str(row.confirmed),
                str(row.refused),
                "-" if row.residual is None else f"{row.residual:+.2f}",
            ]
            for row in rows
        ],
    )


def show(peer: PeerName, /, *, store: StorePath = None, json: Json = False) -> None:
    """Show what is known of one peer: its counts, its bans with their evidence, and its claims.

    Example: eqmesh peers show ERi6FMH4 --store eqmesh.db
    """
    now = wall_clock()
    with Reader(store_path(store)) as reader:
        ledger = read_ledger(reader, TrustSettings())
        signed = list(reader.signed())
    chosen = named_peer(peer, known_peers(ledger, signed))
    (row,) = [row for row in peer_rows(ledger, signed, now, mine=me()) if row.peer == chosen]
    lines = [
        _claim_line(ledger, one, now, mine=row.me)
        for one in signed
        if one.kind == "claim" and one.peer == chosen
    ]
    if not json:
        _print(row, ledger, lines)
        return
    residuals = {
        task: {"n": found.n, "mean": found.mean} for task, found in ledger.peer(chosen).residuals.items()
    }
    output.write_json(
        msgspec.to_builtins(row)
        | {
            "trust": ledger.peer(chosen).trust,
            "residuals": residuals,
            "bans": msgspec.to_builtins(ledger.bans.get(chosen, ())),
            "claims": msgspec.to_builtins(lines),
        }
    )


def ban(
    peer: PeerName,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; it stays on record, and the peer is told.")],
    days: Annotated[float, Parameter(help="Days after which the ban ends.")] = 30.0,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Listen to a peer no more for some days: its claims leave the front, and it gets no answers.

    A node that runs on the store does it at once; else it is written into the store.

    Example: eqmesh peers ban ERi6FMH4 --days 30 --reason "its claims never replay"
    """
    path, chosen = _chosen(peer, store)
    if chosen == me():
        raise NotFoundError(f"{chosen} is this node itself, which cannot be banned. Name another peer.")
    order = _order(control.Ban, peer=chosen, days=days, reason=reason)
    plural = "" if days == 1 else "s"
    _give(path, order, f"{chosen} is banned for {days:g} day{plural}", json=json)


def unban(peer: PeerName, /, *, store: StorePath = None, json: Json = False) -> None:
    """Lift every ban of a peer. What it had earned before stays gone, and the evidence on record.

    Example: eqmesh peers unban ERi6FMH4
    """
    path, chosen = _chosen(peer, store)
    order = _order(control.Unban, peer=chosen)
    _give(path, order, f"{chosen} is banned no more", json=json)


# What follows from the records alone


def named_peer(text: str, known: Iterable[str]) -> str:
    """The one known peer whose id starts or ends with `text`. Raises NotFoundError."""
    if len(text) < _PART:
        raise NotFoundError(f"a peer is named by at least {_PART} characters of its id, got {text!r}.")
    found = [peer for peer in known if peer.startswith(text) or peer.endswith(text)]
    if len(found) != 1:
        few = "several peers' ids start or end" if found else "no known peer's id starts or ends"
        raise NotFoundError(f"{few} with {text!r}. `eqmesh peers list` lists them.")
    return found[0]


def _claim_line(ledger: Ledger, row: SignedRow, now: float, *, mine: bool) -> ClaimLine:
    claim = decode(row.body, Claim)
    return ClaimLine(
        claim=row.id.hex(),
        genome=claim.genome.hex(),
        arithmetic=claim.arithmetic,
        objectives=claim.objectives,
        standing=claim_standing(ledger, row, now, mine=mine),
    )


# Seams to the machine


def me() -> str | None:
    """The peer id of this machine's identity; None where it has none yet, since looking makes none."""
    path = identity_path()
    return load_identity(path).peer if path.exists() else None


def when(seconds: float) -> str:
    """A time in UTC, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _chosen(peer: str, store: Path | None) -> tuple[Path, str]:
    """The store, and the peer: a known one, or a whole id of which nothing was heard yet."""
    path = store_path(store)
    with Reader(path) as reader:
        known = known_peers(read_ledger(reader, TrustSettings()), reader.signed())
    try:
        key_of(peer)
    except ProtocolError:
        return path, named_peer(peer, known)
    return path, peer


def _order(kind: type[control.Ban] | type[control.Unban], **fields: object) -> control.Ban | control.Unban:
    try:
        return msgspec.convert(fields | {"order": kind.__struct_config__.tag}, kind)
    except msgspec.ValidationError as error:
        raise control.ControlError(
            f"the order cannot be given: {error}. `--help` says what it takes."
        ) from error


def _give(path: Path, order: control.Ban | control.Unban, said: str, *, json: bool) -> None:
    by_node = trio.run(partial(control.give, order, path, identity_path().parent, now=wall_clock))
    where = "the running node did it" if by_node else f"written into {path}"
    if json:
        output.write_json(
            msgspec.to_builtins(order) | {"store": str(path), "by": "node" if by_node else "store"}
        )
    else:
        output.write(f"{said} ({where})")


def _print(row: PeerRow, ledger: Ledger, lines: list[ClaimLine]) -> None:
    until = "" if row.banned_until is None else f" until {when(row.banned_until)}"
    output.write_table(
        ["figure", "value"],
        [
            ["peer", row.peer + (" (this node)" if row.me else "")],
            ["standing", f"{row.standing}{until}"],
            ["checks passed and failed (a, b)", f"{row.a:.2f}, {row.b:.2f}"],
            ["words that held and did not", f"{row.attestations_ok:.2f}, {row.attestations_bad:.2f}"],
            ["trust in its word", f"{ledger.peer(row.peer).trust:.2f}"],
            ["claims here, confirmed, refused", f"{row.claims}, {row.confirmed}, {row.refused}"],
            ["residual", "-" if row.residual is None else f"{row.residual:+.2f} points"],
        ],
    )
    for found in ledger.bans.get(row.peer, ()):
        lifted = "" if found.lifted is None else f", lifted {when(found.lifted)}"
        output.write(f"\nbanned {when(found.since)} to {when(found.until)}{lifted}: {found.reason}")
        for item in found.evidence:
            output.write(
                f"  evidence: claim {item.claim} stage {item.stage} item {item.item}, "
                f"accused by {item.accuser or 'nobody else'}: run it again with `eqmesh verify {short(item.claim)}`"
            )
    if lines:
        output.write("")
        output.write_table(
            ["claim", "genome", "class", "standing"],
            [[short(one.claim), short(one.genome), one.arithmetic, one.standing] for one in lines],
        )

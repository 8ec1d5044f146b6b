"""What a ledger of trust makes of peers and claims, in words and rows: for commands and pages alike. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from node.protocol import trust
from node.protocol.trust import Ledger, TrustSettings
from node.store.rows import SignedRow

__all__ = ["PeerRow", "claim_standing", "fold", "known_peers", "peer_rows", "peer_standing"]


class PeerRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a node makes of one peer.

    `residual` is the mean of what it claimed less what was found, in points; None where nothing was trained again.
    """

    peer: str
    me: bool
    standing: str
    banned_until: float | None
    a: float
    b: float
    attestations_ok: float
    attestations_bad: float
    claims: int
    confirmed: int
    refused: int
    residual: float | None


def fold(state: bytes | None, events: Sequence[bytes]) -> Ledger:
    """The ledger that a record's last state and the events since then make."""
    ledger = msgspec.msgpack.decode(state, type=Ledger) if state else Ledger(settings=TrustSettings())
    for event in events:
        ledger.apply(msgspec.msgpack.decode(event, type=trust.Event))
    return ledger


def peer_standing(ledger: Ledger, peer: str, now: float) -> str:
    """What a ledger makes of a peer, in one word."""
    found = ledger.peer(peer)
    if ledger.ban(peer, now) is not None:
        return "banned"
    if found.suspect:
        return "quarantined"
    if not found.newcomer:
        return "trusted"
    return "newcomer" if found.a or found.b else "known"


def claim_standing(ledger: Ledger, row: SignedRow, now: float, *, mine: bool) -> str:
    """What a ledger makes of a claim, in one word; `own` for one of this node, which nobody has to convince of it."""
    if mine:
        return "own"
    return str(ledger.standing(row.id.hex(), now)) if row.id.hex() in ledger.claims else "set aside"


def known_peers(ledger: Ledger, signed: Iterable[SignedRow]) -> list[str]:
    """Every peer that a ledger or a record names, in the order of their ids."""
    named = {record.peer for record in ledger.claims.values()} | {row.peer for row in signed}
    return sorted(named | ledger.peers.keys() | ledger.bans.keys())


def peer_rows(ledger: Ledger, signed: Iterable[SignedRow], now: float, *, mine: str | None) -> list[PeerRow]:
    """One row a peer, those with most passed checks first."""
    signed = list(signed)
    held = Counter(row.peer for row in signed if row.kind == "claim")
    tiers = Counter((record.peer, ledger.standing(claim, now)) for claim, record in ledger.claims.items())
    rows = []
    for peer in known_peers(ledger, signed):
        found = ledger.peer(peer)
        banned = ledger.ban(peer, now)
        count = sum(running.n for running in found.residuals.values())
        total = sum(running.n * running.mean for running in found.residuals.values())
        rows.append(
            PeerRow(
                peer=peer,
                me=peer == mine,
                standing="self" if peer == mine else peer_standing(ledger, peer, now),
                banned_until=None if banned is None else banned.until,
                a=found.a,
                b=found.b,
                attestations_ok=found.ok,
                attestations_bad=found.bad,
                claims=held[peer],
                confirmed=tiers[peer, "confirmed"],
                refused=tiers[peer, "refused"],
                residual=total / count if count else None,
            )
        )
    return sorted(rows, key=lambda row: (-row.a, row.peer))

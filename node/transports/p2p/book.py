"""Whom to call again, and when: the addresses of peers, with back-off. Pure: time and randomness are arguments.

libp2p forgets an address 120 s after it connected, and remembers for 60 s that a peer could not be reached; so the
node keeps its own book. Peers that the user named stay in it; peers that strangers told of go after a few failures.
"""

import random
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass

from node.transports.networks import prefix_of

__all__ = ["AddressBook", "back_off_s"]

_FIRST_S = 1.0
_LONGEST_S = 300.0
_MOST_PEERS = 512
_MOST_ADDRESSES = 8
_TRIES_FOR_STRANGERS = 5


def back_off_s(failures: int, rng: random.Random) -> float:
    """Seconds to wait after so many failures in a row: doubling from 1 to 300, times a random 0.5 to 1.5."""
    return float(min(_LONGEST_S, _FIRST_S * 2.0 ** min(failures, 12)) * rng.uniform(0.5, 1.5))


@dataclass
class _Entry:
    addresses: tuple[str, ...]
    named: bool
    failures: int = 0
    due_s: float = 0.0
    reached: bool = False
    proven: tuple[str, ...] = ()


class AddressBook:
    """Addresses by peer id, at most 512 peers with 8 addresses each."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._entries: dict[str, _Entry] = {}

    def learn(
        self, peer: str, addresses: Iterable[str], *, named: bool = False, hearsay: bool = False
    ) -> None:
        """Add addresses of a peer, newest first; `named` for those that the user gave, which are never dropped.

        What others tell of a peer (`hearsay`) is taken only where nothing better is known: it may be meant to mislead.
        """
        entry = self._entries.get(peer)
        if hearsay and entry is not None and (entry.named or entry.reached):
            return
        if entry is None:
            if len(self._entries) >= _MOST_PEERS and not self._make_room() and not named:
                return
            entry = self._entries[peer] = _Entry((), named)
        entry.named = entry.named or named
        entry.addresses = tuple(dict.fromkeys((*addresses, *entry.addresses)))[:_MOST_ADDRESSES]

    def addresses(self, peer: str) -> tuple[str, ...]:
        """Where the peer may be reached: where it was last, then the newest; empty where nothing is known."""
        entry = self._entries.get(peer)
        if entry is None:
            return ()
        return tuple(dict.fromkeys((*entry.proven, *entry.addresses)))

    def reached(self, peer: str, address: str = "") -> None:
        """The peer is connected, by `address` if we called: its failures are forgiven."""
        if entry := self._entries.get(peer):
            entry.failures, entry.reached = 0, True
            entry.proven = (address,) if address else entry.proven

    def lost(self, peer: str, now: float) -> None:
        """The connection ended: call again soon, but not at once."""
        if entry := self._entries.get(peer):
            entry.due_s = now + back_off_s(entry.failures, self._rng)

    def failed(self, peer: str, now: float) -> None:
        """A call did not reach the peer: wait longer, or forget who was never reached and never named."""
        entry = self._entries.get(peer)
        if entry is None:
            return
        entry.failures += 1
        entry.due_s = now + back_off_s(entry.failures, self._rng)
        if not entry.named and entry.failures >= _TRIES_FOR_STRANGERS * (4 if entry.reached else 1):
            del self._entries[peer]

    def due(self, now: float, connected: Set[str]) -> list[str]:
        """Peers to call now: those named by the user, then others, those that were reached before first.

        Networks take turns, those of connected peers last: nobody who holds one network can be all the company of a
        node by telling it of many addresses there.
        """
        turns = Counter(self._network(peer) for peer in connected)
        waiting = sorted(
            (not entry.named, not entry.reached, entry.failures, peer)
            for peer, entry in self._entries.items()
            if peer not in connected and entry.addresses and entry.due_s <= now
        )
        order = []
        for strange, unmet, failures, peer in waiting:
            network = self._network(peer)
            order.append((strange, turns[network] if strange else 0, unmet, failures, peer))
            turns[network] += 1
        return [peer for *_, peer in sorted(order)]

    def _network(self, peer: str) -> str:
        """The network of a peer's first address; one that called us and is not in the book has none."""
        addresses = self.addresses(peer)
        return prefix_of(addresses[0]) if addresses else ""

    def silent(self) -> int:
        """How many peers the user named, where none of them answered its last call; else 0."""
        named = [entry for entry in self._entries.values() if entry.named]
        return len(named) if all(entry.failures for entry in named) else 0

    def known(self) -> tuple[str, ...]:
        """Every address, with /p2p/ID, of a peer that was reached or named, to be saved for the next start."""
        return tuple(
            f"{address}/p2p/{peer}"
            for peer, entry in self._entries.items()
            if entry.named or entry.reached
            for address in self.addresses(peer)
        )

    def _make_room(self) -> bool:
        strangers = [peer for peer, entry in self._entries.items() if not entry.named]
        if not strangers:
            return False
        worst = max(
            strangers, key=lambda peer: (not self._entries[peer].reached, self._entries[peer].failures)
        )
        del self._entries[worst]
        return True

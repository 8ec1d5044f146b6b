"""What every node of a simulation works out again is worked out once: pure functions, remembered for its duration.

A hundred nodes check the same signature a hundred times; in one process once is enough, for the answer follows from the
arguments. Nothing else is changed, so that a simulation with and without this finds the same.
"""

import functools
import hashlib
import heapq
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from genome import Genome
from node.mesh import intake
from node.protocol import identity, wire
from node.protocol.claims import Attestation, Claim
from node.protocol.trust import Beacon, NoBeacon, Stamps, committees

__all__ = ["remembering"]

_RECORDS = 50_000
_PEERS = 10_000
_CLAIMS = 4_000


@contextmanager
def remembering() -> Iterator[None]:
    """Replace the dear pure functions by ones that remember, wherever the node's modules have them by name."""
    replaced: dict[Callable[..., object], Callable[..., object]] = {
        identity.signed_by: functools.lru_cache(maxsize=_RECORDS)(identity.signed_by),
        identity.peer_id: functools.lru_cache(maxsize=_PEERS)(identity.peer_id),
        identity.key_of: functools.lru_cache(maxsize=_PEERS)(identity.key_of),
        wire.decode: functools.lru_cache(maxsize=_RECORDS)(wire.decode),
        intake.valid_leaves: _valid_leaves(),
        committees.committee: _committee(),
    }
    decode: Any = Genome.__dict__["decode"]  # a classmethod, to be put back as it was
    _swap(replaced)
    Genome.decode = functools.lru_cache(maxsize=_RECORDS)(Genome.decode)  # type: ignore[method-assign]
    try:
        yield
    finally:
        Genome.decode = decode  # type: ignore[method-assign]
        _swap({new: old for old, new in replaced.items()})


def _swap(replaced: dict[Callable[..., object], Callable[..., object]]) -> None:
    for name, module in list(sys.modules.items()):
        if not name.startswith("node.") or module is None:
            continue
        for attribute, value in list(vars(module).items()):
            if callable(value) and getattr(value, "__hash__", None) and value in replaced:
                setattr(module, attribute, replaced[value])


def _valid_leaves() -> Callable[[str, Claim, Attestation], bool]:
    original = intake.valid_leaves
    known: dict[tuple[object, ...], bool] = {}

    def valid_leaves(claim_id: str, claim: Claim, attestation: Attestation) -> bool:
        """As the original: a claim follows from its id."""
        key = (claim_id, attestation.peer, attestation.leaves)
        if key not in known:
            if len(known) >= _RECORDS:
                known.clear()
            known[key] = original(claim_id, claim, attestation)
        return known[key]

    return valid_leaves


def _committee() -> Callable[..., tuple[str, ...]]:
    known: dict[str, dict[str, bytes]] = {}
    original = committees.committee

    def committee(
        claim: str,
        peers: Iterable[str],
        k: int,
        *,
        claimant: str,
        beacon: Beacon | None = None,
        stamps: Stamps | None = None,
    ) -> tuple[str, ...]:
        """As the original, each hash computed once."""
        if beacon is not None or stamps is not None:
            return original(claim, peers, k, claimant=claimant, beacon=beacon, stamps=stamps)
        if claim not in known:
            if len(known) >= _CLAIMS:
                known.pop(next(iter(known)))
            known[claim] = {}
        weights = known[claim]
        head = b""
        pool = [peer for peer in peers if peer != claimant]
        for peer in pool:
            if peer not in weights:
                if not head:
                    mixed = hashlib.sha256(NoBeacon().value(claim)).digest()
                    head = b"eqmesh/committee/1\n" + claim.encode() + b"\n" + mixed
                weights[peer] = hashlib.sha256(head + peer.encode()).digest()
        return tuple(heapq.nlargest(max(0, k), pool, key=lambda peer: (weights[peer], peer)))

    return committee

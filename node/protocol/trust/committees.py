"""Who checks a claim: committees by rendezvous hash, and proof that a checker did the work. Pure.

Two seams are named here and filled later. `Beacon`: a commit-reveal beacon would mix a value into the draw that
nobody knew when the claim was made; without one, a claimant may try genomes until it likes its committee. `Stamps`:
proof-of-work on identities would price a flood of them; without it, only the newcomer rules do.
"""

import hashlib
import hmac
import math
from collections.abc import Iterable
from typing import Protocol

from node.protocol.trust.parameters import ADMIT, COMMITTEE_MAX, COMMITTEE_MIN, Stage
from node.protocol.trust.stages import power

SLACK = 2
"""Places beyond my own committee whose attestations still count: others know other peers and reckon otherwise."""
USUAL_TRUST = 0.8
"""The trust a committee member is expected to have when the size of a committee is chosen."""


class Beacon(Protocol):
    """A source of values that nobody could know before a round (later: commit-reveal)."""

    def value(self, claim: str) -> bytes:
        """Bytes to mix into the draw of the claim's committee; the same at every node."""
        ...


class Stamps(Protocol):
    """Says whether an identity has paid for itself (later: proof-of-work)."""

    def accepts(self, peer: str) -> bool:
        """Whether the peer may sit on committees."""
        ...


class NoBeacon:
    """No beacon: the draw depends on the claim and the peers alone."""

    def value(self, claim: str) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""


class NoStamps:
    """No stamps: every identity is accepted."""

    def accepts(self, peer: str) -> bool:  # noqa: ARG002
        """Always."""
        return True


def ranking(
    claim: str, peers: Iterable[str], *, beacon: Beacon | None = None, stamps: Stamps | None = None
) -> list[str]:
    """The peers in the order in which they are asked to check the claim: by SHA-256 of both ids, highest first.

    Rendezvous hashing (Thaler & Ravishankar 1998): a peer that joins or leaves moves nobody else.
    """
    mixed = (beacon or NoBeacon()).value(claim)
    accepts = (stamps or NoStamps()).accepts
    head = b"eqmesh/committee/1\n" + claim.encode() + b"\n" + hashlib.sha256(mixed).digest()
    weights = {peer: hashlib.sha256(head + peer.encode()).digest() for peer in peers if accepts(peer)}
    return sorted(weights, key=lambda peer: (weights[peer], peer), reverse=True)


def committee(
    claim: str,
    peers: Iterable[str],
    k: int,
    *,
    claimant: str,
    beacon: Beacon | None = None,
    stamps: Stamps | None = None,
) -> tuple[str, ...]:
    """The `k` peers that are to check a claim, highest hash first; its claimant never is one of them."""
    pool = (peer for peer in peers if peer != claimant)
    return tuple(ranking(claim, pool, beacon=beacon, stamps=stamps)[: max(0, k)])


def committee_size(prior: float, pi: float = 0.0) -> int:
    """How many are to check a claim whose log-odds of falsehood are `prior` and whose prize is `pi`.

    As many passes of usual attesters as admission lacks, and one to spare for each factor e of surprise; 3 to 7.
    """
    step = -math.log(1.0 - USUAL_TRUST * power(Stage.REPLAY))
    lacking = math.ceil((prior - ADMIT) / step) + round(math.log1p(max(0.0, pi)))
    return min(COMMITTEE_MAX, max(COMMITTEE_MIN, lacking))


def commitment(claim: str, checker: str, end_hash: bytes, nonce: bytes) -> bytes:
    """What a checker publishes before the claimant reveals its leaf: a hash over its own end state.

    The checker's id is in it, so it cannot be copied; the nonce hides the end hash from those who did no work.
    """
    parts = (claim.encode(), checker.encode(), end_hash, nonce)
    framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hashlib.sha256(b"eqmesh/end-state/1\n" + framed).digest()


def opens(committed: bytes, claim: str, checker: str, end_hash: bytes, nonce: bytes) -> bool:
    """Whether an attestation's end hash is the one that this checker had committed to."""
    return hmac.compare_digest(committed, commitment(claim, checker, end_hash, nonce))

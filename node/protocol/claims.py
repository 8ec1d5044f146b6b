"""Claims, attestations, accusations and heads: what a peer signs, and what follows from it alone. Pure.

Nothing in a claim is free: seed, order of the data and split follow from genome, peer, task and epoch, so that
seeds cannot be shopped for and no result can be passed off as another peer's.
"""

import hashlib
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from node.protocol.errors import ProtocolError
from node.protocol.identity import Identity, signed_by
from node.protocol.wire import RECORD_BYTES, Count, Hash, Key, Name, Proofs, Signature, decode, digest, encode

__all__ = [
    "EPOCH_S",
    "KERNELS",
    "LONGEST_S",
    "Accusation",
    "Attestation",
    "Birth",
    "Body",
    "Claim",
    "Head",
    "Leaf",
    "Measurement",
    "Setback",
    "Signed",
    "claim_seed",
    "epoch_of",
    "open_signed",
    "receipt_of",
    "receipted",
    "sign",
]

VERSION: Final = 1
KERNELS: Final = "1"
"""Version of the arithmetic: raised whenever one genome, seed and class would give other bits."""
EPOCH_S: Final = 30 * 86_400
"""Seconds of an epoch: within one, a peer has one seed for each genome and task."""
LONGEST_S: Final = EPOCH_S
"""Longest time (seconds) for which a record may hold."""

Number = Annotated[float, Meta(ge=-1e300, le=1e300)]
Seconds = Annotated[int, Meta(ge=0, le=2**40)]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every signed body says: its version, who signs, how many bodies that peer signed before, and how long
    it holds (seconds since the epoch)."""

    version: Literal[1] = VERSION
    peer: Key
    sequence: Count
    not_before: Seconds
    expiry: Seconds


class Birth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a genome came to be: ids of its parents, operator, operator seed."""

    parents: Annotated[tuple[Hash, ...], Meta(max_length=2)]
    operator: Name
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Measurement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the claimant's own clock and kernel said: for the curious. It ranks nothing."""

    samples_per_s: Number
    peak_bytes: Count
    device: Annotated[str, Meta(max_length=128)]


class Claim(_Body, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="claim"):
    """This genome, this task, these results.

    `task` is the task's id (SHA-256 of data, split and budget), `objectives` what the training measured by name,
    `correct` of `examples` what the accuracy rests on; `weights`, `predictions` and `checkpoints` commit to the
    trained weights, to the predictions on the validation split and (a Merkle root over `checkpoint_count` hashes)
    to the states on the way there. A task without networks has no weights and one checkpoint: its objectives.
    """

    task: Hash
    tier: Name
    epoch: Count
    space: Name
    genome: Hash
    birth: Birth
    kernels: Name
    arithmetic: Name
    backend: Name
    objectives: Annotated[dict[Name, Number], Meta(min_length=1, max_length=16)]
    correct: Count
    examples: Count
    weights: Hash | None
    weights_bytes: Count
    predictions: Hash | None
    checkpoints: Hash
    checkpoint_count: Annotated[int, Meta(ge=1, le=1024)]
    macs: Number
    peak_bytes: Count
    measured: Measurement | None


class Leaf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The end of one replayed segment, as the claimant revealed it: its hash, and the path under the claim's root.

    `receipt` is the claimant's signature of what the checker had committed to before: whoever has not done the work
    has no receipt that fits. A task without networks has nothing to reveal, and no receipt.
    """

    segment: Count
    end: Hash
    path: Annotated[tuple[Hash, ...], Meta(max_length=10)]  # a tree of 1,024 checkpoints
    receipt: Signature | None = None


class Attestation(_Body, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="attestation"):
    """I checked this claim, and it held. `leaves` prove a replay; `objectives` are what a training of my own gave."""

    claim: Hash
    stage: Literal["1", "2a", "2b"]
    leaves: Annotated[tuple[Leaf, ...], Meta(max_length=8)]
    objectives: Annotated[dict[Name, Number], Meta(max_length=16)]


class Accusation(_Body, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="accusation"):
    """This claim is false, and here is the item that anyone can run again."""

    claim: Hash
    stage: Literal["0", "1", "2a"]
    segment: Count
    claimed: Hash
    found: Hash
    path: Proofs


class Head(_Body, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="head"):
    """The claims that stand on a peer's front of one task, best first: its record in the DHT."""

    task: Hash
    claims: Annotated[tuple[Hash, ...], Meta(max_length=64)]


class Setback(_Body, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="setback"):
    """This genome came to nothing here, through no fault of a machine's: nobody else need try it."""

    task: Hash
    tier: Name
    genome: Hash
    arithmetic: Name
    kind: Literal["refused", "diverged"]


Body = Claim | Attestation | Accusation | Head | Setback


class Signed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The encoding of a body, and its peer's signature of exactly these bytes."""

    body: Annotated[bytes, Meta(max_length=RECORD_BYTES)]
    signature: Signature

    @property
    def id(self) -> bytes:
        """SHA-256 (32 bytes) of the body: the record's name, whoever carries it."""
        return digest("record/1", self.body)


def sign(identity: Identity, body: Body) -> Signed:
    """Sign a body. Raises ProtocolError for another peer's, and for one that is too large."""
    if body.peer != identity.key:
        raise ProtocolError("a peer signs only what names its own key.")
    encoded = encode(body)
    decode(encoded, Body)  # type: ignore[arg-type] # a union; what cannot be read back must not be signed
    return Signed(body=encoded, signature=identity.sign(_purpose(body), encoded))


def open_signed(record: Signed, *, now: float, drift_s: float = 300.0) -> Body:
    """The body of a record, once size, encoding, signature and time of validity are right.

    `drift_s` is how far another peer's clock may be off. Raises ProtocolError.
    """
    body: Body = decode(record.body, Body)  # type: ignore[arg-type] # a union
    if not signed_by(body.peer, _purpose(body), record.body, record.signature):
        raise ProtocolError(f"the {_kind(body)} is not signed by the peer that it names.")
    if body.expiry <= body.not_before:
        raise ProtocolError(
            f"the {_kind(body)} expects an expiry after {body.not_before}, got {body.expiry}."
        )
    if body.expiry - body.not_before > LONGEST_S:
        raise ProtocolError(
            f"the {_kind(body)} may hold for {LONGEST_S} seconds, got {body.expiry - body.not_before}."
        )
    if now < body.not_before - drift_s:
        raise ProtocolError(f"the {_kind(body)} holds from {body.not_before} on, it is {now:.0f}.")
    if now > body.expiry + drift_s:
        raise ProtocolError(f"the {_kind(body)} held until {body.expiry}, it is {now:.0f}.")
    if isinstance(body, Claim):
        _check_claim(body)
    return body


def claim_seed(genome: bytes, peer: bytes, task: bytes, epoch: int) -> int:
    """The seed (63 bits) of the training that a claim speaks of: nobody chooses it."""
    text = b"eqmesh/claim-seed/1\n" + genome + peer + task + epoch.to_bytes(8, "big")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def epoch_of(now: float) -> int:
    """The epoch that the time `now` (seconds since 1970) falls into."""
    return int(now // EPOCH_S)


def receipt_of(identity: Identity, claim: bytes, segment: int, commitment: bytes) -> bytes:
    """The claimant's signature that a checker had sent this commitment when the leaf was revealed."""
    return identity.sign("receipt/1", _receipt(claim, segment, commitment))


def receipted(key: bytes, claim: bytes, segment: int, commitment: bytes, receipt: bytes) -> bool:
    """Whether the claimant of this public key (32 bytes) gave that receipt."""
    return signed_by(key, "receipt/1", _receipt(claim, segment, commitment), receipt)


def _receipt(claim: bytes, segment: int, commitment: bytes) -> bytes:
    return claim + segment.to_bytes(8, "big") + commitment


def _check_claim(claim: Claim) -> None:
    if claim.correct > claim.examples:
        raise ProtocolError(f"a claim expects at most {claim.examples} correct answers, got {claim.correct}.")
    if (claim.weights is None) != (claim.predictions is None) or (claim.weights is None) != (
        claim.weights_bytes == 0
    ):
        raise ProtocolError("a claim names weights, their size and predictions, or none of the three.")
    accuracy = claim.objectives.get("accuracy")
    if claim.epoch != epoch_of(claim.not_before):
        raise ProtocolError(
            f"a claim from {claim.not_before} on belongs to epoch {epoch_of(claim.not_before)}, got {claim.epoch}."
        )
    measured = claim.weights is not None and accuracy is not None
    if measured and accuracy != claim.correct / max(1, claim.examples):
        raise ProtocolError(
            f"a claim's accuracy must be {claim.correct} of {claim.examples}, got {accuracy!r}."
        )


def _purpose(body: Body) -> str:
    return f"{_kind(body)}/{body.version}"


def _kind(body: Body) -> str:
    return type(body).__name__.lower()

"""What one peer asks another over a stream, and the answers. Pure.

Every answer is bounded before it is asked for: ids and chunks by number, records and genomes by their own limits.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from genome.genome import MOST_BYTES
from node.protocol.blobs import Manifest
from node.protocol.claims import Signed
from node.protocol.digests import BUCKETS, Digest
from node.protocol.wire import CHUNK_BYTES, MOST_IDS, Count, Hash, Proofs, Signature

__all__ = [
    "MOST_GENOMES",
    "MOST_RECORDS",
    "Answer",
    "AskBucket",
    "AskChunk",
    "AskDigest",
    "AskGenomes",
    "AskManifest",
    "AskRecords",
    "AskSegment",
    "BucketIds",
    "Chunk",
    "Found",
    "Genomes",
    "HaveManifest",
    "No",
    "Question",
    "Records",
    "Segment",
]

MOST_RECORDS = 64
MOST_GENOMES = 64


class _Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question or answer."""


class AskDigest(_Message, frozen=True, kw_only=True, tag="ask-digest"):
    """What records of a task do you have?"""

    task: Hash


class AskBucket(_Message, frozen=True, kw_only=True, tag="ask-bucket"):
    """Which ids are in this bucket, from `after` on?"""

    task: Hash
    bucket: Annotated[int, Meta(ge=0, lt=BUCKETS)]
    after: Hash | None = None


class AskRecords(_Message, frozen=True, kw_only=True, tag="ask-records"):
    """Give me these claims, attestations or accusations."""

    ids: Annotated[tuple[Hash, ...], Meta(min_length=1, max_length=MOST_RECORDS)]


class AskGenomes(_Message, frozen=True, kw_only=True, tag="ask-genomes"):
    """Give me the canonical bytes of these genomes."""

    ids: Annotated[tuple[Hash, ...], Meta(min_length=1, max_length=MOST_GENOMES)]


class AskManifest(_Message, frozen=True, kw_only=True, tag="ask-manifest"):
    """How is this blob cut into chunks?"""

    blob: Hash


class AskChunk(_Message, frozen=True, kw_only=True, tag="ask-chunk"):
    """Give me this chunk of a blob."""

    blob: Hash
    index: Count


class AskSegment(_Message, frozen=True, kw_only=True, tag="ask-segment"):
    """Show the leaf at the beginning of this segment of a claim, or, once there is a `commitment` to the end that the
    checker computed itself, the leaf at its end."""

    claim: Hash
    segment: Count
    commitment: Hash | None = None


class Found(_Message, frozen=True, kw_only=True, tag="digest"):
    """The digest of all records of a task."""

    digest: Digest


class BucketIds(_Message, frozen=True, kw_only=True, tag="bucket-ids"):
    """Ids of a bucket, sorted; `more` says that others follow the last one."""

    ids: Annotated[tuple[Hash, ...], Meta(max_length=MOST_IDS)]
    more: bool


class Records(_Message, frozen=True, kw_only=True, tag="records"):
    """Those of the records asked for that are here."""

    records: Annotated[tuple[Signed, ...], Meta(max_length=MOST_RECORDS)]


class Genomes(_Message, frozen=True, kw_only=True, tag="genomes"):
    """Canonical bytes of those of the genomes asked for that are here."""

    bodies: Annotated[
        tuple[Annotated[bytes, Meta(max_length=MOST_BYTES)], ...], Meta(max_length=MOST_GENOMES)
    ]


class Chunk(_Message, frozen=True, kw_only=True, tag="chunk"):
    """One chunk of a blob."""

    body: Annotated[bytes, Meta(max_length=CHUNK_BYTES)]


class Segment(_Message, frozen=True, kw_only=True, tag="segment"):
    """One leaf of a claim's checkpoints, and the path that proves it under the claim's root.

    `state` names the blob of the learner's state there, where the leaf is the start of a replay; `receipt` is the
    claimant's signature of the commitment, where the leaf is its end.
    """

    leaf: Hash
    path: Proofs
    state: Hash | None = None
    state_bytes: Count = 0
    receipt: Signature | None = None


class No(_Message, frozen=True, kw_only=True, tag="no"):
    """Not here, not now, or not to you; `why` is for the log."""

    why: Annotated[str, Meta(max_length=200)]


class HaveManifest(_Message, frozen=True, kw_only=True, tag="manifest"):
    """How a blob is cut into chunks."""

    manifest: Manifest


Question = AskDigest | AskBucket | AskRecords | AskGenomes | AskManifest | AskChunk | AskSegment
Answer = Found | BucketIds | Records | Genomes | HaveManifest | Chunk | Segment | No

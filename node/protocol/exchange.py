"""Catching up with another peer: compare digests, ask for what is missing, take only what was asked for. Pure.

Questions and answers are values; whoever holds a transport carries them. A late joiner, a healed partition and two
peers that heard different gossip all end with the same records. (Anti-entropy: Demers et al. 1987.)
"""

from collections import deque
from collections.abc import Container
from typing import Protocol

from genome import Genome, GenomeError
from node.protocol.blobs import Manifest
from node.protocol.claims import Signed
from node.protocol.digests import Catalogue, differing
from node.protocol.errors import ProtocolError
from node.protocol.questions import (
    MOST_RECORDS,
    Answer,
    AskBucket,
    AskChunk,
    AskDigest,
    AskGenomes,
    AskManifest,
    AskRecords,
    AskSegment,
    BucketIds,
    Chunk,
    Found,
    Genomes,
    HaveManifest,
    No,
    Question,
    Records,
    Segment,
)
from node.protocol.wire import MOST_IDS

__all__ = ["MOST_MISSING", "CatchUp", "Library", "answer", "check_genomes", "check_records"]

MOST_MISSING = 4096
"""Most records that one catch-up asks for; the next one goes on from there."""


class Library(Protocol):
    """What a peer can give to others; every look-up gives None for what it does not have."""

    def catalogue(self, task: bytes) -> Catalogue:
        """Ids of all records of a task; empty for a task that is not known here."""
        ...

    def record(self, id_: bytes) -> Signed | None:
        """A claim, attestation or accusation."""
        ...

    def genome(self, id_: bytes) -> bytes | None:
        """Canonical bytes of a genome."""
        ...

    def manifest(self, id_: bytes) -> Manifest | None:
        """How weights, predictions or a learner's state, named by SHA-256, are cut into chunks."""
        ...

    def chunk(self, id_: bytes, index: int) -> bytes | None:
        """One of those chunks; None also beyond the last one."""
        ...

    def segment(self, peer: str, question: AskSegment) -> Segment | No:
        """A leaf of a claim of one's own, or why this peer does not get it."""
        ...


def answer(library: Library, question: Question, peer: str) -> Answer:
    """What a peer answers to another one: what it has, within the bounds of one message."""
    match question:
        case AskDigest():
            return Found(digest=library.catalogue(question.task).digest())
        case AskBucket():
            ids = library.catalogue(question.task).bucket(question.bucket)
            rest = [id_ for id_ in ids if question.after is None or id_ > question.after]
            return BucketIds(ids=tuple(rest[:MOST_IDS]), more=len(rest) > MOST_IDS)
        case AskRecords():
            records = (library.record(id_) for id_ in question.ids)
            return Records(records=tuple(record for record in records if record is not None))
        case AskGenomes():
            bodies = (library.genome(id_) for id_ in question.ids)
            return Genomes(bodies=tuple(body for body in bodies if body is not None))
        case AskManifest():
            manifest = library.manifest(question.blob)
            return No(why="not here") if manifest is None else HaveManifest(manifest=manifest)
        case AskChunk():
            body = library.chunk(question.blob, question.index)
            return No(why="not here") if body is None else Chunk(body=body)
        case AskSegment():
            return library.segment(peer, question)


def check_records(asked: AskRecords, found: Records) -> tuple[Signed, ...]:
    """The records of an answer. Raises ProtocolError for one that was not asked for, or that comes twice."""
    ids = [record.id for record in found.records]
    if len(set(ids)) != len(ids) or not set(ids) <= set(asked.ids):
        raise ProtocolError("an answer holds records that were asked for, each once; got another one.")
    return found.records


def check_genomes(asked: AskGenomes, found: Genomes) -> tuple[Genome, ...]:
    """The genomes of an answer. Raises ProtocolError for one that was not asked for, comes twice or is malformed."""
    try:
        genomes = tuple(Genome.decode(body) for body in found.bodies)
    except GenomeError as error:
        raise ProtocolError(f"an answer holds no genome: {error}") from error
    ids = [bytes.fromhex(genome.id) for genome in genomes]
    if len(set(ids)) != len(ids) or not set(ids) <= set(asked.ids):
        raise ProtocolError("an answer holds genomes that were asked for, each once; got another one.")
    return genomes


class CatchUp:
    """One conversation with one peer about one task: `next` gives the question to ask, `hear` takes its answer.

    `next` gives None once nothing is missing any more. What an honest peer would not answer raises ProtocolError,
    and a peer that always has more than it shows ends after MOST_MISSING records. `mine` are the records that are held
    here; what is `known` beyond them is not asked for either.
    """

    def __init__(self, task: bytes, mine: Catalogue, *, known: Container[bytes] = ()) -> None:
        self._task = task
        self._mine = mine
        self._known = known
        self._waiting: deque[Question] = deque([AskDigest(task=task)])
        self._missing: deque[bytes] = deque()
        self._heard = 0
        self._asked: Question | None = None

    def next(self) -> Question | None:
        """The question to ask now."""
        if self._asked is not None:
            raise ProtocolError("a catch-up asks one question at a time: hear the answer first.")
        if len(self._missing) >= MOST_RECORDS or (self._missing and not self._waiting):
            ids = [self._missing.popleft() for _ in range(min(MOST_RECORDS, len(self._missing)))]
            self._asked = AskRecords(ids=tuple(ids))
        elif self._waiting:
            self._asked = self._waiting.popleft()
        return self._asked

    def hear(self, found: Answer) -> tuple[Signed, ...]:
        """Take the answer to the last question; gives the records that it brought. Raises ProtocolError."""
        asked, self._asked = self._asked, None
        match asked, found:
            case _, No():
                return ()
            case AskDigest(), Found():
                buckets = differing(self._mine.digest(), found.digest)
                self._waiting += [AskBucket(task=self._task, bucket=number) for number in buckets]
                return ()
            case AskBucket(), BucketIds():
                self._note(asked, found)
                return ()
            case AskRecords(), Records():
                return check_records(asked, found)
        raise ProtocolError(
            f"the answer to {type(asked).__name__} is of another kind: {type(found).__name__}."
        )

    def _note(self, asked: AskBucket, found: BucketIds) -> None:
        ids = list(found.ids)
        ordered = ids == sorted(set(ids))
        after = asked.after is None or not ids or ids[0] > asked.after
        if not ordered or not after or any(id_[0] >> 2 != asked.bucket for id_ in ids):
            raise ProtocolError("the ids of a bucket come sorted, each once, after the one that was named.")
        if found.more and not ids:
            raise ProtocolError("a bucket with more to come shows some of it.")
        # Ids that are here come to an end by themselves; counted, they would hide those of the last buckets for ever.
        new = [id_ for id_ in ids if id_ not in self._mine and id_ not in self._known]
        self._missing += new[: max(0, MOST_MISSING - self._heard)]
        self._heard += len(new)
        if found.more and self._heard < MOST_MISSING:
            self._waiting.append(AskBucket(task=self._task, bucket=asked.bucket, after=ids[-1]))

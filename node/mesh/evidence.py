"""The evidence of own claims: what a node has to show when others check, and to whom it showed what."""

import os
from collections import OrderedDict
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from node.errors import NodeError
from node.mesh.vault import Vault
from node.protocol import merkle
from node.protocol.claims import receipt_of
from node.protocol.identity import Identity
from node.protocol.questions import AskSegment, No, Segment
from node.protocol.wire import Hash

__all__ = ["Evidence", "EvidenceRoom"]

_SHOWN = 20_000

Hashes = Annotated[tuple[Hash, ...], Meta(max_length=1024)]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind one claim: checkpoint hashes, and the blobs of weights, predictions and states.

    Without networks there are no blobs: whoever knows the genome can do the rest. Segment i starts from state i - 1.
    """

    claim: Hash
    checkpoints: Hashes
    weights: Hash | None = None
    predictions: Hash | None = None
    states: Hashes = ()
    size_bytes: int = 0

    def blobs(self) -> set[bytes]:
        """Every blob of it."""
        named = {self.weights, self.predictions} - {None}
        return {name for name in named if name} | set(self.states)


class EvidenceRoom:
    """Evidence by claim, oldest first, within a bound of bytes; kept in a file beside the blobs, if one is named.

    A checker sees the start of a segment for nothing, and its end once it has committed to what it found there itself;
    what it saw as a start it can no more commit to.
    """

    def __init__(
        self, identity: Identity, vault: Vault, *, most_bytes: int, file: Path | None = None
    ) -> None:
        self._identity = identity
        self._vault = vault
        self._most = most_bytes
        self._file = file
        self._kept: OrderedDict[bytes, Evidence] = OrderedDict()
        self._shown: OrderedDict[tuple[bytes, str, int], bytes | None] = OrderedDict()
        if file is not None and file.exists():
            for evidence in _read(file):
                self._kept[evidence.claim] = evidence

    def __contains__(self, claim: bytes) -> bool:
        return claim in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, evidence: Evidence) -> None:
        """Keep evidence; the oldest goes where the bound is passed."""
        self._kept[evidence.claim] = evidence
        while len(self._kept) > 1 and sum(one.size_bytes for one in self._kept.values()) > self._most:
            self._drop(next(iter(self._kept)))
        self._save()

    def retain(self, claims: set[bytes]) -> None:
        """Drop the evidence of all other claims."""
        gone = [claim for claim in self._kept if claim not in claims]
        for claim in gone:
            self._drop(claim)
        if gone:
            self._save()

    def blobs(self) -> set[bytes]:
        """Every blob that some evidence needs."""
        return {name for evidence in self._kept.values() for name in evidence.blobs()}

    def segment(self, peer: str, question: AskSegment) -> Segment | No:
        """A leaf of an own claim for `peer`, or why it does not get it."""
        evidence = self._kept.get(question.claim)
        count = len(evidence.checkpoints) if evidence else 0
        if evidence is None or question.segment >= count:
            return No(why="no evidence of that here")
        if question.commitment is None:
            return self._start(evidence, peer, question.segment)
        return self._end(evidence, peer, question.segment, question.commitment)

    def _start(self, evidence: Evidence, peer: str, segment: int) -> Segment | No:
        index = segment - 1
        if index < 0:
            return No(why="the first segment starts from the seed")
        name = evidence.states[index] if evidence.states else None
        if name is None or self._vault.size(name) is None:
            return No(why="that state is not kept")
        if (evidence.claim, peer, index) not in self._shown:
            self._show(evidence.claim, peer, index, None)
        return Segment(
            leaf=evidence.checkpoints[index],
            path=merkle.proof(evidence.checkpoints, index),
            state=name,
            state_bytes=self._vault.size(name) or 0,
        )

    def _end(self, evidence: Evidence, peer: str, segment: int, commitment: bytes) -> Segment | No:
        key = (evidence.claim, peer, segment)
        if self._shown.get(key, commitment) != commitment:
            return No(why="that leaf was shown before; commit first, and once")
        self._show(evidence.claim, peer, segment, commitment)
        return Segment(
            leaf=evidence.checkpoints[segment],
            path=merkle.proof(evidence.checkpoints, segment),
            receipt=receipt_of(self._identity, evidence.claim, segment, commitment),
        )

    def _show(self, claim: bytes, peer: str, index: int, commitment: bytes | None) -> None:
        self._shown[claim, peer, index] = commitment
        if len(self._shown) > _SHOWN:
            self._shown.popitem(last=False)

    def _drop(self, claim: bytes) -> None:
        gone = self._kept.pop(claim)
        for name in gone.blobs() - self.blobs():
            self._vault.drop(name)

    def _save(self) -> None:
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial")
        with partial.open("wb") as out:
            out.write(msgspec.msgpack.encode(list(self._kept.values())))
            out.flush()
            os.fsync(out.fileno())  # else a power cut may leave the new name on an empty file
        partial.replace(self._file)


def _read(file: Path) -> list[Evidence]:
    try:
        return msgspec.msgpack.decode(file.read_bytes(), type=list[Evidence])
    except msgspec.MsgspecError as error:
        raise NodeError(
            f"{file} must list the evidence of own claims, it holds something else ({error}). Move it away: the claims "
            "in it can no longer be checked by others, and new ones are made."
        ) from error

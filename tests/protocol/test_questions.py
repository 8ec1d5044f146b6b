"""Questions and answers: golden bytes, and bounds that hold for the largest of them."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.protocol.blobs import manifest_of
from node.protocol.claims import sign
from node.protocol.digests import BUCKETS, Catalogue
from node.protocol.errors import ProtocolError
from node.protocol.questions import (
    MOST_GENOMES,
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
from node.protocol.wire import CHUNK_BYTES, MOST_IDS, decode, encode
from node.transports.base import Limits
from tests.protocol.samples import ALICE, CLAIM, HEAD

GOLDEN = Path(__file__).parent / "golden_questions.json"
ID, OTHER = b"i" * 32, b"j" * 32
QUESTIONS: tuple[Question, ...] = (
    AskDigest(task=ID),
    AskBucket(task=ID, bucket=63, after=OTHER),
    AskBucket(task=ID, bucket=0),
    AskRecords(ids=(ID, OTHER)),
    AskGenomes(ids=(ID,)),
    AskManifest(blob=ID),
    AskChunk(blob=ID, index=3),
    AskSegment(claim=ID, segment=2),
    AskSegment(claim=ID, segment=2, commitment=OTHER),
)
ANSWERS: tuple[Answer, ...] = (
    Found(digest=Catalogue([ID, OTHER]).digest()),
    BucketIds(ids=(ID, OTHER), more=True),
    Records(records=(sign(ALICE, CLAIM), sign(ALICE, HEAD))),
    Genomes(bodies=(b"\x80",)),
    HaveManifest(manifest=manifest_of(b"abc")),
    Chunk(body=b"abc"),
    Segment(leaf=ID, path=(OTHER,), state=OTHER, state_bytes=7),
    No(why="busy"),
)


@pytest.mark.parametrize("message", QUESTIONS, ids=str)
def test_a_question_comes_back(message: Question) -> None:
    assert decode(encode(message), Question, limit_bytes=Limits().request_bytes) == message


@pytest.mark.parametrize("message", ANSWERS, ids=lambda message: type(message).__name__)
def test_an_answer_comes_back(message: Answer) -> None:
    assert decode(encode(message), Answer, limit_bytes=Limits().reply_bytes) == message


def test_golden_bytes_never_change() -> None:
    found = [hashlib.sha256(encode(message)).hexdigest() for message in (*QUESTIONS, *ANSWERS)]
    assert json.loads(GOLDEN.read_text()) == found


def test_the_largest_answers_fit_a_reply() -> None:
    most = Limits().reply_bytes
    record = sign(ALICE, CLAIM)
    for answer in (
        Chunk(body=bytes(CHUNK_BYTES)),
        Genomes(bodies=(bytes(8192),) * MOST_GENOMES),
        Records(records=(type(record)(body=bytes(8192), signature=bytes(64)),) * MOST_RECORDS),
        BucketIds(ids=tuple(bytes([i]) * 32 for i in range(MOST_IDS)), more=False),
        HaveManifest(manifest=manifest_of(bytes(CHUNK_BYTES * 8))),
    ):
        assert len(encode(answer)) <= most


@pytest.mark.parametrize(
    "message",
    [
        AskBucket(task=ID, bucket=BUCKETS),
        AskRecords(ids=()),
        AskRecords(ids=(ID,) * (MOST_RECORDS + 1)),
        AskGenomes(ids=(b"short",)),
        AskChunk(blob=ID, index=-1),
    ],
    ids=str,
)
def test_a_question_out_of_bounds_is_refused(message: Question) -> None:
    with pytest.raises(ProtocolError):
        decode(encode(message), Question)


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_whatever_comes_over_a_stream_is_refused_in_words(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(body, Question)

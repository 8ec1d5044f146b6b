"""Two peers that catch up with each other, and what a hostile one may answer."""

import hashlib
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genome import preset
from node.protocol.blobs import Assembly, Manifest, chunk_of, manifest_of
from node.protocol.claims import Signed, sign
from node.protocol.digests import Catalogue
from node.protocol.errors import ProtocolError
from node.protocol.exchange import MOST_MISSING, CatchUp, answer, check_genomes, check_records
from node.protocol.questions import (
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
from node.protocol.wire import CHUNK_BYTES, encode
from node.transports.base import Limits
from tests.protocol.samples import ALICE, HEAD

TASK = b"t" * 32
PEER = ALICE.peer


class Shelf:
    """A library in memory."""

    def __init__(self, records: Iterable[Signed] = (), blobs: Iterable[bytes] = ()) -> None:
        self.records = {record.id: record for record in records}
        self.blobs = {hashlib.sha256(body).digest(): body for body in blobs}
        self.genomes = {bytes.fromhex(preset(name).id): preset(name) for name in ("shallow", "deep", "ep")}

    def catalogue(self, task: bytes) -> Catalogue:
        return Catalogue(self.records if task == TASK else ())

    def record(self, id_: bytes) -> Signed | None:
        return self.records.get(id_)

    def genome(self, id_: bytes) -> bytes | None:
        found = self.genomes.get(id_)
        return None if found is None else found.canonical()

    def manifest(self, id_: bytes) -> Manifest | None:
        return manifest_of(self.blobs[id_]) if id_ in self.blobs else None

    def chunk(self, id_: bytes, index: int) -> bytes | None:
        return chunk_of(self.blobs.get(id_, b""), index) or None

    def segment(self, peer: str, question: AskSegment) -> Segment | No:
        return No(why=f"{peer} asks for {question.segment}")


def many(numbers: Iterable[int]) -> list[Signed]:
    """Records that differ, signed by nobody: what they say is not looked at here."""
    return [Signed(body=encode(number), signature=bytes(64)) for number in numbers]


def catch_up(mine: Shelf, theirs: Shelf) -> tuple[int, int]:
    """Let one peer catch up with another; gives questions asked and bytes moved."""
    talk, asked, moved = CatchUp(TASK, mine.catalogue(TASK)), 0, 0
    while (question := talk.next()) is not None:
        found = answer(theirs, question, PEER)
        asked, moved = asked + 1, moved + len(encode(question)) + len(encode(found))
        assert len(encode(question)) <= Limits().request_bytes
        assert len(encode(found)) <= Limits().reply_bytes
        mine.records |= {record.id: record for record in talk.hear(found)}
    return asked, moved


@settings(max_examples=40)
@given(st.sets(st.integers(0, 300), max_size=80), st.sets(st.integers(0, 300), max_size=80))
def test_two_peers_end_with_the_same_records(one: set[int], two: set[int]) -> None:
    first, second = Shelf(many(one)), Shelf(many(two))
    catch_up(first, second)
    catch_up(second, first)
    assert first.records.keys() == second.records.keys() == {record.id for record in many(one | two)}


def test_peers_that_agree_exchange_a_digest_and_nothing_else() -> None:
    one, two = Shelf(many(range(2000))), Shelf(many(range(2000)))
    asked, moved = catch_up(one, two)
    assert asked == 1
    assert moved < 4000


def test_one_missing_record_costs_one_bucket() -> None:
    one, two = Shelf(many(range(1999))), Shelf(many(range(2000)))
    asked, moved = catch_up(one, two)
    assert asked == 3
    assert moved < 8000


def test_a_late_joiner_of_a_large_mesh_catches_up_in_several_conversations() -> None:
    one, two = Shelf(), Shelf(many(range(MOST_MISSING + 500)))
    catch_up(one, two)
    assert len(one.records) <= MOST_MISSING
    catch_up(one, two)
    assert one.records.keys() == two.records.keys()


def test_buckets_with_more_than_one_answer_holds_are_read_on() -> None:
    crowded = [record for record in many(range(20_000)) if record.id[0] >> 2 == 5]
    assert len(crowded) > 260
    one, two = Shelf(), Shelf(crowded)
    catch_up(one, two)
    assert one.records.keys() == two.records.keys()


def test_a_peer_without_answers_ends_the_conversation() -> None:
    talk = CatchUp(TASK, Catalogue())
    assert talk.next() == AskDigest(task=TASK)
    assert talk.hear(No(why="busy")) == ()
    assert talk.next() is None


def after(question: type[Question], found: Answer) -> None:
    """Give a hostile answer to the first question of a kind, after honest ones."""
    honest, talk = Shelf(many(range(200))), CatchUp(TASK, Catalogue())
    while (asked := talk.next()) is not None:
        talk.hear(found if isinstance(asked, question) else answer(honest, asked, PEER))


@pytest.mark.parametrize(
    ("question", "found"),
    [
        (AskDigest, Chunk(body=b"")),
        (AskDigest, BucketIds(ids=(), more=False)),
        (AskBucket, BucketIds(ids=(), more=True)),
        (AskBucket, BucketIds(ids=(b"\xff" * 32,), more=False)),
        (AskBucket, BucketIds(ids=(bytes(32), bytes(32)), more=False)),
        (AskBucket, BucketIds(ids=(b"\x00" + b"\xff" * 31, bytes(32)), more=False)),
        (AskBucket, Found(digest=Catalogue().digest())),
        (AskRecords, Records(records=(sign(ALICE, HEAD),))),
        (AskRecords, Records(records=(many([1])[0],) * 2)),
        (AskRecords, Genomes(bodies=())),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_an_honest_peer_would_not_answer_is_refused(question: type[Question], found: Answer) -> None:
    with pytest.raises(ProtocolError):
        after(question, found)


def test_a_peer_that_always_has_more_is_not_listened_to_for_ever() -> None:
    talk, asked, number = CatchUp(TASK, Catalogue()), 0, 0
    while (question := talk.next()) is not None:
        asked += 1
        if isinstance(question, AskDigest):
            talk.hear(Found(digest=Catalogue([bytes(32)]).digest()))
        elif isinstance(question, AskBucket):
            ids = tuple((number + i).to_bytes(32, "big") for i in range(256))
            number += 256
            talk.hear(BucketIds(ids=ids, more=True))
        else:
            talk.hear(Records(records=()))
    assert asked <= 1 + MOST_MISSING // 256 + MOST_MISSING // 64


def test_questions_come_one_at_a_time() -> None:
    talk = CatchUp(TASK, Catalogue())
    talk.next()
    with pytest.raises(ProtocolError, match="one question at a time"):
        talk.next()


def test_genomes_come_by_their_ids_and_no_other() -> None:
    shelf = Shelf()
    asked = AskGenomes(ids=(*shelf.genomes, bytes(32)))
    found = answer(shelf, asked, PEER)
    assert isinstance(found, Genomes)
    assert {genome.id for genome in check_genomes(asked, found)} == {id_.hex() for id_ in shelf.genomes}
    one = next(iter(shelf.genomes))
    with pytest.raises(ProtocolError, match="asked for"):
        check_genomes(AskGenomes(ids=(one,)), found)
    with pytest.raises(ProtocolError, match="asked for"):
        check_genomes(asked, Genomes(bodies=found.bodies[:1] * 2))
    with pytest.raises(ProtocolError, match="no genome"):
        check_genomes(asked, Genomes(bodies=(b"\xc1",)))


def test_a_bent_record_is_not_the_one_that_was_asked_for() -> None:
    record = sign(ALICE, HEAD)
    bent = msgspec.structs.replace(record, body=record.body[:-1] + b"\x00")
    with pytest.raises(ProtocolError, match="asked for"):
        check_records(AskRecords(ids=(record.id,)), Records(records=(bent,)))


def test_a_blob_is_moved_in_chunks() -> None:
    body = bytes(range(256)) * (CHUNK_BYTES // 256 + 3)
    shelf, name = Shelf(blobs=[body]), hashlib.sha256(body).digest()
    found = answer(shelf, AskManifest(blob=name), PEER)
    assert isinstance(found, HaveManifest)
    parts = Assembly(name, len(body), found.manifest)
    for index in list(parts.missing()):
        chunk = answer(shelf, AskChunk(blob=name, index=index), PEER)
        assert isinstance(chunk, Chunk)
        parts.accept(index, chunk.body)
    assert parts.whole() == body
    for beyond in (
        AskChunk(blob=name, index=2),
        AskChunk(blob=bytes(32), index=0),
        AskManifest(blob=bytes(32)),
    ):
        assert isinstance(answer(shelf, beyond, PEER), No)


def test_a_segment_is_shown_or_not_depending_on_who_asks() -> None:
    found = answer(Shelf(), AskSegment(claim=bytes(32), segment=3), PEER)
    assert found == No(why=f"{PEER} asks for 3")

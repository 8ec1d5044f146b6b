"""Announcements: what fits is told, within the bounds of one message, and read back as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.protocol.announcements import MOST_RECORDS, Announcement, announcements, read_announcement, topic_of
from node.protocol.claims import Signed, sign
from node.protocol.errors import ProtocolError
from node.protocol.wire import RECORD_BYTES, encode
from tests.protocol.samples import ALICE, BOB, BODIES


def record(size: int, number: int = 0) -> Signed:
    """A record with a body of so many bytes."""
    return Signed(body=b"x" * size, signature=number.to_bytes(64, "big"))


def test_signed_records_come_back_as_they_were() -> None:
    records = [sign(ALICE if body.peer == ALICE.key else BOB, body) for body in BODIES]
    messages = list(announcements(records))
    assert [one for message in messages for one in read_announcement(message)] == records


@given(st.lists(st.integers(0, 9000), max_size=60), st.integers(200, RECORD_BYTES))
def test_every_message_fits_and_only_what_fits_nowhere_is_left_out(sizes: list[int], limit: int) -> None:
    records = [record(size, number) for number, size in enumerate(sizes)]
    messages = list(announcements(records, limit_bytes=limit))
    assert all(len(message) <= limit for message in messages)
    told = [one for message in messages for one in read_announcement(message)]
    alone = [one for one in records if len(encode(Announcement(records=(one,)))) <= limit - 16]
    left = [one for one in records if len(encode(Announcement(records=(one,)))) > limit]
    assert [one for one in told if one in alone] == alone
    assert not any(one in told for one in left)
    assert len(told) == len(set(told))
    assert told == [one for one in records if one in told]


def test_a_message_has_at_most_so_many_records() -> None:
    messages = list(announcements(record(0, number) for number in range(2 * MOST_RECORDS + 3)))
    assert [len(read_announcement(message)) for message in messages] == [MOST_RECORDS, MOST_RECORDS, 3]


def test_nothing_to_tell_is_no_message() -> None:
    assert list(announcements([])) == []
    assert list(announcements([record(RECORD_BYTES)])) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x80",
        encode({"records": []}),
        encode({"records": [None]}),
        encode(Announcement(records=(record(0),) * (MOST_RECORDS + 1))),
        encode(Announcement(records=(record(5),))) + b"\x00",
        b"\x81\xa7records\x91\x82\xa4body\xc4\x00\xa9signature\xc4\x01x",
        b"\x81\xa7records\xdd\xff\xff\xff\xff",
        b"\x81\xa7records" + b"\x91" * 8000,
        b"\x91" * 8000,
        encode(Announcement(records=(record(RECORD_BYTES),))),
    ],
    ids=lambda body: f"{len(body)}-{body[:12].hex()}",
)
def test_what_is_no_announcement_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_announcement(body)


def test_each_task_has_its_topic() -> None:
    assert topic_of(b"t" * 32) == f"eqmesh/{'74' * 32}/1"
    assert topic_of(b"t" * 32) != topic_of(b"u" * 32)

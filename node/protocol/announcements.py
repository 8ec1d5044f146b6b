"""What a peer tells everybody at once: a few signed records, as many as one message of gossip holds. Pure."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from node.protocol.claims import Signed
from node.protocol.wire import RECORD_BYTES, decode, encode

__all__ = ["MOST_RECORDS", "Announcement", "announcements", "read_announcement", "topic_of"]

MOST_RECORDS = 16
_ENVELOPE = 16  # bytes that a tuple of at most 16 records takes beside them


class Announcement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Claims, attestations, accusations and setbacks: ids and a few numbers each, never a genome's body or weights."""

    records: Annotated[tuple[Signed, ...], Meta(min_length=1, max_length=MOST_RECORDS)]


def topic_of(task: bytes) -> str:
    """The topic of gossip under which a task (32 bytes) is talked about."""
    return f"eqmesh/{task.hex()}/1"


def announcements(records: Iterable[Signed], *, limit_bytes: int = RECORD_BYTES) -> Iterator[bytes]:
    """The records as messages of at most `limit_bytes`; one that would not fit alone is left to catching up."""
    held: list[Signed] = []
    size = _ENVELOPE
    for record in records:
        weight = len(encode(record))
        if weight + _ENVELOPE > limit_bytes:
            continue
        if held and (size + weight > limit_bytes or len(held) == MOST_RECORDS):
            yield encode(Announcement(records=tuple(held)))
            held, size = [], _ENVELOPE
        held.append(record)
        size += weight
    if held:
        yield encode(Announcement(records=tuple(held)))


def read_announcement(body: bytes) -> tuple[Signed, ...]:
    """The records of a message. Raises ProtocolError where it is malformed or too large; opens none of them."""
    return decode(body, Announcement).records

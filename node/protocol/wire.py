"""Bytes to messages and back: canonical, versioned, bounded MessagePack. Pure.

Canonical means that one message has one encoding: what arrives is decoded, encoded again, and refused where the two
differ, so that a hash or a signature over the bytes is one over the message. Sizes are checked before anything is
parsed, and every field has a bound of its own.
"""

import hashlib
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from node.protocol.errors import ProtocolError

__all__ = [
    "CHUNK_BYTES",
    "MOST_IDS",
    "RECORD_BYTES",
    "Count",
    "Hash",
    "Key",
    "Name",
    "Proofs",
    "Signature",
    "decode",
    "digest",
    "encode",
]

RECORD_BYTES: Final = 8 * 1024
"""Largest signed record: claim, attestation, accusation, head or announcement."""
CHUNK_BYTES: Final = 256 * 1024
"""Bytes of a chunk of a blob; the last one may be shorter."""
MOST_IDS: Final = 256
"""Most ids in one message."""

Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Proofs = Annotated[tuple[Hash, ...], Meta(max_length=64)]

T = TypeVar("T")

_decoders: dict[object, msgspec.msgpack.Decoder[Any]] = {}
_encoder = msgspec.msgpack.Encoder(order="deterministic")


def encode(message: object) -> bytes:
    """The one encoding of a message."""
    return _encoder.encode(message)


def decode(body: bytes, kind: type[T], *, limit_bytes: int = RECORD_BYTES) -> T:
    """The message that `body` holds. Raises ProtocolError where it is too large, malformed or not canonical."""
    if len(body) > limit_bytes:
        raise ProtocolError(f"a {_name(kind)} expects at most {limit_bytes} bytes, got {len(body)}.")
    try:
        message: T = _decoder(kind).decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolError(f"a {_name(kind)} cannot be read: {str(error)[:200]}") from error
    if _encoder.encode(message) != body:
        raise ProtocolError(f"a {_name(kind)} must come in its one canonical encoding, got another.")
    return message


def digest(purpose: str, body: bytes) -> bytes:
    """SHA-256 (32 bytes) of `body`, good for one purpose: the id of a record."""
    return hashlib.sha256(b"eqmesh/" + purpose.encode() + b"\n" + body).digest()


def _decoder(kind: object) -> msgspec.msgpack.Decoder[Any]:
    if kind not in _decoders:
        _decoders[kind] = msgspec.msgpack.Decoder(kind)
    return _decoders[kind]


def _name(kind: object) -> str:
    return getattr(kind, "__name__", "message").lower()

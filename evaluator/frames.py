"""Messages of `evaluator.jobs` as frames: a four-byte big-endian length, then one MessagePack message. Pure."""

import struct
from typing import TypeVar

import msgspec

from evaluator.errors import EvaluatorError
from evaluator.jobs import Reply, Request

__all__ = ["MAX_FRAME_BYTES", "decode_reply", "decode_request", "encode", "frame_length"]

MAX_FRAME_BYTES = 16 * 1024 * 1024
_LENGTH = struct.Struct(">I")

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """The message as one frame. Raises EvaluatorError where it is larger than MAX_FRAME_BYTES."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise EvaluatorError(
            f"a message must fit {MAX_FRAME_BYTES} bytes, got {len(body)} ({type(message).__name__}). "
            "Shorten the curve or the telemetry."
        )
    return _LENGTH.pack(len(body)) + body


def frame_length(header: bytes) -> int:
    """Length of the body that follows a four-byte header. Raises EvaluatorError past the bound."""
    (length,) = _LENGTH.unpack(header)
    if length > MAX_FRAME_BYTES:
        raise EvaluatorError(
            f"a frame must not exceed {MAX_FRAME_BYTES} bytes, got a header that announces {length}. "
            "Something else wrote to the worker's standard output."
        )
    return int(length)


def decode_request(body: bytes) -> Request:
    """A request from the body of a frame. Raises EvaluatorError for anything else."""
    return _decode(_requests, body)


def decode_reply(body: bytes) -> Reply:
    """A reply from the body of a frame. Raises EvaluatorError for anything else."""
    return _decode(_replies, body)


def _decode(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise EvaluatorError(f"expected a message of evaluator.jobs, got other bytes: {error}") from error

"""What an owner can tell a running search over its socket, what it answers, and where the socket lies."""

import hashlib
import os
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

__all__ = [
    "LONGEST_PATH",
    "MOST_BYTES",
    "Answer",
    "Ban",
    "Done",
    "NodeState",
    "Order",
    "Pause",
    "Queue",
    "Refused",
    "Resume",
    "Status",
    "Stop",
    "Unban",
    "Verify",
    "control_path",
    "decode_answer",
    "decode_order",
    "line_of_order",
]

MOST_BYTES = 64 * 1024
"""Bytes that an order or an answer may have."""

LONGEST_PATH = 100
"""Bytes that the path of a socket may have: sockaddr_un holds 108 on Linux and 104 elsewhere, the end included."""


class _Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="order"):
    """An order; `order` says which."""


class Ban(_Order, frozen=True, tag="ban"):
    """Do not listen to a peer for so many days."""

    peer: Annotated[str, Meta(max_length=128)]
    days: Annotated[float, Meta(gt=0, le=36_500)]
    reason: Annotated[str, Meta(min_length=1, max_length=200)]


class Unban(_Order, frozen=True, tag="unban"):
    """Lift the bans of a peer."""

    peer: Annotated[str, Meta(max_length=128)]


class Pause(_Order, frozen=True, tag="pause"):
    """Begin no further training; those under way go on, and are recorded."""


class Resume(_Order, frozen=True, tag="resume"):
    """Go on after a pause."""


class Stop(_Order, frozen=True, tag="stop"):
    """End the search as Ctrl-C does."""


class Verify(_Order, frozen=True, tag="verify"):
    """Train a genome of the run on one more fresh seed, or check a peer's claim now. `target` begins an id."""

    target: Annotated[str, Meta(min_length=6, max_length=64, pattern="^[0-9a-fA-F]+$")]


class Queue(_Order, frozen=True, tag="queue"):
    """Train this genome next. `genome` is what `eqmesh genome export` writes."""

    genome: dict[str, object]


class Status(_Order, frozen=True, tag="status"):
    """Say what is going on; changes nothing."""


Order = Ban | Unban | Pause | Resume | Stop | Verify | Queue | Status
"""What a node can be told to do; the tag `order` says which."""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag_field="answer", tag="done"):
    """It is done, and written. `said` tells what became of it, where there is something to tell."""

    said: str = ""


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag_field="answer", tag="refused"):
    """It is not done, and why."""

    why: str


class NodeState(msgspec.Struct, frozen=True, kw_only=True, tag_field="answer", tag="state"):
    """What a search or node is doing. `queued` are genomes that wait for their training by order of the owner."""

    doing: Literal["running", "paused", "scoring", "serving"]
    run: int
    task: str
    evaluations: int
    limit: int | None
    training: int
    queued: int
    mesh: bool


Answer = Done | Refused | NodeState
"""What it answers; the tag `answer` says which."""

_orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)

T = TypeVar("T")


def decode_order(line: bytes) -> Order:
    """The order that a line of JSON holds. Raises msgspec.DecodeError."""
    return _decoded(_orders, line)


def decode_answer(line: bytes) -> Answer:
    """The answer that a line of JSON holds. Raises msgspec.DecodeError."""
    return _decoded(_answers, line)


def _decoded(decoder: "msgspec.json.Decoder[T]", line: bytes) -> T:
    try:
        return decoder.decode(line)
    except (RecursionError, UnicodeDecodeError) as error:
        raise msgspec.DecodeError(f"it is no plain JSON ({error})") from error


def line_of_order(order: Order) -> bytes:
    """An order as it goes over the socket."""
    return msgspec.json.encode(order) + b"\n"


def control_path(store: Path, state: Path) -> Path:
    """Where the socket of a store's node lies: beside the store, or in the `state` folder if that name is too long."""
    store = store.resolve()
    beside = store.with_name(f"{store.name}.sock")
    if len(os.fsencode(beside)) <= LONGEST_PATH:
        return beside
    name = hashlib.sha256(os.fsencode(store)).hexdigest()[:16]
    return state.resolve() / f"{name}.sock"

"""What stands in the DHT: genomes by content hash, and each peer's signed head of a task. Pure.

Keys are b"genome/" + id, b"head/" + task + peer's key, b"task/" + task (providers alone) and a blob's SHA-256
(providers alone). Whoever holds a record checks it by these rules, on store and on read.
"""

from collections.abc import Callable, Sequence

from genome import Genome, GenomeError
from node.protocol.claims import Head, Signed, open_signed
from node.protocol.errors import ProtocolError
from node.protocol.wire import decode

__all__ = ["genome_key", "head_key", "read_head", "selector", "task_key", "validator"]

_GENOME = b"genome/"
_HEAD = b"head/"
_TASK = b"task/"


def genome_key(genome: str) -> bytes:
    """Where a genome stands."""
    return _GENOME + bytes.fromhex(genome)


def head_key(task: bytes, key: bytes) -> bytes:
    """Where the head of a peer (its public key) for a task stands."""
    return _HEAD + task + key


def task_key(task: bytes) -> bytes:
    """What peers that search a task provide, so that others find them."""
    return _TASK + task


def validator(now: Callable[[], float]) -> Callable[[bytes, bytes], bool]:
    """Whether a value may stand under a key at the time that `now` gives."""

    def accepts(key: bytes, value: bytes) -> bool:
        try:
            if key.startswith(_GENOME):
                return bytes.fromhex(Genome.decode(value).id) == key.removeprefix(_GENOME)
            if key.startswith(_HEAD):
                return _head(key, value, now()) is not None
        except (GenomeError, ProtocolError):
            return False
        return False

    return accepts


def selector(now: Callable[[], float]) -> Callable[[bytes, Sequence[bytes]], int]:
    """Which of several values to keep: of heads the valid one with the highest sequence; genomes are all the same."""

    def best(key: bytes, values: Sequence[bytes]) -> int:
        if not key.startswith(_HEAD):
            return 0
        at = now()

        def sequence(index: int) -> int:
            try:
                head = _head(key, values[index], at)
            except ProtocolError:
                return -1
            return -1 if head is None else head.sequence

        return max(range(len(values)), key=sequence)

    return best


def read_head(key: bytes, value: bytes, now: float) -> Head:
    """The head that a value holds. Raises ProtocolError where it may not stand under the key."""
    head = _head(key, value, now)
    if head is None:
        raise ProtocolError("a head stands under its own task and peer, this one names others.")
    return head


def _head(key: bytes, value: bytes, now: float) -> Head | None:
    body = open_signed(decode(value, Signed, limit_bytes=16 * 1024), now=now)
    if isinstance(body, Head) and head_key(body.task, body.peer) == key:
        return body
    return None

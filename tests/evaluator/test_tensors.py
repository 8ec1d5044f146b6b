"""Files of arrays from strangers: what is not exactly what was expected is refused, whatever it is."""

import contextlib
import hashlib
import json
import tracemalloc
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.errors import EvidenceError, SurroundingsError
from evaluator.tensors import HEADER_BYTES, fetch, largest_file, refuse_infinite, unpack
from evaluator.weights import pack

LIKE: dict[str, Any] = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "clock": np.array([1.0, np.inf]),
    "step": np.array(7),
}
_, GOOD = pack(LIKE)
LENGTH = int.from_bytes(GOOD[:8], "little")
HEADER, DATA = json.loads(GOOD[8 : 8 + LENGTH]), GOOD[8 + LENGTH :]


def file(header: bytes | Mapping[str, Any], data: bytes = DATA) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(name: str, **changes: Any) -> bytes:
    return file({**HEADER, name: {**HEADER[name], **changes}})


def test_what_was_packed_comes_back_bit_for_bit() -> None:
    again = unpack(GOOD, LIKE)
    assert again.keys() == LIKE.keys()
    for name, array in LIKE.items():
        assert (again[name].dtype, again[name].shape) == (array.dtype, array.shape)
        assert again[name].tobytes() == array.tobytes()
    assert pack(again)[1] == GOOD


def test_spaces_and_another_order_of_the_header_are_other_words_for_the_same() -> None:
    again = unpack(file(json.dumps(dict(reversed(HEADER.items())), indent=1).encode() + b"   "), LIKE)
    np.testing.assert_array_equal(again["w"], LIKE["w"])


DOUBLE = json.dumps(HEADER)[:-1].encode() + b', "w": ' + json.dumps(HEADER["w"]).encode() + b"}"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "0 bytes of a file"),
    "a prefix alone": (b"\x00" * 7, "header"),
    "a header of 100 MB": ((100 * 2**20).to_bytes(8, "little") + GOOD[8:], "announce a header of 104857600"),
    "a header of 2**64 - 1": (b"\xff" * 8 + GOOD[8:], "announce"),
    "a header beyond the file": (file(HEADER)[: 8 + LENGTH // 2], "announce"),
    "a pickle": (b"cbuiltins\nexit\n(tR.", "header"),
    "a compressed bomb": (zlib.compress(bytes(2**20)), "header"),
    "no JSON": (file(b"{'w': 1}"), "expected a header of safetensors"),
    "no UTF-8": (file(b"\xff\xfe{}"), "expected a header of safetensors"),
    "brackets without end": (file(b"[" * HEADER_BYTES), "expected a header of safetensors"),
    "an endless number": (file(b'{"w":' + b"9" * 5000 + b"}"), "expected a header of safetensors"),
    "a list": (file(b"[]"), "expected a header of safetensors"),
    "truncated": (GOOD[:-1], "must have 48 bytes, 47 follow"),
    "trailing bytes": (GOOD + b"\x00", "must have 48 bytes, 49 follow"),
    "an extra array": (file({**HEADER, "x": HEADER["w"]}), "'x' does not belong here"),
    "metadata": (file({**HEADER, "__metadata__": {"a": "b"}}), "expected a header"),
    "a missing array": (file({n: e for n, e in HEADER.items() if n != "w"}), "'w' is missing"),
    "a name twice": (file(DOUBLE), "once"),
    "another dtype": (entry("w", dtype="I32"), "must be F32"),
    "an unknown dtype": (entry("w", dtype="F" * 1000), "must be F32"),
    "another shape": (entry("w", shape=[3, 2]), "must be F32 (2, 3)"),
    "one axis more": (entry("step", shape=[1]), "must be I64 ()"),
    "a negative shape": (entry("w", shape=[-2, -3]), "must be F32 (2, 3)"),
    "a huge shape": (entry("w", shape=[2**62, 2**62]), "must be F32 (2, 3)"),
    "a gap": (entry("w", data_offsets=[4, 28]), "must be"),
    "an overlap": (entry("w", data_offsets=[0, 24]), "must be"),
    "offsets backwards": (entry("w", data_offsets=[24, 0]), "must be"),
    "three offsets": (entry("w", data_offsets=[0, 24, 48]), "expected a header"),
    "a shape that is no list": (entry("w", shape="2,3"), "expected a header"),
    "an unknown field": (entry("w", extra=1), "expected a header"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_anything_else_is_refused_in_words_of_a_line(name: str) -> None:
    body, said = HOSTILE[name]
    with pytest.raises(EvidenceError) as caught:
        unpack(body, LIKE)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        unpack(data, LIKE)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_changes_a_number(position: int, bit: int) -> None:
    flipped = bytearray(GOOD)
    flipped[position] ^= 1 << bit
    with contextlib.suppress(EvidenceError):
        again = unpack(bytes(flipped), LIKE)
        assert position >= 8 + LENGTH
        assert any(again[name].tobytes() != LIKE[name].tobytes() for name in LIKE)


def test_numbers_that_are_not_finite_are_counted() -> None:
    refuse_infinite({"w": LIKE["w"], "step": LIKE["step"]})
    with pytest.raises(EvidenceError, match="1 of 2 in 'clock'"):
        refuse_infinite(LIKE)
    with pytest.raises(EvidenceError, match="6 of 6 in 'w'"):
        refuse_infinite({"w": np.full((2, 3), np.nan)})


def test_a_file_is_read_only_as_far_as_it_may_go(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as sparse:
        sparse.truncate(2**40)
    tracemalloc.start()
    with pytest.raises(EvidenceError, match="may have"):
        fetch(path, "0" * 64, at_most=largest_file(LIKE))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_a_file_must_have_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "good"
    path.write_bytes(GOOD)
    assert fetch(path, hashlib.sha256(GOOD).hexdigest(), at_most=len(GOOD)) == GOOD
    with pytest.raises(EvidenceError, match="SHA-256"):
        fetch(path, "0" * 64, at_most=len(GOOD))


def test_a_file_that_is_not_there_speaks_against_nobody(tmp_path: Path) -> None:
    with pytest.raises(SurroundingsError, match="No such file"):
        fetch(tmp_path / "missing", "0" * 64, at_most=10)

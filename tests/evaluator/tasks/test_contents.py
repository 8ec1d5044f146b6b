import gzip

import pytest

from evaluator.errors import DataError
from evaluator.tasks.data.contents import plain_bytes
from tests.evaluator.tasks.conftest import ALPHA, data_file

FILE = data_file("alpha", ALPHA)


def test_plain_and_gzipped_bytes_give_the_same_content():
    assert plain_bytes(FILE, ALPHA, "here") == plain_bytes(FILE, gzip.compress(ALPHA), "here") == ALPHA


def test_the_gzip_header_does_not_matter():
    one, other = gzip.compress(ALPHA, 1, mtime=1), gzip.compress(ALPHA, 9, mtime=2)
    assert one != other
    assert plain_bytes(FILE, one, "here") == plain_bytes(FILE, other, "here")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "here: expected 3000 bytes of alpha, got 0"),
        (ALPHA[:-1], "expected 3000 bytes of alpha, got 2999"),
        (ALPHA + b"x", "expected 3000 bytes of alpha, got more than 3000"),
        (b"A" + ALPHA[1:], "here: expected alpha with SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}"),
        (gzip.compress(ALPHA)[:-20], "here: expected gzipped alpha, it does not decompress"),
        (b"\x1f\x8b" + b"junk" * 9, "does not decompress"),
        (gzip.compress(b"A" + ALPHA[1:]), "SHA-256"),
        (gzip.compress(ALPHA + b"x"), "got more than 3000"),
    ],
)
def test_anything_else_is_refused(raw, message):
    with pytest.raises(DataError, match=message):
        plain_bytes(FILE, raw, "here")


def test_a_bomb_is_not_unpacked():
    import tracemalloc

    bomb = gzip.compress(bytes(200_000_000), 9)
    tracemalloc.start()
    with pytest.raises(DataError, match="more than"):
        plain_bytes(FILE, bomb, "here")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()

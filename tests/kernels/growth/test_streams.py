import hashlib

import numpy as np
import pytest

from kernels import KernelError
from kernels.growth import Stream, seed_bytes

SEED = seed_bytes(3)


def test_streams_never_change() -> None:
    stream = Stream(SEED, "golden")
    assert stream.permutation(8).tolist() == [0, 7, 4, 1, 6, 5, 3, 2]
    assert hashlib.sha256(stream.uniform((5, 3)).tobytes()).hexdigest()[:16] == "45bd50e16b9567bf"


def test_a_draw_moves_a_stream_on_and_a_name_starts_it_anew() -> None:
    stream = Stream(SEED, "a")
    first, second = stream.uniform((4,)), stream.uniform((4,))
    assert not np.array_equal(first, second)
    assert np.array_equal(Stream(SEED, "a").uniform((4,)), first)
    # A child is its label's, whatever its parent drew before.
    assert np.array_equal(stream.child("b").uniform((4,)), Stream(SEED, "a").child("b").uniform((4,)))
    assert not np.array_equal(Stream(seed_bytes(4), "a").uniform((4,)), first)


def test_normal_numbers_have_their_moments() -> None:
    drawn = Stream(SEED, "normal").normal((200_001,))
    assert drawn.shape == (200_001,)
    # Five standard errors of mean, variance, third and fourth moment.
    error = 5 / np.sqrt(len(drawn))
    assert abs(drawn.mean()) < error
    assert abs(drawn.var() - 1) < error * np.sqrt(2)
    assert abs((drawn**3).mean()) < error * np.sqrt(15)
    assert abs((drawn**4).mean() - 3) < error * np.sqrt(96)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(KernelError, match="at least 0"):
        seed_bytes(-1)

import hashlib

import numpy as np
import pytest

from kernels import KernelError, Topology, initial_parameters, permutation
from kernels.randomness import uniform_integers, words
from tests.kernels.networks import SEED

GOLDEN_WORDS = [6417713746189494140, 17989096768792483965]
GOLDEN_ORDER = [3, 6, 2, 5, 0, 1, 7, 4]
GOLDEN_INTEGERS = [4, 5, -1, -6]
GOLDEN_PARAMETERS = "0a5dfd3f8ecd4bc4"


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def test_streams_never_change() -> None:
    assert words(SEED, "golden", 2).tolist() == GOLDEN_WORDS
    assert permutation(SEED, 3, 8).tolist() == GOLDEN_ORDER
    assert uniform_integers(SEED, "golden", 4, 10).tolist() == GOLDEN_INTEGERS
    topology = Topology((12, 9, 8, 5), skips=((0, 2),))
    values = initial_parameters(topology, SEED, 0.7)
    assert digest(np.concatenate([value.ravel() for value in values.values()])) == GOLDEN_PARAMETERS


def test_streams_differ_by_seed_epoch_and_label() -> None:
    orders = [permutation(SEED, 0, 500), permutation(SEED, 1, 500), permutation(SEED[::-1], 0, 500)]
    assert len({digest(order) for order in orders}) == 3
    assert all(sorted(order) == list(range(500)) for order in orders)


def test_integers_cover_their_range_evenly() -> None:
    drawn = uniform_integers(SEED, "even", 20_000, 3)
    counts = np.bincount(drawn + 3)
    assert len(counts) == 7
    assert counts.min() > 0.9 * 20_000 / 7


def test_initial_weights_lie_on_the_grid_inside_the_fan_in_bound() -> None:
    topology = Topology((30, 20, 15, 10), output="mse", skips=((0, 2),))
    values = initial_parameters(topology, SEED, 0.25)
    for (source, target), gain in {(0, 1): 1.0, (0, 2): 1.0, (1, 2): 0.25, (2, 3): 1.0}.items():
        weight = values[f"w{source}-{target}"]
        bound = gain / np.sqrt(topology.fan_in(target))
        assert np.array_equal(weight * 2**24, np.round(weight * 2**24))
        assert 0.9 * bound < np.abs(weight).max() <= bound
        assert abs(weight.mean()) < 0.15 * bound
    assert all(not values[f"b{layer}"].any() for layer in (1, 2, 3))


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(KernelError, match="32 bytes"):
        permutation(b"short", 0, 10)
    with pytest.raises(KernelError, match="gain"):
        initial_parameters(Topology((4, 3, 2)), SEED, 0.0)

import numpy as np
import pytest

from kernels import KernelError
from kernels.growth import Stream, incoming_rows, initial_stack, widen
from kernels.growth.autoencoder import CHUNK, sigmoid
from tests.kernels.growth.networks import SEED, inputs, stack


def naive(weights: list[tuple[np.ndarray, np.ndarray]], x: np.ndarray) -> np.ndarray:
    for weight, bias in weights:
        x = 1.0 / (1.0 + np.exp(-(x @ weight.T + bias)))
    return x


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_codes_and_reconstructions_are_those_of_the_formula(depth: int) -> None:
    network = stack(dtype=np.float64)
    x = inputs(20).astype(np.float64)
    parts = [network.active(level) for level in range(depth)]
    code = naive([(part.encoder, part.encoder_bias) for part in parts], x)
    back = naive([(part.decoder, part.decoder_bias) for part in reversed(parts)], code)
    np.testing.assert_allclose(network.encode(x, depth), code, rtol=1e-12)
    np.testing.assert_allclose(network.decode(code, depth), back, rtol=1e-12)
    np.testing.assert_allclose(network.reconstruct(x, depth), back, rtol=1e-12)
    np.testing.assert_allclose(network.errors(x, depth), ((back - x) ** 2).mean(axis=1), rtol=1e-10)


def test_the_error_of_the_last_level_is_that_of_the_whole_network() -> None:
    network, x = stack(), inputs(20)
    assert np.array_equal(network.errors(x, 3), network.errors(x))
    assert not np.allclose(network.errors(x, 2), network.errors(x))


def test_errors_do_not_depend_on_what_else_is_measured() -> None:
    network, x = stack(dtype=np.float64), inputs(CHUNK + 30)
    apart = np.concatenate([network.errors(x[:7]), network.errors(x[7:])])
    np.testing.assert_allclose(network.errors(x), apart, rtol=1e-12)
    assert network.errors(x[:0]).shape == (0,)
    assert network.encode(x[:0]).shape == (0, 4)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("kind", ["outlier", "residual"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_insertion_changes_nothing(level: int, kind: str, dtype: type) -> None:
    network = stack((30, 21, 17, 9), room=8, dtype=dtype)
    x = inputs(70, 30)
    rows = incoming_rows(network, level, x[:4], 5, kind=kind)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-6)
    grown = widen(network, level, rows)
    assert grown.sizes[level + 1] == network.sizes[level + 1] + 5
    for depth in (1, 2, 3):
        assert np.abs(grown.reconstruct(x, depth) - network.reconstruct(x, depth)).max() == 0.0
        mature = network.sizes[depth]
        assert np.abs(grown.encode(x, depth)[:, :mature] - network.encode(x, depth)).max() == 0.0
    # The new units are there, and they answer to what came in.
    answers = grown.encode(x, level + 1)[:, network.sizes[level + 1] :]
    assert answers.shape[1] == 5
    assert answers.std(axis=0).min() > 0


def test_a_unit_answers_its_own_outlier_the_most() -> None:
    network = stack((30, 5), room=8)
    x = np.eye(30, dtype=np.float32)[:3]
    grown = widen(network, 0, incoming_rows(network, 0, x, 3, kind="outlier"))
    assert grown.encode(x)[:, 5:].argmax(axis=1).tolist() == [0, 1, 2]


def test_widening_leaves_the_stack_it_began_from_alone() -> None:
    network = stack()
    before = [value.copy() for level in network.levels for value in vars(level).values()]
    widen(network, 0, np.full((2, 12), 0.1))
    after = [value for level in network.levels for value in vars(level).values()]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_what_cannot_grow_is_refused() -> None:
    network = stack(room=2)
    with pytest.raises(KernelError, match="at most 2 more"):
        widen(network, 0, np.zeros((3, 12)))
    with pytest.raises(KernelError, match="12 weights"):
        widen(network, 0, np.zeros((1, 11)))
    with pytest.raises(KernelError, match="outliers"):
        incoming_rows(network, 0, inputs(0), 1, kind="outlier")


def test_shapes_that_make_no_network_are_refused() -> None:
    stream = Stream(SEED, "x")
    with pytest.raises(KernelError, match="two sizes"):
        initial_stack((5,), stream)
    with pytest.raises(KernelError, match="capacity"):
        initial_stack((5, 4), stream, capacities=(5, 3))
    with pytest.raises(KernelError, match="cannot grow"):
        initial_stack((5, 4), stream, capacities=(6, 4))
    with pytest.raises(KernelError, match="levels 1 to 3"):
        stack().encode(inputs(2), 4)
    with pytest.raises(KernelError, match=r"\(n, 4\)"):
        stack().decode(np.zeros((3, 5)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sigmoid_never_overflows(dtype: type) -> None:
    x = np.asarray([-1e4, -3.0, 0.0, 3.0, 1e4], dtype=dtype)
    y = sigmoid(x)
    assert y.dtype == dtype
    assert x[0] == -1e4
    np.testing.assert_allclose(y, [0.0, 0.04742587, 0.5, 0.95257413, 1.0], atol=1e-7)

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from kernels import KernelError
from kernels.growth import Moments, ReplayStatistics, Stream, conditioned_spectrum, seed_bytes

SEED = seed_bytes(1)


def codes(n: int, width: int, label: str = "codes", shift: float = 0.0) -> np.ndarray:
    """Correlated codes whose coordinates differ in size."""
    stream = Stream(SEED, label)
    mixing = stream.normal((width, width)) * np.linspace(0.1, 2.0, width)
    return stream.normal((n, width)) @ mixing + shift


def assert_equal_moments(left: Moments, right: Moments, tolerance: float = 1e-10) -> None:
    assert left.count == right.count
    np.testing.assert_allclose(left.mean, right.mean, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(left.scatter, right.scatter, rtol=tolerance, atol=tolerance)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.floats(-100, 100))
def test_running_moments_are_those_of_all_codes_together(parts: list[int], shift: float) -> None:
    x = codes(sum(parts), 5, shift=shift)
    moments = Moments.empty(5)
    for end, size in zip(np.cumsum(parts), parts, strict=True):
        moments = moments.updated(x[end - size : end])
    assert moments.count == len(x)
    if len(x) > 1:
        np.testing.assert_allclose(moments.mean, x.mean(axis=0), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(moments.covariance, np.cov(x, rowvar=False), rtol=1e-10, atol=1e-10)


def test_one_code_at_a_time_is_welford() -> None:
    x = codes(300, 4, shift=50.0)
    moments = Moments.empty(4)
    for row in x:
        moments = moments.updated(row[None, :])
    np.testing.assert_allclose(moments.mean, x.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(moments.covariance, np.cov(x, rowvar=False), rtol=1e-10, atol=1e-10)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_merging_is_associative_and_commutative(a: int, b: int, c: int) -> None:
    one, two, three = (Moments.of(codes(n, 3, label, 2.0)) for n, label in ((a, "1"), (b, "2"), (c, "3")))
    assert_equal_moments(one.merged(two).merged(three), one.merged(two.merged(three)))
    assert_equal_moments(one.merged(two), two.merged(one))


def test_merged_statistics_are_those_of_both() -> None:
    x = codes(90, 4)
    left = ReplayStatistics({}).updated(1, x[:40]).updated(2, x[40:50])
    right = ReplayStatistics({}).updated(2, x[50:80]).updated(5, x[80:])
    both = left.merged(right)
    assert both.labels == (1, 2, 5)
    assert_equal_moments(both.classes[2], Moments.of(x[40:80]))
    assert_equal_moments(both.classes[1], Moments.of(x[:40]))


def test_samples_have_the_moments_that_were_remembered() -> None:
    x = codes(500, 4, shift=3.0)
    statistics = ReplayStatistics({}, floor=1e-9).updated(7, x)
    drawn = statistics.sample(7, 100_000, Stream(SEED, "draw"))
    spread = np.cov(x, rowvar=False)
    deviation = np.sqrt(np.diag(spread))
    # Six standard errors: the draws are fixed, so this cannot flicker.
    assert (np.abs(drawn.mean(axis=0) - x.mean(axis=0)) / deviation).max() < 6 / np.sqrt(100_000)
    scale = np.outer(deviation, deviation)
    assert (np.abs(np.cov(drawn, rowvar=False) - spread) / scale).max() < 6 * np.sqrt(2 / 100_000)


def test_shrinkage_goes_from_the_covariance_to_a_multiple_of_the_identity() -> None:
    covariance = np.cov(codes(200, 5), rowvar=False)
    target = np.trace(covariance) / 5 * np.eye(5)
    for shrinkage in (0.0, 0.3, 1.0):
        values, vectors = conditioned_spectrum(covariance, shrinkage=shrinkage, floor=1e-12)
        rebuilt = (vectors * values) @ vectors.T
        np.testing.assert_allclose(rebuilt, (1 - shrinkage) * covariance + shrinkage * target, atol=1e-12)


def test_a_covariance_without_full_rank_is_drawn_from_and_told_apart() -> None:
    # Three codes in eight dimensions, and a class of a single code.
    statistics = ReplayStatistics({}, floor=1e-4).updated(0, codes(3, 8)).updated(1, codes(1, 8, "one", 9.0))
    values, _ = conditioned_spectrum(statistics.classes[0].covariance, shrinkage=0.0, floor=1e-4)
    assert values.min() == 1e-4
    assert (values > 1e-4).sum() == 2
    drawn, y = statistics.sample_batch(2000, Stream(SEED, "draw"))
    assert np.isfinite(drawn).all()
    np.testing.assert_allclose(drawn[y == 1].std(axis=0), 1e-2, rtol=0.15)
    assert (statistics.classify(drawn) == y).mean() > 0.99


def test_log_density_is_that_of_scipy() -> None:
    from scipy.stats import multivariate_normal

    x = codes(60, 3)
    statistics = ReplayStatistics({}, floor=1e-12).updated(0, x).updated(1, x * 2 + 1)
    found = statistics.log_density(x)
    for column, data in enumerate((x, x * 2 + 1)):
        expected = multivariate_normal(data.mean(axis=0), np.cov(data, rowvar=False)).logpdf(x)
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-9)


@pytest.mark.parametrize("weights", [None, {0: 1.0, 3: 2.0, 8: 5.0}])
def test_classes_are_drawn_by_their_weights(weights: dict[int, float] | None) -> None:
    statistics = ReplayStatistics({})
    for label in (0, 3, 8):
        statistics = statistics.updated(label, codes(20, 2, str(label), float(label)))
    _, y = statistics.sample_batch(20_000, Stream(SEED, "weights"), weights=weights)
    shares = np.asarray([1.0, 1.0, 1.0] if weights is None else list(weights.values()))
    counts = [int((y == label).sum()) for label in (0, 3, 8)]
    assert sum(counts) == 20_000
    # The draws are fixed: this holds for ever, or never did.
    assert chisquare(counts, 20_000 * shares / shares.sum()).pvalue > 1e-3


def test_a_class_of_no_weight_is_never_drawn() -> None:
    statistics = ReplayStatistics({}).updated(0, codes(9, 2)).updated(1, codes(9, 2)).updated(2, codes(9, 2))
    _, y = statistics.sample_batch(5000, Stream(SEED, "zero"), weights={1: 1.0})
    assert set(y.tolist()) == {1}


def test_statistics_survive_json_and_npz_bit_for_bit() -> None:
    statistics = ReplayStatistics({}, shrinkage=0.1, floor=1e-5)
    statistics = statistics.updated(4, codes(30, 3)).updated(1, codes(8, 3, "b"))
    buffer = io.BytesIO()
    np.savez(buffer, **statistics.to_arrays())
    buffer.seek(0)
    with np.load(buffer) as arrays:
        from_npz = ReplayStatistics.from_arrays(arrays)
    for again in (from_npz, ReplayStatistics.from_json(statistics.to_json())):
        assert (again.shrinkage, again.floor, again.labels) == (0.1, 1e-5, (1, 4))
        assert again.to_json() == statistics.to_json()
        ours, theirs = (s.sample_batch(50, Stream(SEED, "x"))[0] for s in (statistics, again))
        assert np.array_equal(ours, theirs)


def test_what_cannot_be_remembered_is_refused() -> None:
    statistics = ReplayStatistics({}).updated(0, codes(5, 3))
    with pytest.raises(KernelError, match="finite"):
        Moments.of(np.asarray([[1.0, np.nan]]))
    with pytest.raises(KernelError, match="equally wide"):
        statistics.updated(1, codes(5, 4))
    with pytest.raises(KernelError, match="cannot be merged"):
        statistics.updated(0, codes(5, 4))
    with pytest.raises(KernelError, match="no class"):
        ReplayStatistics({}).sample_batch(1, Stream(SEED, "x"))
    with pytest.raises(KernelError, match="class 9"):
        statistics.sample(9, 1, Stream(SEED, "x"))
    with pytest.raises(KernelError, match="shrinkage"):
        ReplayStatistics({}, shrinkage=1.5)
    for weights in ({0: -1.0}, {0: 0.0}, {0: 1.0, 5: 1.0}, {0: np.nan}):
        with pytest.raises(KernelError, match="weights"):
            statistics.sample_batch(3, Stream(SEED, "x"), weights=weights)
    with pytest.raises(KernelError, match="lack counts"):
        ReplayStatistics.from_arrays({k: v for k, v in statistics.to_arrays().items() if k != "counts"})
    with pytest.raises(KernelError, match="scatter"):
        Moments(3, np.zeros(2), np.zeros((3, 3)))

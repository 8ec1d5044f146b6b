from dataclasses import replace

import numpy as np
import pytest

from kernels import DivergedError, KernelError
from kernels.growth import (
    FROZEN,
    Schedule,
    Share,
    Stack,
    Stream,
    fit,
    gradients,
    incoming_rows,
    train_level,
    train_levels,
    train_whole,
    widen,
)
from kernels.growth.training import forward
from tests.kernels.growth.networks import SEED, inputs, stack

FAST = Schedule(epochs=3, rate=1e-2, batch=16)


def chain(network: Stack) -> list[tuple[np.ndarray, np.ndarray]]:
    parts = [network.active(level) for level in range(network.depth)]
    up = [(part.encoder, part.encoder_bias) for part in parts]
    return up + [(part.decoder, part.decoder_bias) for part in reversed(parts)]


def arrays(network: Stack) -> dict[str, np.ndarray]:
    found = {}
    for k, level in enumerate(network.levels):
        found |= {f"{k}/{name}": value.copy() for name, value in vars(level).items()}
    return found


def changed(before: Stack, after: Stack) -> set[str]:
    left, right = arrays(before), arrays(after)
    return {name for name in left if not np.array_equal(left[name], right[name])}


def test_gradients_are_those_of_finite_differences() -> None:
    layers = chain(stack((6, 5, 3), room=2, dtype=np.float64))
    x = inputs(7, 6).astype(np.float64)
    target = inputs(7, 6, "target").astype(np.float64)

    def loss() -> float:
        return 0.5 * float(((forward(layers, x)[-1] - target) ** 2).sum()) / len(x)

    found, error = gradients(layers, [Share()] * 4, x, target)
    assert error == pytest.approx(2 * loss() / 6, rel=1e-12)
    step = 1e-6
    for k, layer in enumerate(layers):
        for block, gradient in zip(layer, found[k], strict=True):
            assert gradient.shape == block.shape
            for index in np.ndindex(*block.shape):
                kept = block[index]
                block[index] = kept + step
                above = loss()
                block[index] = kept - step
                difference = (above - loss()) / (2 * step)
                block[index] = kept
                # Central differences in float64: truncation and rounding are both near 1e-10.
                assert gradient[index] == pytest.approx(difference, abs=2e-9)


def test_masked_gradients_are_parts_of_the_whole_one() -> None:
    layers = chain(stack((6, 5, 3), room=2))
    x = inputs(7, 6)
    whole, _ = gradients(layers, [Share()] * 4, x, x)
    part, _ = gradients(layers, [FROZEN, Share(first_row=2), Share(first_column=1), FROZEN], x, x)
    assert set(part) == {1, 2}
    np.testing.assert_allclose(part[1][0], whole[1][0][2:], rtol=1e-5)
    np.testing.assert_allclose(part[1][1], whole[1][1][2:], rtol=1e-5)
    np.testing.assert_allclose(part[2][0], whole[2][0][:, 1:], rtol=1e-5)


def test_adam_and_sgd_step_as_their_papers_write_them() -> None:
    x = inputs(4, 6).astype(np.float64)
    for optimizer in ("sgd", "adam"):
        layers = [(w.copy(), b.copy()) for w, b in chain(stack((6, 3), dtype=np.float64))]
        expected = [[w.copy(), b.copy()] for w, b in layers]
        slots = [[[0.0, 0.0], [0.0, 0.0]] for _ in layers]
        schedule = Schedule(epochs=3, rate=0.05, batch=4, optimizer=optimizer, decay=0.1)
        fit(layers, [Share(), Share(rate=0.5)], x, schedule, Stream(SEED, "fit"))
        for time in (1, 2, 3):
            found, _ = gradients([(w, b) for w, b in expected], [Share()] * 2, x, x)
            for k, rate in ((0, 0.05), (1, 0.025)):
                for part in (0, 1):
                    if part == 0:
                        expected[k][0] = expected[k][0] * (1 - rate * 0.1)
                    g = found[k][part]
                    first, second = slots[k][part]
                    slots[k][part] = [0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g]
                    first, second = slots[k][part]
                    adam = first / (1 - 0.9**time) / (np.sqrt(second / (1 - 0.999**time)) + 1e-8)
                    expected[k][part] = expected[k][part] - rate * (g if optimizer == "sgd" else adam)
        for layer, wanted in zip(layers, expected, strict=True):
            for block, value in zip(layer, wanted, strict=True):
                # The batch's order differs, and so does the last bit of its sum.
                np.testing.assert_allclose(block, value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_learns(optimizer: str) -> None:
    x = inputs(200)
    schedule = Schedule(
        epochs=15, rate=1e-2 if optimizer == "adam" else 0.5, batch=20, optimizer=optimizer, corruption=0.1
    )
    network = stack()
    trained = train_levels(network, x, schedule, Stream(SEED, "levels"))
    assert trained.errors(x).mean() < 0.6 * network.errors(x).mean()
    finished, losses = train_whole(trained, x, replace(schedule, corruption=0.0), Stream(SEED, "whole"))
    assert len(losses) == 15
    assert losses[-1] < losses[0]
    assert finished.errors(x).mean() < trained.errors(x).mean()


def test_noise_enters_the_input_and_not_the_target() -> None:
    # Inputs that are all one: from noisy inputs a bias alone can give them back, and the clean target says so.
    x = np.ones((64, 12), np.float32)
    noisy = Schedule(epochs=30, rate=5e-2, batch=16, corruption=0.5)
    _, losses = train_level(stack(), 0, x, noisy, Stream(SEED, "noise"))
    # Were the target corrupted, half of it would be zero and no error below .25 could be reached.
    assert losses[-1] < 0.01
    _, clean = train_level(stack(), 0, x, replace(noisy, corruption=0.0), Stream(SEED, "noise"))
    assert losses[0] != clean[0]


def test_plasticity_touches_new_encoder_rows_and_the_decoder_alone() -> None:
    network = stack()
    x = inputs(40)
    grown = widen(network, 1, incoming_rows(network, 1, x[:3], 3, kind="outlier"))
    shares = (Share(first_row=7), Share(rate=0.01))
    schedule = replace(FAST, decay=0.5)
    after, _ = train_level(grown, 1, grown.encode(x, 1), schedule, Stream(SEED, "plastic"), shares=shares)
    assert changed(grown, after) == {"1/encoder", "1/encoder_bias", "1/decoder", "1/decoder_bias"}
    frozen, learned = grown.levels[1], after.levels[1]
    assert np.array_equal(frozen.encoder[:7], learned.encoder[:7])
    assert np.array_equal(frozen.encoder_bias[:7], learned.encoder_bias[:7])
    assert (frozen.encoder[7:10, :9] != learned.encoder[7:10, :9]).all()
    # What is not in use stays zero.
    assert not learned.encoder[10:].any()
    assert not learned.decoder[:, 10:].any()
    # The decoder's first Adam steps are as long as its rate: a hundredth of the encoder's.
    once = replace(FAST, epochs=1, batch=40)
    single, _ = train_level(grown, 1, grown.encode(x, 1), once, Stream(SEED, "plastic"), shares=shares)
    moved = np.abs(single.levels[1].decoder - frozen.decoder).max()
    assert moved == pytest.approx(1e-4, rel=1e-2)


def test_the_next_level_learns_its_new_columns_and_rows_alone() -> None:
    network = stack()
    x = inputs(40)
    grown = widen(network, 0, incoming_rows(network, 0, x[:3], 3, kind="outlier"))
    shares = (Share(first_column=9, biases=False), Share(first_row=9))
    after, _ = train_level(grown, 1, grown.encode(x, 1), FAST, Stream(SEED, "next"), shares=shares)
    assert changed(grown, after) == {"1/encoder", "1/decoder", "1/decoder_bias"}
    assert np.array_equal(grown.levels[1].encoder[:, :9], after.levels[1].encoder[:, :9])
    assert np.array_equal(grown.levels[1].decoder[:9], after.levels[1].decoder[:9])
    assert np.array_equal(grown.levels[1].decoder_bias[:9], after.levels[1].decoder_bias[:9])
    assert after.levels[1].encoder[:7, 9:12].all()
    assert after.levels[1].decoder[9:12, :7].all()


def test_a_share_of_the_whole_network_can_be_frozen() -> None:
    network = stack()
    shares = dict.fromkeys((0, 1, 3, 4, 5), FROZEN)
    after, _ = train_whole(network, inputs(40), replace(FAST, decay=0.1), Stream(SEED, "w"), shares=shares)
    assert changed(network, after) == {"2/encoder", "2/encoder_bias"}


def test_training_repeats_bit_for_bit_and_leaves_its_argument_alone() -> None:
    network, x = stack(), inputs(50)
    before = arrays(network)
    schedule = replace(FAST, corruption=0.3)
    first, _ = train_whole(network, x, schedule, Stream(SEED, "w"))
    again, _ = train_whole(network, x, schedule, Stream(SEED, "w"))
    other, _ = train_whole(network, x, schedule, Stream(SEED, "other"))
    assert not changed(first, again)
    assert len(changed(first, other)) == 12
    assert all(np.array_equal(before[name], value) for name, value in arrays(network).items())


def test_no_samples_or_no_epochs_teach_nothing() -> None:
    network = stack()
    for x, schedule in ((inputs(0), FAST), (inputs(9), replace(FAST, epochs=0))):
        after, losses = train_whole(network, x, schedule, Stream(SEED, "w"))
        assert losses == ()
        assert not changed(network, after)


def test_numbers_that_left_are_reported() -> None:
    x = inputs(32)
    x[5, 2] = np.nan
    with pytest.raises(DivergedError, match="epoch 1"):
        train_whole(stack(), x, FAST, Stream(SEED, "w"))


@pytest.mark.parametrize(
    "change", [{"rate": 0.0}, {"batch": 0}, {"corruption": 1.0}, {"decay": -1.0}, {"optimizer": "lion"}]
)
def test_schedules_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(KernelError, match="a schedule needs"):
        replace(FAST, **change)

"""The analytic peak against the bytes that a learner's tensors really hold after a training step."""

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from evaluator.build import build
from evaluator.cost import cost_of
from evaluator.jobs import Arithmetic
from genome import preset
from genome.spaces import MLP
from genome.variation import draw

# Counted from formulas, not from the code: a quarter too little, a half too much is allowed.
LEAST, MOST = 0.75, 1.55


@pytest.fixture(autouse=True, scope="module")
def frozen() -> Iterator[None]:
    """What was alive before is not looked through: a million objects of other tests take a second each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def held() -> dict[int, int]:
    """Bytes of every tensor storage that came to life in this module and is alive, by address."""
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some objects complain about being looked at
        storages = [each.untyped_storage() for each in gc.get_objects() if isinstance(each, torch.Tensor)]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


def ratio(values: dict[str, Any], arithmetic: Arithmetic) -> float:
    before = held()
    learner = build(values, inputs=64, classes=10, seed=bytes(32), arithmetic=arithmetic, backend="auto")
    batch = int(values["batch"])
    x = np.linspace(0, 1, batch * 64, dtype=np.float32).reshape(batch, 64)
    learner.step(x, np.arange(batch) % 10, scale=1.0, sign=1)
    actual = sum(size for address, size in held().items() if address not in before)
    predicted = cost_of(values, inputs=64, classes=10, arithmetic=arithmetic).peak_bytes
    del learner
    return predicted / actual


@pytest.mark.parametrize("name", ["shallow", "ep", "smep", "deep", "backprop", "backprop-deep"])
def test_the_presets_hold_what_was_predicted(name: str) -> None:
    assert LEAST <= ratio(dict(preset(name).values), "fp32") <= MOST


@pytest.mark.parametrize("arithmetic", ["bf16", "exact-1"])
@pytest.mark.parametrize("name", ["shallow", "ep"])
def test_other_classes_hold_what_was_predicted(name: str, arithmetic: Arithmetic) -> None:
    assert LEAST <= ratio(dict(preset(name).values), arithmetic) <= MOST


def test_random_genomes_hold_what_was_predicted() -> None:
    ratios = [ratio(dict(draw(MLP, seed=seed).values), "fp32") for seed in range(30)]
    assert min(ratios) >= LEAST
    assert max(ratios) <= MOST
    assert 0.9 <= float(np.median(ratios)) <= 1.1

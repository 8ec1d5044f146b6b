"""The gradient of a weight reads the states of the two layers that it joins, and no others.

Shown in two ways through the public API. The oracle's `contrast` is handed those two layers alone, and every backend
equals it in every combination (`test_step.py`). And here: a layer that is cut off from the rest of a network is given
other states, and not a bit changes in the gradients that do not touch it.
"""

from typing import Any

import numpy as np
import pytest

from kernels import Topology
from tests.conformance import cases
from tests.conformance.cases import Way

OUTPUTS = {
    # Layer -> which other layers stay joined. Every hidden layer has its own way from the input.
    "ce": Topology((7, 5, 6, 4, 3), output="ce", skips=((0, 2), (0, 3), (1, 3), (1, 4), (2, 4))),
    "mse": Topology((7, 5, 6, 4, 3), output="mse", skips=((0, 2), (0, 3), (1, 3), (1, 4), (2, 4))),
}


@pytest.mark.parametrize("estimate", ["centred", "one-sided", "negative", "random-sign", "linearised"])
@pytest.mark.parametrize("cut", [1, 2, 3])
@pytest.mark.parametrize("output", ["ce", "mse"])
@pytest.mark.parametrize("way", cases.WAYS, ids=str)
def test_the_states_of_another_layer_change_no_bit(way: Way, output: str, cut: int, estimate: Any) -> None:
    shape = OUTPUTS[output]
    edges = [(k, k + 1) for k in range(4)] + list(shape.skips)
    values = cases.weights(shape)
    for k, l in edges:
        if (k == cut) or (l == cut and k > 0):
            values[f"w{k}-{l}"] = np.zeros_like(values[f"w{k}-{l}"])
    other = dict(values)
    other[f"w0-{cut}"] = cases.on_grid(-values[f"w0-{cut}"])
    other[f"b{cut}"] = cases.on_grid(values[f"b{cut}"] + 0.25)
    x, y = cases.batch(shape)
    # Unlike steps of both phases, so that an unconverged free phase would leak as well.
    how = cases.rule(estimate, beta=0.2, steps=(2, 2))
    first, second = (
        cases.change(cases.learner(shape, given, how, way=way), x, y)[0] for given in (values, other)
    )
    apart = {f"w{k}-{l}" for k, l in edges if cut not in (k, l)} | {f"b{l}" for l in (1, 2, 3, 4) if l != cut}
    joined = {f"w{k}-{l}" for k, l in edges if k == cut and l < 4}
    assert len(apart) > 4
    for name in apart:
        assert np.any(first[name]), name
        assert first[name].tobytes() == second[name].tobytes(), name
    # The layer did change: the gradients that read it say so.
    for name in joined:
        assert first[name].tobytes() != second[name].tobytes(), name

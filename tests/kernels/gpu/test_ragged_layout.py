"""Flat buffers of networks of different shapes: nothing overlaps, all is aligned, the longest come first."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.backends.triton.ragged_layout import (
    FIELDS,
    HEAD,
    MAX_LAYERS,
    ROW,
    UNIT,
    Network,
    RaggedLayout,
    padded,
)
from kernels.errors import KernelError

widths = st.lists(st.integers(1, 70), min_size=1, max_size=MAX_LAYERS - 1)
networks = st.lists(
    st.builds(
        lambda hidden, output, steps, order: Network((5, *hidden, 10), output, steps, order),
        widths,
        st.sampled_from(["ce", "mse"]),
        st.integers(1, 50),
        st.sampled_from(["forward", "backward", "alternating"]),
    ),
    min_size=1,
    max_size=5,
)


@given(networks, st.integers(1, 9))
def test_every_view_has_memory_of_its_own(chosen, batch):
    layout = RaggedLayout(tuple(chosen), batch)
    states, weights = torch.zeros(layout.state_size), torch.zeros(layout.weight_size)
    biases, drive = torch.zeros(layout.bias_size), torch.zeros(layout.drive_size)
    for p, network in enumerate(chosen):
        layout.driven(drive, p).add_(1)
        for layer in range(1, len(network.sizes)):
            layout.state(states, p, layer).add_(1)
            if layer > 1:
                layout.weight(weights, p, layer).add_(1)
                layout.bias(biases, p, layer).add_(1)
    for buffer in (states, weights, biases, drive):
        assert buffer.max() == 1, "two views share an element"
    sizes = [network.sizes for network in chosen]
    assert states.sum() == batch * sum(sum(each[1:]) for each in sizes)
    assert weights.sum() == sum(a * b for each in sizes for a, b in pairwise(each[1:]))
    assert biases.sum() == sum(sum(each[2:]) for each in sizes)
    assert drive.sum() == batch * sum(each[1] for each in sizes)


@given(networks, st.integers(1, 9))
def test_the_table_says_where_the_views_begin(chosen, batch):
    layout = RaggedLayout(tuple(chosen), batch)
    table = layout.table()
    assert table.shape == (len(chosen), ROW)
    states, weights = torch.arange(layout.state_size), torch.arange(layout.weight_size)
    biases, drive = torch.arange(layout.bias_size), torch.arange(layout.drive_size)
    for p, network in enumerate(chosen):
        row = table[p].tolist()
        assert row[:2] == [len(network.sizes) - 1, int(network.output == "ce")]
        assert row[2] == network.steps
        assert row[4] * UNIT == int(layout.driven(drive, p)[0, 0])
        for layer in range(1, len(network.sizes)):
            width, weight, bias, state = row[HEAD + FIELDS * layer : HEAD + FIELDS * (layer + 1)]
            assert width * UNIT == padded(network.sizes[layer])
            assert state * UNIT == int(layout.state(states, p, layer)[0, 0])
            if layer > 1:
                assert weight * UNIT == int(layout.weight(weights, p, layer)[0, 0])
                assert bias * UNIT == int(layout.bias(biases, p, layer)[0])


@given(networks)
def test_the_longest_come_first(chosen):
    layout = RaggedLayout(tuple(chosen), 4)
    order = layout.order().tolist()
    assert sorted(order) == list(range(len(chosen)))
    work = [chosen[number].work for number in order]
    assert work == sorted(work, reverse=True)


def test_more_than_32_bits_of_units_are_refused():
    wide = Network((5, 4096, 4096, 10), "ce", 1, "forward")
    RaggedLayout((wide,) * 2000, 64)
    with pytest.raises(KernelError, match="fewer networks"):
        RaggedLayout((wide,) * 2100, 64)

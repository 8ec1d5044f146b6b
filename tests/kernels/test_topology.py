import pytest

from kernels import KernelError, Topology


def test_connections_are_ordered_and_named() -> None:
    topology = Topology((7, 6, 5, 4), skips=((1, 3), (0, 2)))
    assert topology.connections == ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3))
    assert list(topology.parameter_shapes.items()) == [
        ("w0-1", (6, 7)),
        ("w0-2", (5, 7)),
        ("w1-2", (5, 6)),
        ("w1-3", (4, 6)),
        ("w2-3", (4, 5)),
        ("b1", (6,)),
        ("b2", (5,)),
        ("b3", (4,)),
    ]
    assert topology.fan_in(2) == 13
    assert topology.below(3) == (1, 2)
    assert topology.above(1) == (2,)
    assert topology.fed == (1, 2)


def test_the_output_is_a_state_only_with_mse() -> None:
    ce, mse = Topology((7, 6, 5, 4)), Topology((7, 6, 5, 4), output="mse", skips=((1, 3),))
    assert ce.state_layers == (1, 2)
    assert ce.recurrent == ((1, 2),)
    assert mse.state_layers == (1, 2, 3)
    assert mse.recurrent == ((1, 2), (1, 3), (2, 3))
    assert mse.above(1) == (2, 3)
    assert mse.hidden_layers == (1, 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"sizes": (4, 3)}, "at least one hidden layer"),
        ({"sizes": (4, 0, 3)}, "every size"),
        ({"sizes": (4, 2**60, 3)}, "every size"),
        ({"sizes": (4, 3, 2), "output": "hinge"}, "'ce' or 'mse'"),
        ({"sizes": (4, 3, 2), "clip": 0.0}, "clip"),
        ({"sizes": (4, 3, 2), "clip": float("nan")}, "clip"),
        ({"sizes": (4, 3, 2), "skips": ((0, 1),)}, "skip"),
        ({"sizes": (4, 3, 2), "skips": ((0, 3),)}, "skip"),
        ({"sizes": (4, 3, 2), "skips": ((0, 2), (0, 2))}, "once"),
    ],
)
def test_what_makes_no_network_is_refused(arguments: dict, says: str) -> None:
    with pytest.raises(KernelError, match=says):
        Topology(**arguments)

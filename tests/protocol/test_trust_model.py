"""A small mesh of real ledgers with liars, sleepers, colluders, bad-mouthing and re-entry."""

import pytest

from tests.protocol.trust_model import Mesh, Setup

SMALL = {"peers": 20, "rounds": 40}


@pytest.mark.parametrize("liars", [0.1, 0.3, 0.5])
def test_small_mesh(liars: float) -> None:
    got = Mesh(Setup(liars=liars, seed=1, **SMALL)).run()  # type: ignore[arg-type]
    assert float(str(got["false_share_mean"])) <= 0.01
    assert float(str(got["checks_share"])) <= 0.15
    assert float(str(got["rounds_to_ban_median"])) <= 5
    assert float(str(got["wrong_bans_share"])) <= 0.01
    assert float(str(got["rounds_to_confirmation_median"])) <= 3
    assert int(str(got["confirmations"])) > 300


def test_without_liars_nobody_is_banned_and_all_is_confirmed() -> None:
    got = Mesh(Setup(liars=0.0, fault=0.0, seed=2, **SMALL)).run()  # type: ignore[arg-type]
    assert got["wrong_bans_share"] == 0.0
    assert float(str(got["rounds_to_confirmation_median"])) <= 3


def test_same_seed_same_output() -> None:
    setup = Setup(peers=12, rounds=15, seed=3)
    assert Mesh(setup).run() == Mesh(setup).run()

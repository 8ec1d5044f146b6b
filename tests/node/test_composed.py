"""Composed tasks in a search: an accuracy for each part on the front, and what is refused before anything starts."""

import json

import pytest

from evaluator.tasks import resolve
from node.errors import SettingsError
from node.service import _require_claimable
from tests.node.test_commands import Run, run

__all__ = ["run"]

PAIR = "digits+digits-parity"


def test_a_search_gives_a_front_over_the_accuracy_of_each_part(run: Run) -> None:
    code, out, said = run("search", "--task", PAIR, "--tier", "smoke", "-n", "3", "-w", "1", "--json")
    assert code == 0, said
    found = json.loads(out)
    assert found["front"]
    for member in found["front"]:
        assert set(member["selected"]) == {"accuracy.digits", "accuracy.digits-parity", "speed", "memory"}
    code, out, _ = run("front")
    assert code == 0 and "accuracy.digits-parity" in out


@pytest.mark.parametrize("flags", [("--arithmetic", "exact-1"), ("--backend", "triton")])
def test_what_heads_cannot_be_trained_in_is_refused_at_once(run: Run, flags: tuple[str, ...]) -> None:
    code, _, said = run("search", "--task", PAIR, "--tier", "smoke", "-n", "1", *flags)
    assert code == 1
    assert "has several heads, which are trained in fp32 on torch-cpu alone" in " ".join(said.split())


def test_the_mesh_has_no_claims_about_several_heads() -> None:
    task = resolve(PAIR)
    with pytest.raises(SettingsError, match="claims one accuracy of one head"):
        _require_claimable(task, task.objectives)

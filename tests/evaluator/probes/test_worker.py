"""Probes as objectives where they are measured: in the worker, after training, alone and in a group."""

import pytest

from evaluator import service
from evaluator.jobs import Batch, Failure, Outcome, Reply
from genome import MLP, Genome, preset
from tests.support.jobs import job

PROBES = ("robustness", "noise", "damage", "lyapunov", "energy")
SMALL = MLP.genome({**dict(preset("ep").values), "width1": 16})


def run(genome: Genome, **changes: object) -> Outcome | Failure:
    found = service.run(job(genome, **changes), lambda _reply: None)
    assert isinstance(found, Outcome | Failure)
    return found


def test_a_job_has_the_objectives_that_it_asks_for_and_is_else_the_same() -> None:
    plain, probed = run(SMALL), run(SMALL, probes=PROBES)
    assert isinstance(plain, Outcome) and isinstance(probed, Outcome)
    assert set(probed.objectives) == {*plain.objectives, *PROBES}
    assert plain.objectives.items() <= probed.objectives.items()
    assert (plain.weights, plain.predictions, plain.controls) == (probed.weights, probed.predictions, {})
    assert set(probed.controls) <= set(PROBES)
    assert run(SMALL, probes=("damage",)).objectives["damage"] == probed.objectives["damage"]  # type: ignore[union-attr]


def test_a_network_is_probed_the_same_alone_and_in_company() -> None:
    jobs = [
        job(SMALL, number=n, seed=n, arithmetic="exact-1", probes=("noise", "energy"), calibration=None)
        for n in (0, 1)
    ]
    sent: list[Reply] = []
    service.run_batch(Batch(jobs=tuple(jobs)), sent.append)
    together = {reply.number: reply for reply in sent if isinstance(reply, Outcome)}
    for one in jobs:
        alone = service.run(one, lambda _reply: None)
        assert isinstance(alone, Outcome)
        assert together[one.number].objectives == alone.objectives
    assert together[0].objectives["noise"] != together[1].objectives["noise"]


@pytest.mark.parametrize(
    ("name", "said"), [("backprop", "credit=ep"), ("predictive-coding", "one pass without any")]
)
def test_what_cannot_be_probed_is_refused_in_words(name: str, said: str) -> None:
    space = "" if name == "backprop" else "family"
    found = run(preset(name), probes=("lyapunov",), space=space)
    assert isinstance(found, Failure)
    assert found.kind == "refused" and said in found.detail

"""On real trainings: true checkpoints do not make other weights true."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from evaluator.jobs import Outcome, Replay, Replayed
from evaluator.service import run
from genome import Genome, preset
from genome.spaces import MLP
from node.mesh.checks import _objection
from tests.support.jobs import job
from tests.support.mesh import ANY_CLAIM


def genome() -> Genome:
    small = {"width1": 12, "batch": 32, "optimizer": "adam", "lr_adam": 0.01}
    return MLP.genome({**dict(preset("ep").values), **small})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("spool")
    asked = job(
        genome(), arithmetic="exact-1", checkpoints=4, calibration=None, evidence=True, spool=str(folder)
    )
    found = run(asked, lambda _: None)
    assert isinstance(found, Outcome)
    return folder, found


def replayed(trained: tuple[Path, Outcome], segment: int) -> Replayed:
    folder, outcome = trained
    state = outcome.states[segment - 1]
    request = Replay(
        number=0,
        job=job(genome(), arithmetic="exact-1", checkpoints=4, calibration=None),
        segment=segment,
        state_path=str(folder / f"{state}.state"),
        state=state,
        leaf=outcome.checkpoints[segment - 1],
    )
    found = run(request, lambda _: None)
    assert isinstance(found, Replayed)
    assert found.end == outcome.checkpoints[segment]
    return found


def test_the_last_segment_names_the_weights_that_the_training_left(trained: tuple[Path, Outcome]) -> None:
    _, outcome = trained
    last = replayed(trained, 3)
    assert (last.segments, last.weights) == (4, outcome.weights)
    honest = msgspec.structs.replace(ANY_CLAIM, weights=bytes.fromhex(outcome.weights), checkpoint_count=4)
    assert _objection(honest, last) == ""
    other = msgspec.structs.replace(
        honest, weights=hashlib.sha256(b"trained on the validation data").digest()
    )
    assert "ends with weights" in _objection(other, last)


def test_any_segment_shows_a_training_that_is_said_to_be_shorter(trained: tuple[Path, Outcome]) -> None:
    middle = replayed(trained, 1)
    assert (middle.segments, middle.weights) == (4, "")
    short = msgspec.structs.replace(ANY_CLAIM, weights=b"w" * 32, checkpoint_count=2)
    assert "4 segments, 2 are claimed" in _objection(short, middle)

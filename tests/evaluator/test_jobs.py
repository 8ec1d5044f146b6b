import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.errors import EvaluatorError
from evaluator.frames import MAX_FRAME_BYTES, decode_reply, decode_request, encode, frame_length
from evaluator.jobs import (
    Calibrate,
    Failure,
    Progress,
    Replay,
    Replayed,
    Weigh,
    Weighed,
    failure_of,
    objectives_fingerprint,
    stream_key,
)
from tests.support.jobs import job

WEIGH = Weigh(
    number=4,
    task="digits",
    task_id="t" * 64,
    tier="smoke",
    genome=b"bytes",
    genome_id="g" * 64,
    arithmetic="exact-1",
    weights_path="w.safetensors",
    weights="w" * 64,
    predictions_path="p.predictions",
    predictions="p" * 64,
    correct=100,
    examples=120,
    flips_allowed=0,
)
REPLAY = Replay(number=5, job=job(seed=7), segment=2, state_path="s.state", state="s" * 64, leaf="l" * 64)


def test_a_request_survives_the_pipe() -> None:
    for request in (job(), WEIGH, REPLAY, Calibrate(arithmetic="exact-1")):
        frame = encode(request)
        assert frame_length(frame[:4]) == len(frame) - 4
        assert decode_request(frame[4:]) == request


def test_a_reply_survives_the_pipe() -> None:
    for reply in (
        Progress(number=3, done=0.5),
        failure_of(job(), "deadline", "late"),
        Weighed(number=4, passed=False, why="weights: none", examples=120, free_steps=3.0),
        Replayed(number=5, end="e" * 64, nudged_steps=2.5),
    ):
        assert decode_reply(encode(reply)[4:]) == reply


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_and_never_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(EvaluatorError):
        decode_reply(data)
    with contextlib.suppress(EvaluatorError):
        decode_request(data)


def test_refused_bytes_are_named() -> None:
    with pytest.raises(EvaluatorError, match=r"evaluator\.jobs"):
        decode_reply(b"\x81\xa4type\xa7nothing")


def test_an_announced_length_is_bounded() -> None:
    with pytest.raises(EvaluatorError, match="standard output"):
        frame_length((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))


def test_a_message_that_is_too_large_is_refused() -> None:
    huge = msgspec.structs.replace(failure_of(job(), "error", "x"), detail="x" * (MAX_FRAME_BYTES + 1))
    with pytest.raises(EvaluatorError, match="must fit"):
        encode(huge)


def test_a_failure_repeats_what_the_job_says() -> None:
    asked = job(seed=5)
    failed = failure_of(asked, "crashed", "why")
    assert isinstance(failed, Failure)
    assert (failed.genome, failed.task_id, failed.tier, failed.seed) == (
        asked.genome_id,
        asked.task_id,
        asked.tier,
        5,
    )


def test_the_failure_of_a_check_names_its_claim() -> None:
    weighed, replayed = failure_of(WEIGH, "crashed", "why"), failure_of(REPLAY, "crashed", "why")
    assert (weighed.number, weighed.genome, weighed.task_id, weighed.seed) == (4, "g" * 64, "t" * 64, 0)
    assert (replayed.number, replayed.genome, replayed.seed) == (5, REPLAY.job.genome_id, 7)


def test_the_fingerprint_of_objectives_does_not_depend_on_their_order_or_type() -> None:
    found = objectives_fingerprint({"near": 1.0, "cheap": 0.25})
    assert found == objectives_fingerprint({"cheap": 0.25, "near": 1})
    assert found != objectives_fingerprint({"near": 1.0, "cheap": 0.25 + 2.0**-54})
    # Golden: the checkpoint that claims of functions commit to.
    assert found == "e03eed29afafb54cb39dcae2bb1963397f787342a8c336f7dca425d6a29f74d6"


def test_a_stream_key_depends_on_genome_task_and_seed() -> None:
    keys = {stream_key(g, t, s) for g in ("a", "b") for t in ("a", "b") for s in (1, 11)}
    assert len(keys) == 8
    # Golden: another value would give every recorded training other weights.
    assert stream_key("a", "b", 1).hex() == (
        "ea2a0a1dcb00fab6b2405a89ad2492df62027b76960e85baf3f3e5f776189394"
    )

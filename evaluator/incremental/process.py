"""Asking for a neurogenesis experiment: the parent's side of the child that computes, `evaluator.incremental`."""

import subprocess
import sys

import msgspec
import trio

from evaluator.errors import EvaluatorError
from evaluator.incremental.messages import Answer, Learn, Learned, Look, Question, Refused, Summary
from evaluator.limits import thread_environment

__all__ = ["learn_all", "look"]


async def learn_all(
    questions: list[Learn], *, workers: int, memory_bytes: int, nice: int, deadline_s: float
) -> None:
    """Learn what each question asks for, each in a process of its own, at most `workers` of them at a time.

    They have ended when this returns, also where it is cancelled. Raises EvaluatorError where one refuses, fails or
    takes longer than `deadline_s`; classes that were learned until then are not learned again.
    """
    places = trio.CapacityLimiter(workers)

    async def one(question: Learn) -> None:
        async with places:
            answer = await _ask(question, memory_bytes=memory_bytes, nice=nice, deadline_s=deadline_s)
        assert isinstance(answer, Learned)

    async with trio.open_nursery() as nursery:
        for question in questions:
            nursery.start_soon(one, question)


async def look(question: Look, *, memory_bytes: int, nice: int, deadline_s: float) -> Summary:
    """The summary of an experiment's folder, with its plots, and its report where asked; raises EvaluatorError."""
    answer = await _ask(question, memory_bytes=memory_bytes, nice=nice, deadline_s=deadline_s)
    assert isinstance(answer, Summary)
    return answer


async def _ask(question: Question, *, memory_bytes: int, nice: int, deadline_s: float) -> Learned | Summary:
    command = [
        sys.executable,
        "-P",  # the current folder must not shadow packages of the same names
        "-m",
        "evaluator.incremental",
        f"--memory={memory_bytes}",
        f"--nice={nice}",
    ]
    try:
        with trio.fail_after(deadline_s):
            done = await trio.run_process(
                command,
                stdin=msgspec.json.encode(question),
                capture_stdout=True,
                check=False,
                env=thread_environment(),
            )
    except trio.TooSlowError:
        raise EvaluatorError(
            f"a process of the experiment did not end within {deadline_s:g} s. The same command goes on from there; or "
            "give it a longer --deadline."
        ) from None
    return _answer(done)


def _answer(done: "subprocess.CompletedProcess[bytes]") -> Learned | Summary:
    try:
        answer: Answer = msgspec.json.decode(done.stdout, type=Answer)
    except msgspec.DecodeError:
        raise EvaluatorError(
            "a process of the experiment must end with an answer, it ended with exit status "
            f"{done.returncode}; what it said stands above. The same command goes on from there."
        ) from None
    if isinstance(answer, Refused):
        raise EvaluatorError(answer.detail)
    return answer

"""Asking for runs of a classifier: the parent's side of the child that computes, `evaluator.incremental.classifier`."""

import subprocess
import sys

import msgspec
import trio

from evaluator.errors import EvaluatorError
from evaluator.incremental.classifier.messages import Answer, ClassifierResult, LearnClasses, Refused
from evaluator.limits import thread_environment

__all__ = ["ask"]


async def ask(
    question: LearnClasses, *, memory_bytes: int, nice: int, deadline_s: float
) -> tuple[ClassifierResult, ...]:
    """The results of a process started for this question, which has ended when this returns, cancelled or not.

    What it tells on standard error goes to this process's. Raises EvaluatorError where the question is refused, or the
    process fails or takes longer than `deadline_s`; classes that were learned until then are not learned again.
    """
    command = [
        sys.executable,
        "-P",  # the current folder must not shadow packages of the same names
        "-m",
        "evaluator.incremental.classifier",
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
            f"the runs must end within {deadline_s:g} s, these did not. The same command goes on after the last class; "
            "or give it a longer --deadline."
        ) from None
    answer = _answer(done)
    if isinstance(answer, Refused):
        raise EvaluatorError(answer.detail)
    return answer.results


def _answer(done: "subprocess.CompletedProcess[bytes]") -> Answer:
    try:
        answer: Answer = msgspec.json.decode(done.stdout, type=Answer)
    except msgspec.DecodeError:
        raise EvaluatorError(
            f"the process of a run must end with an answer, it ended with exit status {done.returncode}; what it said "
            "stands above. The same command goes on from there."
        ) from None
    return answer

"""One question to a process of its own: a child that takes a worker's limits, answers, and ends.

Whoever asks never loads what the answer needs. A question comes in on the child's standard input as MessagePack, its
answer goes out on standard output; nothing here loads torch.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import trio

from evaluator import limits
from evaluator.errors import EvaluatorError
from evaluator.limits import thread_environment

__all__ = ["Refused", "answer_of", "ask", "serve"]


class Refused(msgspec.Struct, tag="refused", frozen=True):
    """What was asked cannot be done, and why."""

    detail: str


async def ask(
    module: str,
    question: msgspec.Struct,
    kind: Any,
    *,
    memory_bytes: int,
    nice: int,
    deadline_s: float,
    late: str,
    heard: bool = True,
) -> Any:
    """The answer, of the type or union `kind`, of `python -m module`, which has ended when this returns.

    What the child tells on standard error goes to this process's where it is to be `heard`. `late` says what to do
    about one that takes longer than `deadline_s`. Raises EvaluatorError where it refuses, fails or is late.
    """
    command = [
        sys.executable,
        "-P",  # the current folder must not shadow packages of the same names
        "-m",
        module,
        f"--memory={memory_bytes}",
        f"--nice={nice}",
    ]
    try:
        with trio.fail_after(deadline_s):
            done = await trio.run_process(
                command,
                stdin=msgspec.msgpack.encode(question),
                capture_stdout=True,
                capture_stderr=not heard,
                check=False,
                env=thread_environment(),
            )
    except trio.TooSlowError:
        raise EvaluatorError(f"this must end within {deadline_s:g} s, which it did not. {late}") from None
    answer = answer_of(done, kind)
    if isinstance(answer, Refused):
        raise EvaluatorError(answer.detail)
    return answer


def answer_of(done: "subprocess.CompletedProcess[bytes]", kind: Any) -> Any:
    """What a child that has ended said: a `kind`, or Refused; raises EvaluatorError where it said nothing of these."""
    try:
        return msgspec.msgpack.decode(done.stdout, type=kind | Refused)
    except msgspec.DecodeError:
        lines = (done.stderr or b"").decode(errors="replace").strip().splitlines()
        said = f": {lines[-1][:500]}" if lines else "; what it said, if anything, stands above"
        raise EvaluatorError(
            f"a process must end with an answer, it ended with exit status {done.returncode}{said}"
        ) from None


def serve(kind: Any, answer: Callable[[Any], msgspec.Struct]) -> None:
    """Be the child: apply the limits of the command line, then answer the one question, of the type `kind`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--nice", type=int, required=True)
    options = parser.parse_args()
    # Whatever prints must not reach the answer: standard output becomes standard error.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    limits.apply(memory_bytes=options.memory, nice=options.nice)
    question = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=kind)
    with output:
        output.write(msgspec.msgpack.encode(answer(question)))

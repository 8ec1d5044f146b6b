"""The child that runs one experiment, and ends: `python -P -m evaluator.control --memory BYTES --nice N`.

An `evaluator.control.process.CartPole` comes in on standard input as JSON, its `Manifest` goes out on standard output;
what it has learned along the way is told on standard error.
"""

import argparse
import os
import sys

import msgspec

from eqmesh import EqmeshError
from evaluator import limits
from evaluator.control.process import CartPole, Manifest, Refused
from evaluator.control.settings import Credit
from evaluator.control.summaries import Point

__all__ = ["main"]


def main() -> None:
    """Run the experiment on standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--nice", type=int, required=True)
    options = parser.parse_args()
    # Whatever prints must not reach the answer: standard output becomes standard error.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    limits.apply(memory_bytes=options.memory, nice=options.nice)
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=CartPole)
    with output:
        output.write(msgspec.json.encode(_answer(asked)))


def _answer(asked: CartPole) -> Manifest | Refused:
    # After the limits: they load torch, which reads its thread counts when it is imported.
    from evaluator.control.experiment import run_cartpole  # noqa: PLC0415

    try:
        return run_cartpole(asked, _tell)
    except EqmeshError as error:
        return Refused(str(error))
    except MemoryError:
        return Refused(
            "the experiment needs more memory than a worker may have. Raise the setting worker_memory."
        )


def _tell(credit: Credit, seed: int, point: Point) -> None:
    sys.stderr.write(f"{credit}, seed {seed}: {point.steps} steps, return {point.mean_return:.1f}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()

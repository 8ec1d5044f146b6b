"""The child that runs one experiment, and ends: `python -P -m evaluator.control --memory BYTES --nice N`.

An `evaluator.control.process.CartPole` comes in, its `Manifest` goes out (see `evaluator.oneshot`); what it has
learned along the way is told on standard error.
"""

import sys

from eqmesh import EqmeshError
from evaluator.control.process import CartPole, Manifest
from evaluator.control.settings import Credit
from evaluator.control.summaries import Point
from evaluator.oneshot import Refused, serve

__all__ = ["main"]


def main() -> None:
    """Run the experiment on standard input."""
    serve(CartPole, _answer)


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

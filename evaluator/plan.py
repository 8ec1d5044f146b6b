"""What a training does, in which order: all that follows from a job, step by step. Pure."""

import hashlib
from typing import TYPE_CHECKING

import msgspec

from evaluator.curriculum import Course, Curriculum, course_of
from evaluator.errors import EvaluatorError
from evaluator.rate_schedule import rate_share
from kernels import permutation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Plan"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is trained on what, in which order: all that follows from a job.

    `examples` are trained on for `epochs` passes in batches of `batch`, the last of a pass shorter;
    `key` (32 bytes) draws the order and the signs; the rate moves by `schedule`
    (`rate_schedule.SCHEDULES`). The end of each of `checkpoints` equal shares of the steps is hashed. With a
    `curriculum` early epochs see a share of the examples.
    """

    examples: int
    epochs: int
    batch: int
    key: bytes
    schedule: str
    checkpoints: int
    curriculum: Curriculum | None = None

    @property
    def course(self) -> Course:
        """How many examples each epoch sees, and the step after which it ends."""
        return course_of(self.curriculum, examples=self.examples, epochs=self.epochs, batch=self.batch)

    @property
    def steps(self) -> int:
        """Batches in the whole training."""
        return self.course.ends[-1]

    @property
    def samples(self) -> int:
        """Examples that the whole training sees, each as often as it comes."""
        return sum(self.course.sizes)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Steps after which a checkpoint stands; the last is the end. Never more than there are steps."""
        count = min(self.checkpoints, self.steps)
        return tuple(-(-self.steps * i // count) for i in range(1, count + 1))

    def marks(self, points: int) -> frozenset[int]:
        """Steps after which a point of the curve stands, about `points` of them; the last is the end."""
        return frozenset(-(-self.steps * i // points) for i in range(1, points + 1))

    def segment(self, number: int) -> tuple[int, int]:
        """First step of a checkpoint segment (from 0), and the first one after it. Raises EvaluatorError."""
        bounds = (0, *self.boundaries)
        if not 0 <= number < len(bounds) - 1:
            raise EvaluatorError(f"this training has segments 0 to {len(bounds) - 2}, got {number}")
        return bounds[number], bounds[number + 1]

    def visit(self, epoch: int, ranked: "NDArray[np.int64] | None") -> "NDArray[np.int64]":
        """Rows that an epoch sees, in its order; `ranked` is their `curriculum.ranking`."""
        drawn = permutation(self.key, epoch, self.course.sizes[epoch])
        return drawn if ranked is None else ranked[drawn]

    def scale(self, step: int) -> float:
        """Share of the learning rate at this step (from 0)."""
        return rate_share(self.schedule, step, self.steps)

    def sign(self, step: int) -> int:
        """+1 or -1: the sign of a randomly signed nudge at this step."""
        digest = hashlib.sha256(self.key + b"sign" + step.to_bytes(8, "big")).digest()
        return 1 if digest[0] & 1 else -1

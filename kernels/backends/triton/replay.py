"""Steps of a population without Python between them: recorded once, many at a time, and replayed."""

from collections.abc import Iterator

from kernels.arithmetic import Op
from kernels.backends.graph import Recorder

__all__ = ["PORTIONS", "Replays", "portions"]

# The steps of a recording: many at once, and one for what is left over.
PORTIONS = (16, 1)


def portions(steps: int) -> Iterator[int]:
    """Cut `steps` into portions that are recorded, the largest first."""
    for portion in PORTIONS:
        for _ in range(steps // portion):
            yield portion
        steps %= portion


class Replays:
    """Takes steps: replays of what `recorder` made of `advance`, or, with None, `advance` itself.

    A recording reads and writes the memory that `advance` found: `forget` it once that has moved.
    """

    def __init__(self, advance: Op, recorder: Recorder | None) -> None:
        self._advance = advance
        self._recorder = recorder
        self._recorded: dict[int, Op] = {}

    def prepare(self, steps: int) -> None:
        """Record what `run` will replay for so many steps; `advance` runs once before, and must do no harm."""
        if self._recorder is None:
            return
        missing = [
            portion for portion in PORTIONS if portion in portions(steps) and portion not in self._recorded
        ]
        if missing and not self._recorded:
            # Kernels compile, and load, on their first launch, which no recording survives.
            self._recorder.warm(self._advance)
        for portion in missing:
            self._recorded[portion] = self._recorder.record(self._repeated(portion))

    def _repeated(self, times: int) -> Op:
        def repeat() -> None:
            for _ in range(times):
                self._advance()

        return repeat

    def run(self, steps: int) -> None:
        """Take `steps`, which have been prepared."""
        if self._recorder is None:
            self._repeated(steps)()
            return
        for portion in portions(steps):
            self._recorded[portion]()

    def forget(self) -> None:
        """Drop all recordings."""
        self._recorded.clear()

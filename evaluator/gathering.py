"""Who waits for a worker, and who goes along when one becomes free. Pure."""

from typing import Generic, TypeVar

__all__ = ["Line"]

T = TypeVar("T")


class Line(Generic[T]):
    """Waiting jobs in the order in which they came, each with the key of those that may share its launch."""

    def __init__(self) -> None:
        self._waiting: dict[T, str] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, item: T, key: str) -> None:
        """Wait behind all others."""
        self._waiting[item] = key

    def leave(self, item: T) -> bool:
        """Wait no longer; False where it did not."""
        return self._waiting.pop(item, None) is not None

    def gather(self, key: str, *, most: int, idle: int, starting: int = 0) -> list[T]:
        """Take out the oldest of this key, at most `most`, to go along with one that has just left the line.

        `idle` other workers have no job and `starting` ones a single job that nobody has joined so far: what is their
        share stays behind for them, since a launch of half the networks takes less time than one of all.
        """
        share = -(-(len(self._waiting) + 1 + starting) // (idle + starting + 1)) - 1
        taken = [item for item, theirs in self._waiting.items() if theirs == key][: min(most, share)]
        for item in taken:
            del self._waiting[item]
        return taken

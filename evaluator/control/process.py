"""What crosses the pipe to the process of an experiment, and how its parent asks: the parent never loads torch."""

import msgspec

from evaluator import oneshot
from evaluator.control.settings import CartPoleSettings, Credit
from evaluator.control.summaries import Summary
from evaluator.errors import TaskError

__all__ = ["CartPole", "Manifest", "ask"]


class CartPole(msgspec.Struct, frozen=True, kw_only=True):
    """Train each credit on the seeds from `first_seed` on, with files in the folder `out`. Raises TaskError."""

    settings: CartPoleSettings
    credits: tuple[Credit, ...]
    first_seed: int
    seeds: int
    out: str

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise TaskError(f"seeds must be at least 1, got {self.seeds}.")
        if not 0 <= self.first_seed < 2**62:
            raise TaskError(f"the first seed must lie between 0 and 2^62 - 1, got {self.first_seed}.")
        if not self.credits or len(set(self.credits)) != len(self.credits):
            raise TaskError(f"each credit may stand once, and one must, got {self.credits}.")


class Manifest(msgspec.Struct, frozen=True, kw_only=True, tag="manifest"):
    """Where results came from: settings, seeds, versions, machine, every training, files by their SHA-256."""

    settings: CartPoleSettings
    settings_sha256: str
    credits: tuple[Credit, ...]
    first_seed: int
    results: tuple[Summary, ...]
    runs: dict[str, str]
    files: dict[str, str]
    machine: str
    versions: dict[str, str]


async def ask(asked: CartPole, *, memory_bytes: int, nice: int, deadline_s: float) -> Manifest:
    """What a process started for this experiment found; it has ended when this returns. Its talk goes to stderr.

    Raises EvaluatorError where it refuses, fails, or takes longer than `deadline_s`; trainings that ended are kept.
    """
    found: Manifest = await oneshot.ask(
        "evaluator.control",
        asked,
        Manifest,
        memory_bytes=memory_bytes,
        nice=nice,
        deadline_s=deadline_s,
        late="The same command goes on from there; or give it a longer --deadline.",
    )
    return found

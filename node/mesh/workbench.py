"""Where a mesh has genomes trained and claims checked: a pool of workers, or whatever stands in for one. Pure."""

from typing import Protocol

from evaluator.jobs import Failure, Job, Replay, Replayed, Result, Weigh, Weighed

__all__ = ["Workbench"]


class Workbench(Protocol):
    """Runs jobs one to a worker. Whatever goes wrong in a job is a `Failure`; nothing of it raises."""

    async def run(self, job: Job) -> Result:
        """Train and measure one genome."""
        ...

    async def weigh(self, request: Weigh) -> Weighed | Failure:
        """Hold a claim's weights against its predictions, and these against its accuracy: stage 1."""
        ...

    async def replay(self, request: Replay) -> Replayed | Failure:
        """Train one segment of a claim again: stage 2a."""
        ...

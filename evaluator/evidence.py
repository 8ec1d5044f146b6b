"""What a stranger needs to check a training: the learner's states and the predictions, as files."""

import hashlib
from pathlib import Path

from evaluator import weights
from evaluator.errors import EvaluatorError
from evaluator.jobs import Job
from evaluator.train import State

__all__ = ["Evidence"]


class Evidence:
    """Files by which a stranger can check a training, written where the job asks for them."""

    def __init__(self, job: Job) -> None:
        if job.evidence and job.spool is None:
            raise EvaluatorError(
                "evidence is written to the spool folder, but the job names none. Set spool."
            )
        self._folder = Path(job.spool) if job.evidence and job.spool is not None else None
        self.states: list[str] = []
        self.state_bytes = 0

    def keep_state(self, _step: int, state: State) -> None:
        """Write a learner's state, named by its bytes."""
        assert self._folder is not None
        name, body = weights.pack(state)
        weights.spool(self._folder, name, body, suffix=".state")
        self.states.append(name)
        self.state_bytes = max(self.state_bytes, len(body))

    def keep_predictions(self, body: bytes) -> str:
        """Name of the predictions; written only as evidence."""
        name = hashlib.sha256(body).hexdigest()
        if self._folder is not None:
            weights.spool(self._folder, name, body, suffix=".predictions")
        return name

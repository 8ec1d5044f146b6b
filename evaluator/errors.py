"""What goes wrong around an evaluation, on purpose. Pure."""

from eqmesh import EqmeshError


class EvaluatorError(EqmeshError):
    """A job, a task or a worker cannot be used as it was given."""


class TaskError(EvaluatorError):
    """A task is unknown, malformed or does not fit the request."""


class DataError(EvaluatorError):
    """A data set is missing or is not the one that its checksum names."""


class SealedSplitError(EvaluatorError):
    """The test split was asked for where only a final report may open it."""


class SurroundingsError(EvaluatorError):
    """This machine's package, task or disk is not what a job needs; another genome would fare no better."""


class EvidenceError(EvaluatorError):
    """A file that a stranger sent for its claim is not what genome, class and claim need."""

"""What goes wrong around a store, a run or the command line, on purpose. Pure."""

from eqmesh import EqmeshError


class NodeError(EqmeshError):
    """A node cannot do what it was asked."""


class StoreError(NodeError):
    """A store is missing, in use, newer than this program, or holds something else."""


class SettingsError(NodeError):
    """A setting is unknown or out of range."""


class NotFoundError(NodeError):
    """A genome, run or file that was named does not exist."""


class SearchError(NodeError):
    """A search cannot go on, for a reason that lies in this machine."""


def leaves(error: BaseException) -> list[BaseException]:
    """The errors that a group holds, however deep; of an error that is no group, itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]

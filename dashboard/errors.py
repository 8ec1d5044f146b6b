"""What can be wrong with a question to the dashboard, and how it is told."""

from dataclasses import dataclass

from eqmesh import EqmeshError
from node.errors import NotFoundError, StoreError
from node.store.board import BoardError, Trouble

__all__ = ["DashboardError", "RefusedError", "Shown", "shown"]


class DashboardError(EqmeshError):
    """The dashboard cannot be started or cannot answer."""


class RefusedError(DashboardError):
    """A request that is understood and not served. `status` is the HTTP status."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Shown:
    """An error as a page shows it: HTTP status, a few words, the whole story, and what to do next."""

    status: int
    title: str
    text: str
    next: str

    @property
    def sentence(self) -> str:
        """The story with a capital, unless it begins with a file's name or the like."""
        first, space, rest = self.text.partition(" ")
        return f"{first.capitalize() if first.isalpha() else first}{space}{rest}"


_TROUBLES: dict[Trouble, tuple[int, str, str]] = {
    "missing": (503, "No store yet", "Start a search on it: this page shows it within a second."),
    "newer": (503, "A newer eqmesh wrote this store", "Update eqmesh here, then reload."),
    "older": (503, "An older eqmesh wrote this store", "Go on with its search once, then reload."),
    "foreign": (503, "This file is no store", "Start the dashboard again and name another file."),
    "busy": (503, "The store is busy", "Reload in a moment."),
}


def shown(error: EqmeshError) -> Shown:
    """How a page tells of an error."""
    match error:
        case BoardError():
            status, title, then = _TROUBLES[error.trouble]
            return Shown(status, title, str(error), then)
        case NotFoundError():
            return Shown(404, "Nothing there", str(error), "Look for it with the search field ( / ).")
        case RefusedError():
            return Shown(error.status, "Not done", str(error), "Change what was asked for.")
        case StoreError():
            return Shown(503, "The store cannot be read", str(error), "Reload in a moment.")
        case _:
            return Shown(500, "It went wrong", str(error), "Reload; if it stays, tell us what you did.")

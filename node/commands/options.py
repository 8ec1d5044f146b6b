"""Options that several commands share."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from node.settings import resolve

__all__ = ["Json", "StorePath", "store_path"]

Json = Annotated[
    bool, Parameter(name="--json", negative="", show_default=False, help="Print the result as JSON.")
]
StorePath = Annotated[
    Path | None, Parameter(name="--store", help="File that holds the record. [default: eqmesh.db]")
]


def store_path(given: Path | None) -> Path:
    """The store that was named, or that of the settings. Raises SettingsError where these are wrong."""
    settings = resolve({}, folder=Path.cwd(), environ=os.environ).settings
    return given or Path(settings.store)

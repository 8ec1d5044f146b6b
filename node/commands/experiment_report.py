"""`eqmesh report`: what the runs of a folder come to, as Markdown and as one HTML file."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from evaluator.incremental.messages import Look
from evaluator.incremental.process import look
from node import output
from node.commands.child import ask_child
from node.commands.neurogenesis import show
from node.commands.options import Json
from node.errors import NotFoundError

__all__ = ["report"]

_DEADLINE_S = 600.0


def report(
    folder: Annotated[Path, Parameter(help="The --out folder of `eqmesh experiment neurogenesis`.")],
    /,
    *,
    json: Json = False,
) -> int:
    """Check every finished run of a folder against its hashes, and write report.md and report.html there.

    A file that changed after its run is an error that names it.

    Example: eqmesh report neurogenesis
    """
    if not folder.is_dir():
        raise NotFoundError(
            f"expected the folder of an experiment, there is none at {folder}. Name what --out named."
        )
    summary = ask_child(look, Look(out=str(folder), report=True), deadline_s=_DEADLINE_S)
    if json:
        output.write_json(summary)
    else:
        show(summary)
    return 0

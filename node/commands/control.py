"""`eqmesh control`: orders to the search or node that runs on a store."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import trio
from cyclopts import Parameter

from node import output
from node.commands.options import Json, StorePath, store_path
from node.control import ControlError, ask
from node.errors import NotFoundError
from node.orders import (
    MOST_BYTES,
    NodeState,
    Order,
    Pause,
    Queue,
    Refused,
    Resume,
    Status,
    Stop,
    Verify,
    control_path,
)
from node.settings import identity_path

__all__ = ["pause", "queue", "resume", "status", "stop", "verify"]


def pause(*, store: StorePath = None, json: Json = False) -> None:
    """Pause the search on a store: trainings under way go on, and no other begins.

    Example: eqmesh control pause --store eqmesh.db
    """
    _order(Pause(), store, json=json)


def resume(*, store: StorePath = None, json: Json = False) -> None:
    """Let a paused search go on; its record is the same as if it had not been paused.

    Example: eqmesh control resume --store eqmesh.db
    """
    _order(Resume(), store, json=json)


def stop(*, store: StorePath = None, json: Json = False) -> None:
    """End the search on a store, as Ctrl-C in its terminal does.

    Example: eqmesh control stop --store eqmesh.db
    """
    _order(Stop(), store, json=json)


def status(*, store: StorePath = None, json: Json = False) -> None:
    """Show what the search or node on a store is doing.

    Example: eqmesh control status --store eqmesh.db
    """
    _order(Status(), store, json=json)


def verify(
    target: Annotated[str, Parameter(help="First digits of the id of a genome or claim, at least six.")],
    /,
    *,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Have a genome of the run trained on one more fresh seed, or a peer's claim checked before others.

    Example: eqmesh control verify 3f9a12c4 --store eqmesh.db
    """
    _order(_made(Verify, target=target), store, json=json)


def queue(
    file: Annotated[Path, Parameter(help="JSON file as `eqmesh genome export` writes it.")],
    /,
    *,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Have the genome of a JSON file trained next by the search on a store.

    Example: eqmesh control queue best.json --store eqmesh.db
    """
    with file.open("rb") as opened:
        body = opened.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise ControlError(f"the genome's JSON may have {MOST_BYTES} bytes, {file} has more.")
    try:
        document = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ControlError(
            f"{file} must hold a genome as JSON: {error}. `eqmesh genome export` writes one."
        ) from error
    _order(Queue(genome=document), store, json=json)


# Any: the fields of an order are checked right here, by their own types.
def _made(kind: type[Verify], **fields: Any) -> Verify:
    try:
        return msgspec.convert({"order": kind.__struct_config__.tag, **fields}, kind)
    except msgspec.ValidationError as error:
        raise ControlError(
            f"this order cannot be given: {error}. An id is hexadecimal, six digits or more."
        ) from error


def _order(order: Order, store: Path | None, *, json: bool) -> None:
    path = store_path(store)
    answer = trio.run(partial(ask, control_path(path, identity_path().parent), order))
    if answer is None:
        raise NotFoundError(
            f"no search and no node runs on {path}. `eqmesh search --store {path}` starts one, or goes on with it."
        )
    if isinstance(answer, Refused):
        raise ControlError(answer.why)
    if json:
        output.write_json(msgspec.to_builtins(answer))
    elif isinstance(answer, NodeState):
        output.write_table(["what", "value"], _lines(answer))
    else:
        output.write(answer.said or "done")


def _lines(state: NodeState) -> list[list[str]]:
    of = f" of {state.limit}" if state.limit is not None else ""
    return [
        ["doing", state.doing],
        ["run", f"{state.run}, task {state.task}"],
        ["evaluations", f"{state.evaluations}{of}"],
        ["under way", str(state.training)],
        ["queued", str(state.queued)],
        ["peers", "a node of the mesh" if state.mesh else "none, a search alone"],
    ]

"""The builder: a form made from a space's genes, checked by the space itself; nothing that is pasted is ever run."""

from collections.abc import Mapping
from typing import Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.context import body_of, json, page, read
from dashboard.errors import RefusedError
from dashboard.plain import plain
from node.errors import NotFoundError
from node.store.board import Board
from node.store.board.genome import document
from node.store.board.genomes import resolve
from node.store.board.snippets import built, read_text
from node.store.board.spaces import SIZES, preset_cards, space_cards, space_of

__all__ = ["routes"]

T = TypeVar("T")

_MOST_BYTES = 64 * 1024


class _Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Values to be checked; `task` is the built-in one whose size costs are reckoned for."""

    space: str
    genes: dict[str, object]
    task: str = "digits"
    arithmetic: Literal["fp32", "bf16", "exact-1"] = "fp32"


class _Pasted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Text that may hold a genome."""

    text: str


async def _page(request: Request) -> Response:
    return await page(request, "builder.html")


async def _spaces(_: Request) -> Response:
    """All that the form is made from: spaces, presets, sizes of tasks, arithmetic classes."""
    return json(
        plain(
            {
                "spaces": space_cards(),
                "presets": preset_cards(),
                "sizes": [{"name": name, "size": size} for name, size in SIZES.items()],
                "arithmetic": ("fp32", "bf16", "exact-1"),
            },
            limit=1000,
        )
    )


async def _check(request: Request) -> Response:
    """Check values: problems with their genes, or id, summary, layers, cost, JSON and Python."""
    asked = await _body(request, _Asked)
    space = space_of(asked.space)
    if space is None:
        raise NotFoundError(f"there is no built-in space {asked.space[:64]!r}.")
    size = SIZES.get(asked.task)
    if size is None:
        raise RefusedError(f"a task here is one of {', '.join(SIZES)}, got {asked.task[:64]!r}.")
    found = built(space, asked.genes, size, asked.arithmetic)
    # Both texts are made here of checked values: they keep their lines.
    return json({"checked": plain(found.checked, limit=1000), "json": found.json, "python": found.python})


async def _read(request: Request) -> Response:
    """The space and genes that a pasted text holds."""
    return json(plain(read_text((await _body(request, _Pasted)).text)))


async def _of_genome(request: Request) -> Response:
    """The space and genes of a genome in the store, to begin with."""
    given = request.path_params["id"]

    def ask(board: Board) -> Mapping[str, object]:
        return document(board, resolve(board, given))

    found = await read(request, ask)
    return json({"space": found["space"], "genes": found["genes"], "problem": ""})


async def _body(request: Request, kind: type[T]) -> T:
    body = await request.body()
    if len(body) > _MOST_BYTES:
        raise RefusedError(f"a genome's form has at most {_MOST_BYTES} bytes, got {len(body)}.", 413)
    return await body_of(request, kind, "the builder")


routes = [
    Route("/builder", _page),
    Route("/api/builder/spaces", _spaces),
    Route("/api/builder/check", _check, methods=["POST"]),
    Route("/api/builder/read", _read, methods=["POST"]),
    Route("/api/builder/genome/{id}", _of_genome),
]

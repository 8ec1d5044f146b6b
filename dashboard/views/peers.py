"""The table of peers, and the page of one peer."""

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.context import json, page, read
from dashboard.plain import now_s, plain
from node.errors import NotFoundError
from node.store.board.peers import peer_detail, peer_lines

__all__ = ["routes"]

# Base58 of a key's hash, as libp2p writes it.
_PEER = re.compile(r"[1-9A-HJ-NP-Za-km-z]{1,128}")


async def _page(request: Request) -> Response:
    return await page(request, "peers.html")


async def _peer_page(request: Request) -> Response:
    return await page(request, "peer.html", peer=_named(request))


async def _peers(request: Request) -> Response:
    now = now_s()
    found = await read(request, lambda board: peer_lines(board, now))
    return json({"peers": plain(found), "now": now})


async def _peer(request: Request) -> Response:
    now, peer = now_s(), _named(request)
    found = await read(request, lambda board: peer_detail(board, peer, now))
    return json({"now": now, "peer": plain(found, limit=600)})


def _named(request: Request) -> str:
    peer = str(request.path_params["id"])
    if not _PEER.fullmatch(peer):
        raise NotFoundError("that is no peer's id. The table of peers lists them.")
    return peer


routes = [
    Route("/peers", _page),
    Route("/peer/{id}", _peer_page),
    Route("/api/peers", _peers),
    Route("/api/peer/{id}", _peer),
]

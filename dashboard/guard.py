"""Who may ask the dashboard: exact host names, a token of this start, and requests of its own pages alone."""

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlencode

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.errors import DashboardError

__all__ = ["HEADERS", "MOST_BODY", "Guard", "Guarded", "Verdict", "is_loopback"]

MOST_BODY = 64 * 1024
"""Bytes that the body of a request may have."""

_MOST_TARGET = 4096

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "private, no-cache",
}
"""What every answer carries; one that sets a header of these itself keeps its own."""

_READS = ("GET", "HEAD")


def is_loopback(address: str) -> bool:
    """Whether an address (or the name localhost) is this machine's own loopback."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Verdict:
    """What becomes of a request: passed on, sent elsewhere with the cookie, or refused with a status and a reason."""

    status: int
    text: str = ""
    location: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the request may go on to a page."""
        return self.status == 200


_TOO_LONG = Verdict(413, f"A request may carry {MOST_BODY} bytes.")


@dataclass(frozen=True, kw_only=True)
class Guard:
    """The rules of one start.

    `hosts` are the values that the Host header may have, ports included; `token` is the secret of this start. `port`
    names the cookie, so that two dashboards of one machine do not take each other's. `local` says that nothing but
    loopback can connect.
    """

    hosts: frozenset[str]
    token: str
    port: int
    local: bool = True
    allow_commands: bool = False

    @classmethod
    def of(
        cls,
        address: str,
        port: int,
        token: str,
        *,
        allowed: tuple[str, ...] = (),
        allow_commands: bool = False,
    ) -> "Guard":
        """The rules for a server at `address`; `allowed` are the names by which others reach it.

        Raises DashboardError for an address beyond loopback without a name to reach it by, or a name that is none.
        """
        local = is_loopback(address)
        if not local and not allowed:
            raise DashboardError(
                f"a dashboard at {address} needs the names by which others reach it. Give each with --allow-host, or "
                "leave out --listen to stay on this machine."
            )
        names = ["127.0.0.1", "localhost", "[::1]"] if local else []
        hosts = {f"{name}:{port}" for name in names} | {_host(name, port) for name in allowed}
        return cls(
            hosts=frozenset(hosts),
            token=token,
            port=port,
            local=local and not allowed,
            allow_commands=allow_commands,
        )

    @property
    def cookie(self) -> tuple[str, str]:
        """Name and value of the cookie that stands for the token; the value does not give the token away."""
        value = hmac.new(self.token.encode(), b"eqmesh/cookie/1", hashlib.sha256).hexdigest()
        return f"eqmesh_{self.port}", value

    def takes_commands_of(self, client: str | None) -> bool:
        """Whether a client at this address may give the node orders."""
        return self.allow_commands or (self.local and client is not None and is_loopback(client))

    def judge(self, method: str, path: str, query: bytes, headers: Headers) -> Verdict:
        """What becomes of a request. Pure."""
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or host not in self.hosts:
            return Verdict(421, "This address is not one of this dashboard's. Open the one that it printed.")
        if len(path) + len(query) > _MOST_TARGET:
            return Verdict(414, f"An address may have {_MOST_TARGET} characters here.")
        if method not in (*_READS, "POST"):
            return Verdict(405, "Pages are read with GET, and commands given with POST.")
        if not _own_page(method, host, headers):
            return Verdict(403, "Another site sent this request. Open the dashboard itself.")
        given = [value for name, value in parse_qsl(query.decode("latin-1")) if name == "token"]
        if given and method == "GET":
            return self._exchange(given[-1], path, query)
        if not self._known(headers):
            return Verdict(
                401, "Open the dashboard by the address with its token, as it was printed when it started."
            )
        return Verdict(200)

    def _exchange(self, given: str, path: str, query: bytes) -> Verdict:
        if not _same(given, self.token):
            return Verdict(401, "This token is of another start. Open the address that was printed last.")
        rest = [(name, value) for name, value in parse_qsl(query.decode("latin-1")) if name != "token"]
        # One slash: two would name another host.
        where = "/" + path.lstrip("/\\")
        return Verdict(303, location=f"{where}?{urlencode(rest)}" if rest else where)

    def _known(self, headers: Headers) -> bool:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(credentials.strip(), self.token):
            return True
        name, value = self.cookie
        return _same(cookie_parser(headers.get("cookie", "")).get(name, ""), value)


def _same(given: str, expected: str) -> bool:
    """Whether two secrets are equal, in a time that says nothing of how they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def _own_page(method: str, host: str, headers: Headers) -> bool:
    """Whether a request comes from the dashboard's own pages, from the person, or from no browser at all."""
    site = headers.get("sec-fetch-site", "none")
    opened = method == "GET" and headers.get("sec-fetch-mode") == "navigate" and site != "same-site"
    if site not in ("same-origin", "none") and not opened:
        return False
    origin = headers.get("origin")
    if origin is None:
        # A browser names the origin of every POST; what names none and has the token is a program of the owner.
        return method in _READS or "sec-fetch-site" not in headers or site == "same-origin"
    return origin in (f"http://{host}", f"https://{host}")


def _host(name: str, port: int) -> str:
    """The Host header of those who come by this name: with our port, unless it carries its own (`:443` for none)."""
    if not name or any(character in name for character in "/@*, \t\r\n"):
        raise DashboardError(f"--allow-host takes a host name, with a port or without, got {name!r}.")
    bare, colon, own = name.rpartition(":")
    if not colon or name.endswith("]"):
        return f"{name}:{port}".lower() if port not in (80, 443) else name.lower()
    if not own.isdecimal():
        raise DashboardError(f"--allow-host takes a host name, with a port or without, got {name!r}.")
    # Browsers leave out the usual ports.
    return bare.lower() if own in ("80", "443") else name.lower()


class Guarded:
    """An application that hears only what the guard lets through. Its answers carry the security headers."""

    def __init__(self, inner: ASGIApp, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection of ASGI."""
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the server speaks no web sockets; an upgrade is answered as a plain request
        headers = Headers(scope=scope)
        verdict = self._guard.judge(scope["method"], scope["path"], scope["query_string"], headers)
        if verdict.passed and _length(headers) > MOST_BODY:
            verdict = _TOO_LONG
        if not verdict.passed:
            await _refuse(verdict, self._guard, send, plain=_wants_json(scope["path"], headers))
            return
        body = _Body(receive)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    found.setdefault(name, value)
            await send(message)

        try:
            await self._inner(scope, body.receive, send_guarded)
        except ClientDisconnect:
            # Who asked has gone, and hears no answer, or sent more than is read.
            if body.too_long:
                await _refuse(_TOO_LONG, self._guard, send, plain=_wants_json(scope["path"], headers))


def _length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() and len(text) < 12 else MOST_BODY + 1


class _Body:
    """The body of a request, which ends as a disconnection where it grows beyond what is allowed."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._taken = 0

    @property
    def too_long(self) -> bool:
        return self._taken > MOST_BODY

    async def receive(self) -> Message:
        message = await self._receive()
        self._taken += len(message.get("body", b""))
        return message if not self.too_long else {"type": "http.disconnect"}


def _wants_json(path: str, headers: Headers) -> Literal["json", "html"]:
    data = path.startswith(("/api/", "/events", "/command/")) or "text/html" not in headers.get(
        "accept", "text/html"
    )
    return "json" if data else "html"


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{status} · eqmesh</title>
<meta name="viewport" content="width=device-width,initial-scale=1"></head><body><main><h1>{status}: not shown</h1>
<p>{text}</p></main></body></html>
"""


async def _refuse(verdict: Verdict, guard: Guard, send: Send, *, plain: Literal["json", "html"]) -> None:
    """Answer without the application: a redirect with the cookie, or a page that depends on nothing else."""
    extra: dict[str, str] = {}
    if verdict.location is not None:
        name, value = guard.cookie
        extra = {
            "Location": verdict.location,
            "Set-Cookie": f"{name}={value}; Path=/; HttpOnly; SameSite=Strict",
            # The address with the token must not be kept anywhere.
            "Cache-Control": "no-store",
        }
    if verdict.status == 405:
        extra["Allow"] = "GET, HEAD, POST"
    if verdict.status == 413:
        # The rest of the body is not read, so nothing can follow it.
        extra["Connection"] = "close"
    if plain == "json":
        body, kind = (
            msgspec.json.encode({"error": verdict.text, "status": verdict.status}),
            "application/json",
        )
    else:
        # Nothing of the request stands in these texts, so nothing has to be escaped.
        page = _PAGE.format(status=verdict.status, text=verdict.text)
        body, kind = page.encode(), "text/html; charset=utf-8"
    headers = {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body)), **extra}
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": verdict.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})

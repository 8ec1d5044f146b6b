"""Who gets in, by a table of requests; what every answer carries; and bytes that are no HTTP."""

import json
import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from dashboard.commands import _bound
from dashboard.errors import DashboardError
from dashboard.guard import HEADERS, MOST_BODY, Guard, is_loopback
from tests.dashboard.conftest import ROOT, TOKEN, Served, make_client

GUARD = Guard.of("127.0.0.1", 8765, TOKEN)
HERE = "127.0.0.1:8765"
NAME, VALUE = GUARD.cookie
COOKIE = {"cookie": f"{NAME}={VALUE}"}
PAGE = {"sec-fetch-site": "same-origin", "origin": f"http://{HERE}"}


def judged(
    method: str = "GET", path: str = "/", query: str = "", guard: Guard = GUARD, **headers: str
) -> int:
    found = {"host": HERE} | {name.replace("_", "-"): value for name, value in headers.items()}
    return guard.judge(method, path, query.encode(), Headers(found)).status


@pytest.mark.parametrize(
    ("status", "method", "query", "headers"),
    [
        (200, "GET", "", COOKIE),
        (200, "HEAD", "", COOKIE),
        (200, "GET", "", COOKIE | {"host": "localhost:8765"}),
        (200, "GET", "", COOKIE | {"host": "[::1]:8765"}),
        (200, "GET", "", {"authorization": f"Bearer {TOKEN}"}),
        (200, "GET", "", COOKIE | {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}),
        # A link on another page may open this one; it learns nothing of it.
        (200, "GET", "", COOKIE | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}),
        (200, "POST", "", COOKIE | PAGE),
        (200, "POST", "", {"authorization": f"Bearer {TOKEN}"}),
        (303, "GET", f"token={TOKEN}", {}),
        (303, "GET", f"run=2&token={TOKEN}", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}),
        (401, "GET", "", {}),
        (401, "GET", "token=wrong", {}),
        (401, "GET", "token=", {}),
        (401, "GET", "", {"authorization": "Bearer wrong"}),
        (401, "GET", "", {"authorization": f"Basic {TOKEN}"}),
        (401, "GET", "", {"cookie": f"{NAME}={TOKEN}"}),
        (401, "GET", "", {"cookie": f"eqmesh_8766={VALUE}"}),
        (401, "POST", f"token={TOKEN}", PAGE),
        (403, "GET", "", COOKIE | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}),
        (403, "GET", "", COOKIE | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}),
        # Another program's page on another port of this machine.
        (403, "GET", "", COOKIE | {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}),
        (403, "GET", "", COOKIE | {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate"}),
        (403, "POST", "", COOKIE | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}),
        (403, "POST", "", COOKIE | {"origin": "http://127.0.0.1:8766"}),
        (403, "POST", "", COOKIE | {"origin": "null"}),
        (403, "POST", "", COOKIE | {"origin": "https://evil.example"}),
        (403, "POST", "", COOKIE | {"sec-fetch-site": "none"}),
        (403, "GET", "", COOKIE | {"origin": "https://evil.example"}),
        (405, "PUT", "", COOKIE | PAGE),
        (405, "OPTIONS", "", COOKIE | {"origin": "https://evil.example"}),
        (421, "GET", "", COOKIE | {"host": "evil.example:8765"}),
        (421, "GET", "", COOKIE | {"host": "127.0.0.1"}),
        (421, "GET", "", COOKIE | {"host": "127.0.0.1:8766"}),
        (421, "GET", "", COOKIE | {"host": f"{HERE}.evil.example"}),
        (421, "GET", "", COOKIE | {"host": ""}),
        (421, "GET", f"token={TOKEN}", {"host": "evil.example"}),
        (414, "GET", "q=" + "x" * 5000, COOKIE),
    ],
)
def test_who_gets_in(status: int, method: str, query: str, headers: dict[str, str]) -> None:
    assert (
        judged(method, "/", query, **{name.replace("-", "_"): value for name, value in headers.items()})
        == status
    )


def test_two_host_headers_are_no_host() -> None:
    raw = [(b"host", HERE.encode()), (b"host", b"evil.example"), (b"cookie", COOKIE["cookie"].encode())]
    assert GUARD.judge("GET", "/", b"", Headers(raw=raw)).status == 421


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/", "/?run=2"),
        ("/pareto", "/pareto?run=2"),
        ("//evil.example/x", "/evil.example/x?run=2"),
        ("/\\evil", "/evil?run=2"),
    ],
)
def test_the_token_leaves_the_address_and_no_other_host_is_named(path: str, location: str) -> None:
    found = GUARD.judge("GET", path, f"token={TOKEN}&run=2".encode(), Headers({"host": HERE}))
    assert (found.status, found.location) == (303, location)


def test_the_cookie_is_not_the_token_and_differs_by_start() -> None:
    assert TOKEN not in VALUE
    assert Guard.of("127.0.0.1", 8765, TOKEN + "x").cookie[1] != VALUE
    assert Guard.of("127.0.0.1", 8766, TOKEN).cookie[0] != NAME


def test_beyond_loopback_a_name_is_needed_and_loopback_names_do_not_count() -> None:
    with pytest.raises(DashboardError, match="--allow-host"):
        Guard.of("0.0.0.0", 8765, TOKEN)  # noqa: S104 - that is what is refused
    found = Guard.of(
        "192.0.2.7", 8765, TOKEN, allowed=("lab.example", "proxy.example:443", "other.example:9000")
    )
    assert found.hosts == {"lab.example:8765", "proxy.example", "other.example:9000"}
    assert not found.local


@pytest.mark.parametrize("name", ["", "a/b", "a b", "*", "user@host", "host:port"])
def test_what_is_no_host_name_is_refused(name: str) -> None:
    with pytest.raises(DashboardError, match="--allow-host"):
        Guard.of("192.0.2.7", 8765, TOKEN, allowed=(name,))


@pytest.mark.parametrize(
    ("guard", "client", "taken"),
    [
        (GUARD, "127.0.0.1", True),
        (GUARD, "::1", True),
        (GUARD, "192.0.2.1", False),
        (GUARD, None, False),
        # A proxy of this machine speaks for others.
        (Guard.of("127.0.0.1", 8765, TOKEN, allowed=("lab.example",)), "127.0.0.1", False),
        (
            Guard.of("192.0.2.7", 8765, TOKEN, allowed=("lab.example",), allow_commands=True),
            "192.0.2.1",
            True,
        ),
    ],
)
def test_whose_commands_are_taken(guard: Guard, client: str | None, taken: bool) -> None:
    assert guard.takes_commands_of(client) is taken


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("10.0.0.1", False),
        ("host", False),
    ],
)
def test_what_is_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


@pytest.mark.parametrize(
    "path", ["/", "/api/events", "/static/js/dom.js", "/static/nothing", "/nothing", "/api/nothing"]
)
def test_every_answer_carries_the_security_headers(client, path: str) -> None:  # type: ignore[no-untyped-def]
    answer = client.get(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers


def test_the_policy_lets_no_inline_code_run_and_no_frame_hold_the_page() -> None:
    policy = dict(part.split(" ", 1) for part in HEADERS["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'" and policy["trusted-types"] == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"


@pytest.mark.parametrize("status", [401, 403, 421])
def test_a_refusal_says_what_to_do_and_tells_nothing_of_the_store(searched: Path, status: int) -> None:
    with make_client(searched) as client:
        del client.headers["Authorization"]
        headers = {"accept": "text/html"}
        if status == 403:
            headers |= COOKIE | {"sec-fetch-site": "cross-site"}
        if status == 421:
            headers |= {"host": "<img src=x onerror=alert(1)>"}
        answer = client.get("/?q=<script>", headers=headers)
        assert answer.status_code == status
        assert f"{status}" in answer.text and "<script" not in answer.text and "onerror" not in answer.text
        assert searched.name not in answer.text
        assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
        refused = client.get("/api/events", headers=headers)
        assert refused.json()["status"] == status


def test_the_token_is_exchanged_for_a_cookie_that_opens_pages(searched: Path) -> None:
    with make_client(searched) as client:
        del client.headers["Authorization"]
        answer = client.get(f"/api/search?q=a&token={TOKEN}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/api/search?q=a")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie
        assert answer.headers["cache-control"] == "no-store"
        client.cookies.clear()
        assert client.get("/api/search?q=a").status_code == 401
        assert client.get("/api/search?q=a", headers={"cookie": cookie.partition(";")[0]}).status_code == 200


@pytest.mark.parametrize("length", [str(MOST_BODY + 1), "9" * 30, "-1", "x"])
def test_a_body_that_says_it_is_too_long_is_not_read(client, length: str) -> None:  # type: ignore[no-untyped-def]
    answer = client.post("/command/pause", content=b"{}", headers={"content-length": length})
    assert answer.status_code == 413


def test_a_body_that_grows_without_end_is_not_read_to_its_end(served: Served) -> None:
    head = request(served, "POST /command/queue", "Transfer-Encoding: chunked")
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"

    def flood() -> None:
        with connect(served) as stream:
            stream.sendall(head)
            for _ in range(2000):
                stream.sendall(chunk)

    with pytest.raises((ConnectionError, TimeoutError)):
        flood()
    assert_lives(served)


def request(served: Served, line: str, *headers: str, token: str = TOKEN) -> bytes:
    every = (f"{line} HTTP/1.1", f"Host: {host(served)}", f"Authorization: Bearer {token}", *headers, "", "")
    return "\r\n".join(every).encode()


def heard(stream: socket.socket) -> bytes:
    """All that the server says until it hangs up."""
    answer = b""
    while part := stream.recv(65536):
        answer += part
    return answer


def errors_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error, which a terminal would show with its traceback."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def statuses(answer: bytes) -> list[int]:
    return [int(line.split()[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


@pytest.mark.parametrize(
    ("token", "parts", "expected"),
    [
        # The body is no body, at once with its head and after it.
        ("", [b"ZZZ\r\n"], [400]),
        (TOKEN, [b"ZZZ\r\n"], [400]),
        (TOKEN, [b"", b"ZZZ\r\n"], [400]),
        # A stranger has been answered by then: one answer is all there is.
        ("", [b"", b"ZZZ\r\n"], [401]),
        # One byte more than a body may have.
        (TOKEN, [b"8000\r\n" + b"x" * 0x8000 + b"\r\n"] * 2 + [b"1\r\nx\r\n"], [413]),
    ],
)
def test_a_body_that_is_none_is_answered_once_and_leaves_the_terminal_alone(
    served: Served, caplog: pytest.LogCaptureFixture, token: str, parts: list[bytes], expected: list[int]
) -> None:
    head = request(served, "POST /command/queue", "Transfer-Encoding: chunked", token=token)
    with connect(served) as stream:
        stream.sendall(head + parts[0])
        if not token:
            # The answer to the head has come, or that to all of it.
            stream.recv(1, socket.MSG_PEEK)
        for part in parts[1:]:
            stream.sendall(part)
        answer = heard(stream)
    assert statuses(answer) == expected
    assert_lives(served)
    assert errors_of(caplog) == []


def test_who_hangs_up_within_a_body_leaves_the_terminal_alone(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(served) as stream:
        stream.sendall(request(served, "POST /command/queue", "Content-Length: 9") + b"{")
        stream.shutdown(socket.SHUT_WR)
        assert heard(stream) == b""
    assert_lives(served)
    assert errors_of(caplog) == []


def host(served: Served) -> str:
    return served.base.removeprefix("http://")


def connect(served: Served) -> socket.socket:
    name, _, port = host(served).partition(":")
    made = socket.create_connection((name, int(port)), timeout=120)
    made.settimeout(120)
    return made


def assert_lives(served: Served) -> None:
    with connect(served) as stream:
        stream.sendall(request(served, "GET /api/search", "Connection: close"))
        answer = heard(stream)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"found": []}


NASTY = [
    b"\x00" * 64,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: HOST\r\nHost: evil\r\n\r\n",
    b"GET / HTTP/1.1\r\n: empty\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST /command/pause HTTP/1.1\r\nHost: HOST\r\nContent-Length: -5\r\n\r\n",
    b"POST /command/pause HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
    (
        b"POST /command/pause HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n"
        b"\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    ),
    b"GET / HTTP/1.1\r\nHost: HOST\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: x\r\n\r\n",
    (
        b"GET / HTTP/1.1\r\nHost: HOST\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: \xff\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ),
    b"GET / HTTP/1.1\r\nHost: HOST\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: HOST\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: HOST\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    b"GET /%00%ff%fe/../../etc/passwd HTTP/1.1\r\nHost: HOST\r\n\r\n",
    b"GET /static/../app.py HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer TOKEN\r\n\r\n",
    b"GET /static/%2e%2e/app.py HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer TOKEN\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: HOST\r\nCookie: \xff\xfe=\x80\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: HOST\r\nCookie: " + b"a=b; " * 2000 + b"\r\n\r\n",
    b"\r\n" * 200,
    b"GET / HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
]


def test_bytes_that_are_no_request_do_not_end_the_server(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for nasty in NASTY:
        with connect(served) as stream:
            stream.sendall(nasty.replace(b"HOST", host(served).encode()).replace(b"TOKEN", TOKEN.encode()))
            stream.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while part := stream.recv(65536):
                    answer += part
            except ConnectionResetError:
                pass
        first = answer.split(b"\r\n", 1)[0]
        assert not first or first.split()[1][:1] == b"4", (nasty[:80], first)
        assert b"make_app" not in answer
    assert_lives(served)
    assert errors_of(caplog) == []


def test_answers_are_sent_at_once() -> None:
    """asyncio switches the holding back of small packets off for sockets that name their protocol, for no others."""
    with _bound("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP


HEAVY = {
    "torch",
    "numpy",
    "scipy",
    "networkx",
    "pymoo",
    "deap",
    "libp2p",
    "trio",
    "matplotlib",
    "sklearn",
    "triton",
    # 7 MB, for signatures that no page checks.
    "cryptography",
}


def test_a_server_starts_without_what_searches_and_trains() -> None:
    code = (
        "import sys, dashboard.serving, dashboard.top, dashboard.app\n"
        f"print(sorted({HEAVY!r} & sys.modules.keys()))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=240
    )
    assert found.stdout.strip() == "[]"

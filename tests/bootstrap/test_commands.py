"""What `eqmesh node run`, `join` and `bootstrap` refuse before they open anything; none of it needs libp2p."""

import random
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bootstrap.addresses import book_of, first_calls, save
from bootstrap.peers import AddressError
from node.cli import main
from node.keyfile import load_or_make
from node.protocol.identity import Identity
from node.settings import Settings, identity_path

FREE = "/ip4/127.0.0.1/tcp/0"
OTHER = f"/ip4/192.0.2.1/tcp/4001/p2p/{Identity(b'o' * 32).peer}"

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run one command in a fresh folder; gives exit code and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EQMESH_STATE_DIR", str(tmp_path / "state"))

    def call(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert isinstance(ended.value.code, int)
        return ended.value.code, capfd.readouterr().err

    return call


@pytest.mark.parametrize(
    "command",
    [
        ("node", "run", "--join", "garbage", "--listen", FREE),
        ("join", "garbage", "--listen", FREE),
        ("bootstrap", "--join", "garbage", "--listen", FREE),
        ("node", "run", "--listen", "garbage"),
        ("bootstrap", "--listen", "garbage"),
        ("node", "run", "--listen", FREE, "--advertise", "garbage"),
        ("bootstrap", "--listen", FREE, "--advertise", "garbage"),
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_made(
    run: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    code, said = run(*command)
    assert code == 1
    assert "was expected" in said
    assert "garbage" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("node", "run"), ("bootstrap",)])
def test_a_port_in_use_is_named_and_nothing_is_left_behind(
    run: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = run(*command, "--listen", f"/ip4/127.0.0.1/tcp/{port}")
    assert code == 1
    assert f"port {port} of 127.0.0.1" in said
    assert "--listen" in said
    assert list(tmp_path.iterdir()) == []
    with socket.create_server(("127.0.0.1", port)):
        """Nothing holds it either."""


@pytest.mark.parametrize("place", ["/ip4/203.0.113.7/tcp/0", "/ip4/0.0.0.0/tcp/4001", f"{OTHER}"])
def test_where_nobody_can_call_is_not_advertised(run: Run, place: str) -> None:
    code, said = run("bootstrap", "--listen", FREE, "--advertise", place)
    assert code == 1
    assert "--advertise" in said


def test_a_node_does_not_join_itself(run: Run, tmp_path: Path) -> None:
    mine = load_or_make(identity_path()).peer
    code, said = run("join", f"/ip4/192.0.2.1/tcp/4001/p2p/{mine}", "--listen", FREE)
    assert code == 1
    assert mine in said
    assert "EQMESH_STATE_DIR" in said
    assert {path.name for path in tmp_path.iterdir()} == {"state"}


def test_whom_a_node_calls_first(tmp_path: Path) -> None:
    me = Identity(b"m" * 32).peer
    settings = Settings(store=str(tmp_path / "s.db"), join=(OTHER,))
    own = f"/ip4/192.0.2.9/tcp/4001/p2p/{me}"
    met = f"/ip4/192.0.2.2/tcp/4001/p2p/{Identity(b'p' * 32).peer}"
    save(Path(settings.store), [own, "/ip4/0.0.0.0/tcp/1", met])
    assert first_calls(settings, me, random.Random(1)) == (OTHER, met)
    assert first_calls(settings, None, random.Random(1)) == (OTHER, own, met)
    book_of(Path(settings.store)).write_text(f"{met}\nrubbish\n")
    with pytest.raises(AddressError, match="line 2"):
        first_calls(settings, me, random.Random(1))


def test_a_list_that_was_flooded_from_one_network_gets_its_turns_and_no_more(tmp_path: Path) -> None:
    ids = [Identity(number.to_bytes(32, "big")).peer for number in range(200)]
    flood = [f"/ip4/198.51.{number % 200}.7/tcp/4001/p2p/{peer}" for number, peer in enumerate(ids[:150])]
    others = [f"/ip4/10.{number}.0.7/tcp/4001/p2p/{peer}" for number, peer in enumerate(ids[150:])]
    settings = Settings(store=str(tmp_path / "s.db"))
    save(tmp_path / "s.db", [*flood, *others])
    called = first_calls(settings, None, random.Random(1))
    assert len(called) == 64
    assert set(others) <= set(called)

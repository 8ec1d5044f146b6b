"""Peers and what is made of them: as the command says it, with their checks, bans and evidence."""

from pathlib import Path

import pytest

from node.mesh.books import read_ledger
from node.protocol.trust import TrustSettings
from node.standing import peer_rows
from node.store.board import Board
from node.store.board.peers import claims_of_genome, own_peer, passing, peer_detail, peer_lines
from node.store.records import Reader
from tests.dashboard.conftest import make_client
from tests.support.meshstore import PEERS, START

NOW = START + 86_400.0


def test_the_table_says_what_the_command_says(mesh_store: Path) -> None:
    with Reader(mesh_store) as reader:
        expected = peer_rows(read_ledger(reader, TrustSettings()), reader.signed(), NOW, mine=PEERS["me"])
    with Board(mesh_store) as board:
        lines = peer_lines(board, NOW)
        assert own_peer(board) == PEERS["me"]
    assert [line.row for line in lines] == expected
    standing = {
        name: next(line.row.standing for line in lines if line.row.peer == peer)
        for name, peer in PEERS.items()
    }
    assert standing == {
        "me": "self",
        "trusted": "trusted",
        "newcomer": "known",
        "liar": "banned",
        "watched": "quarantined",
        "hostile": "known",
    }


def test_a_peer_is_believed_as_its_checks_went(mesh_store: Path) -> None:
    with Board(mesh_store) as board:
        by = {line.row.peer: line for line in peer_lines(board, NOW)}
    trusted, liar, new = by[PEERS["trusted"]], by[PEERS["liar"]], by[PEERS["newcomer"]]
    assert liar.believed < new.believed == 0.5 < trusted.believed < 1.0
    assert (new.passing.share, new.passing.low, new.passing.high) == (None, 0.0, 1.0)
    assert (liar.row.refused, liar.reason != "", trusted.accusations, new.attestations) == (3, True, 1, 8)
    assert trusted.first_seen is not None and START < trusted.first_seen < trusted.last_seen < NOW  # type: ignore[operator]


@pytest.mark.parametrize(("passed", "failed"), [(1.0, 0.0), (0.0, 5.0), (8.0, 2.0), (0.3, 0.1)])
def test_wilsons_interval_holds_the_share_and_solves_its_equation(passed: float, failed: float) -> None:
    found = passing(passed, failed)
    n = passed + failed
    assert found.share is not None
    assert 0.0 <= found.low <= found.share <= found.high <= 1.0
    # Its ends are the shares from which the one found lies 1.96 standard errors away.
    for end in (found.low, found.high):
        if 0.0 < end < 1.0:
            assert abs(found.share - end) == pytest.approx(1.959964 * (end * (1 - end) / n) ** 0.5, rel=1e-6)


def test_a_banned_peer_is_shown_with_the_evidence(mesh_store: Path) -> None:
    with Board(mesh_store) as board:
        found = peer_detail(board, PEERS["liar"], NOW)
    (ban,) = found.bans
    (item,) = ban.evidence
    claim = next(claim for claim in found.claims if claim.id == item.claim)
    assert (ban.active, ban.manual, item.stage, item.item) == (True, False, "2a", "3")
    assert (claim.standing, [finding.passed for finding in claim.findings]) == ("refused", [True, False])
    assert [(check.kind, check.peer) for check in claim.checks] == [("accusation", PEERS["trusted"])]
    assert claim.false is not None and claim.false > 0.5


def test_a_watched_peer_is_shown_with_its_residuals(mesh_store: Path) -> None:
    with Board(mesh_store) as board:
        found = peer_detail(board, PEERS["watched"], NOW)
    ((n, mean),) = found.residuals.values()
    assert (found.quarantined, found.bans, n) == (True, (), 8)
    assert mean == pytest.approx(1.5)


def test_claims_stand_on_the_page_of_their_genome(mesh_store: Path) -> None:
    with Board(mesh_store) as board:
        claim = peer_detail(board, PEERS["trusted"], NOW).claims[0]
        (found,) = claims_of_genome(board, claim.genome, NOW)
        assert found == claim
        assert claims_of_genome(board, "0" * 64, NOW) == []
    assert (claim.standing, claim.checks[0].kind, claim.checks[0].objectives) == (
        "confirmed",
        "attestation",
        {"accuracy": 0.71},
    )


def test_what_peers_wrote_is_cleaned_before_it_leaves(mesh_store: Path) -> None:
    with make_client(mesh_store) as client:
        answer = client.get(f"/api/peer/{PEERS['hostile']}")
        told = answer.json()["peer"]
        pages = [client.get(path).text for path in ("/peers", f"/peer/{PEERS['hostile']}")]
    assert {claim["device"] for claim in told["claims"]} == {"<img src=x onerror=alert(1)>gnp.exe"}
    assert "\\u202e" not in answer.text and "\u202e" not in answer.text
    assert all("<img" not in page for page in pages)


@pytest.mark.parametrize("peer", ["nobody", "<img>", "12D3KooW" + "1" * 200, "12D3KooWnot/../there"])
def test_a_peer_that_is_not_known_is_not_found(mesh_store: Path, peer: str) -> None:
    with make_client(mesh_store) as client:
        assert client.get(f"/api/peer/{peer}").status_code == 404


def test_a_store_without_peers_has_an_empty_table(searched: Path) -> None:
    with make_client(searched) as client:
        assert client.get("/api/peers").json()["peers"] == []
        assert client.get("/peers").status_code == 200

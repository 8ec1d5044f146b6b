"""Committees: the same everywhere, stable, fair, and deaf to lazy attesters."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from node.protocol.trust import commitment, committee, committee_size, log_odds, opens, ranking
from node.protocol.trust.parameters import COMMITTEE_MAX, COMMITTEE_MIN

PEERS = [f"peer{n}" for n in range(50)]
names = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=20, unique=True)


@given(names, st.text(max_size=20))
def test_order_of_the_peers_does_not_matter(peers: list[str], claim: str) -> None:
    assert ranking(claim, peers) == ranking(claim, list(reversed(peers)))


@given(names, st.text(max_size=20))
def test_who_leaves_moves_nobody_else(peers: list[str], claim: str) -> None:
    full = ranking(claim, peers)
    assert ranking(claim, peers[1:]) == [peer for peer in full if peer != peers[0]]


def test_the_claimant_never_sits() -> None:
    for n in range(100):
        chosen = committee(f"claim{n}", PEERS, 5, claimant="peer7")
        assert "peer7" not in chosen
        assert len(set(chosen)) == 5


def test_fair() -> None:
    seats = Counter(peer for n in range(2000) for peer in committee(f"claim{n}", PEERS, 5, claimant=""))
    assert min(seats.values()) > 140
    assert max(seats.values()) < 260


def test_golden() -> None:
    """For ever: nodes of different versions must draw the same committee."""
    assert committee("claim", [f"peer{n}" for n in range(8)], 3, claimant="peer0") == GOLDEN


GOLDEN = ("peer4", "peer6", "peer7")


class Revealed:
    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self, claim: str) -> bytes:
        return self._value


class Paid:
    def accepts(self, peer: str) -> bool:
        return peer.endswith("1")


def test_seams() -> None:
    before = ranking("claim", PEERS)
    assert ranking("claim", PEERS, beacon=Revealed(b"x")) != before
    assert ranking("claim", PEERS, beacon=Revealed(b"")) == before
    assert set(ranking("claim", PEERS, stamps=Paid())) == {"peer1", "peer11", "peer21", "peer31", "peer41"}


def test_size_follows_what_admission_lacks_and_the_surprise() -> None:
    assert committee_size(log_odds(0, 0)) == 5
    assert committee_size(log_odds(100, 0)) == COMMITTEE_MIN
    assert committee_size(log_odds(0, 0), pi=10.0) == COMMITTEE_MAX
    assert committee_size(log_odds(0, 50)) == COMMITTEE_MAX


def test_an_attestation_cannot_be_copied_or_made_without_the_work() -> None:
    mine = commitment("claim", "me", b"end", b"nonce")
    assert opens(mine, "claim", "me", b"end", b"nonce")
    assert not opens(mine, "claim", "other", b"end", b"nonce")
    assert not opens(mine, "claim2", "me", b"end", b"nonce")
    assert not opens(mine, "claim", "me", b"leaf", b"nonce")
    assert not opens(mine, "claim", "me", b"en", b"dnonce")

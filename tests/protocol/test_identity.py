"""Keys, ids and signatures, against published vectors."""

import pytest

from node.protocol.errors import ProtocolError
from node.protocol.identity import Identity, key_of, peer_id, signed_by
from tests.protocol.samples import ALICE, BOB

# libp2p's specification of peer ids (peer-ids.md, test vectors): this Ed25519 public key, and its id.
PUBLISHED_KEY = bytes.fromhex("1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e")
PUBLISHED_PRIVATE = "7e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"


def test_a_published_seed_gives_its_published_key() -> None:
    assert Identity(bytes.fromhex(PUBLISHED_PRIVATE)).key == PUBLISHED_KEY


def test_ids_are_those_of_libp2p() -> None:
    # Made by py-libp2p 0.8.1 of 32 zero bytes as a seed.
    assert Identity(bytes(32)).peer == "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


def test_ids_are_those_that_the_library_computes() -> None:
    ed25519 = pytest.importorskip("libp2p.crypto.ed25519", reason="libp2p (extra `mesh`) is not installed")
    ids = pytest.importorskip("libp2p.peer.id")
    for number in range(40):
        seed = bytes([number]) * 32
        key = ed25519.create_new_key_pair(seed).public_key
        assert Identity(seed).peer == ids.ID.from_pubkey(key).to_base58()


def test_an_id_holds_its_key() -> None:
    assert key_of(ALICE.peer) == ALICE.key
    assert peer_id(key_of(BOB.peer)) == BOB.peer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "12D3",
        ALICE.peer[:-1],
        ALICE.peer + "1",
        "1" + ALICE.peer,
        ALICE.peer.replace("K", "0"),
        "1" * 5000,
    ],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="a peer id expects"):
        key_of(text)


def test_a_signature_is_good_for_one_key_one_purpose_and_one_body() -> None:
    signature = ALICE.sign("claim/1", b"body")
    assert signed_by(ALICE.key, "claim/1", b"body", signature)
    assert not signed_by(BOB.key, "claim/1", b"body", signature)
    assert not signed_by(ALICE.key, "claim/2", b"body", signature)
    assert not signed_by(ALICE.key, "claim/1", b"bodY", signature)
    assert not signed_by(ALICE.key, "claim/1", b"body", signature[:-1])
    assert not signed_by(ALICE.key[:-1], "claim/1", b"body", signature)
    assert not signed_by(bytes(32), "claim/1", b"body", signature)


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)])
def test_a_seed_of_another_length_is_refused(seed: bytes) -> None:
    with pytest.raises(ProtocolError, match="32 bytes"):
        Identity(seed)

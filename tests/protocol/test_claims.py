"""Signed records: one encoding, one signer, bounds on everything, and nothing that a claimant may choose."""

import json
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.protocol.claims import LONGEST_S, Body, Claim, Leaf, Signed, claim_seed, open_signed, sign
from node.protocol.errors import ProtocolError
from node.protocol.wire import RECORD_BYTES, decode, encode
from tests.protocol.samples import ALICE, ATTESTATION, BOB, BODIES, CLAIM, HEAD, NOW

GOLDEN = Path(__file__).parent / "golden_records.json"
SIGNERS = {ALICE.key: ALICE, BOB.key: BOB}


def signed(body: Body) -> Signed:
    return sign(SIGNERS[body.peer], body)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_a_record_comes_back_as_it_was_signed(body: Body) -> None:
    assert open_signed(signed(body), now=NOW) == body


def test_golden_bytes_never_change() -> None:
    """Peers of other versions must find the same ids and signatures."""
    found = {
        type(body).__name__: {
            "body": signed(body).body.hex(),
            "signature": signed(body).signature.hex(),
            "id": signed(body).id.hex(),
        }
        for body in BODIES
    }
    assert json.loads(GOLDEN.read_text()) == found


def test_a_record_is_refused_once_a_bit_of_it_changes() -> None:
    record, draw = signed(CLAIM), random.Random(0)
    for _ in range(300):
        bit = draw.randrange(8 * len(record.body))
        bent = bytearray(record.body)
        bent[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError):
            open_signed(msgspec.structs.replace(record, body=bytes(bent)), now=NOW)
    with pytest.raises(ProtocolError, match="not signed by the peer"):
        open_signed(msgspec.structs.replace(record, signature=bytes(64)), now=NOW)


def test_a_record_of_another_peer_cannot_be_signed_or_passed_off() -> None:
    with pytest.raises(ProtocolError, match="own key"):
        sign(BOB, CLAIM)
    stolen = encode(msgspec.structs.replace(CLAIM, peer=BOB.key))
    with pytest.raises(ProtocolError, match="not signed"):
        open_signed(Signed(body=stolen, signature=signed(CLAIM).signature), now=NOW)


def test_one_kind_is_not_taken_for_another() -> None:
    body = encode(HEAD)
    forged = Signed(body=body, signature=ALICE.sign("claim/1", body))
    with pytest.raises(ProtocolError, match="not signed"):
        open_signed(forged, now=NOW)


@pytest.mark.parametrize(
    ("now", "said"), [(NOW - 400, "holds from"), (NOW + 4000, "held until")], ids=["early", "late"]
)
def test_a_record_holds_for_its_time(now: float, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        open_signed(signed(CLAIM), now=now)
    assert open_signed(signed(CLAIM), now=NOW - 300) == CLAIM  # clocks differ


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"correct": 361}, "at most 360"),
        ({"objectives": {"accuracy": 0.76, "memory": 1.0}}, "270 of 360"),
        ({"epoch": CLAIM.epoch + 1}, "belongs to epoch"),
        ({"expiry": CLAIM.not_before + LONGEST_S + 1}, "may hold for"),
        ({"weights": None}, "or none of the three"),
        ({"weights_bytes": 0}, "or none of the three"),
        ({"predictions": None}, "or none of the three"),
        ({"expiry": CLAIM.not_before}, "expiry after"),
    ],
)
def test_a_claim_that_contradicts_itself_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        open_signed(signed(msgspec.structs.replace(CLAIM, **changes)), now=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"genome": b"short"},
        {"sequence": -1},
        {"sequence": 2**60},
        {"objectives": {}},
        {"objectives": {f"o{i}": 0.0 for i in range(17)}},
        {"objectives": {"accuracy": float("nan")}},
        {"objectives": {"accuracy": float("inf")}},
        {"macs": float("inf")},
        {"tier": ""},
        {"tier": "x" * 129},
        {"checkpoint_count": 0},
        {"checkpoint_count": 1025},
        {"expiry": 2**41},
        {"version": 2},
    ],
    ids=str,
)
def test_a_field_out_of_its_bounds_is_refused(changes: dict[str, object]) -> None:
    body = encode(msgspec.structs.replace(CLAIM, **changes))
    with pytest.raises(ProtocolError):
        open_signed(Signed(body=body, signature=ALICE.sign("claim/1", body)), now=NOW)


def test_an_unknown_field_is_refused() -> None:
    body = msgspec.msgpack.encode(
        {**msgspec.to_builtins(CLAIM, builtin_types=(bytes,)), "extra": 1}, order="sorted"
    )
    with pytest.raises(ProtocolError, match="extra"):
        open_signed(Signed(body=body, signature=ALICE.sign("claim/1", body)), now=NOW)


def test_another_encoding_of_the_same_is_refused() -> None:
    fields = msgspec.msgpack.decode(encode(HEAD))
    turned = msgspec.msgpack.encode(dict(reversed(fields.items())))
    assert msgspec.msgpack.decode(turned) == fields
    with pytest.raises(ProtocolError, match="one canonical encoding"):
        open_signed(Signed(body=turned, signature=ALICE.sign("head/1", turned)), now=NOW)


def test_a_record_over_its_size_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ProtocolError, match="at most 8192 bytes, got 9000"):
        decode(b"\xc1" * 9000, Claim)


@settings(max_examples=300)
@given(st.binary(max_size=2000))
def test_whatever_strangers_send_is_refused_in_words(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        open_signed(Signed(body=body, signature=bytes(64)), now=NOW)


def test_nesting_does_not_exhaust_the_stack() -> None:
    with pytest.raises(ProtocolError):
        open_signed(Signed(body=b"\x91" * RECORD_BYTES, signature=bytes(64)), now=NOW)


def test_the_seed_follows_from_genome_peer_task_and_epoch() -> None:
    base = (b"g" * 32, ALICE.key, b"t" * 32, 2)
    seed = claim_seed(*base)
    assert 0 <= seed < 2**63
    assert seed == claim_seed(*base) == 1934557509559011190
    others = {
        claim_seed(b"h" * 32, *base[1:]),
        claim_seed(base[0], BOB.key, *base[2:]),
        claim_seed(*base[:2], b"u" * 32, 2),
        claim_seed(*base[:3], 3),
    }
    assert len(others | {seed}) == 5


def test_the_largest_record_fits() -> None:
    full = msgspec.structs.replace(
        ATTESTATION,
        leaves=tuple(
            Leaf(segment=i, end=bytes(32), path=(bytes(32),) * 10, receipt=bytes(64)) for i in range(8)
        ),
        objectives={f"{i:0128d}": 0.1 for i in range(16)},
    )
    assert len(signed(full).body) <= RECORD_BYTES
    heads = msgspec.structs.replace(HEAD, claims=tuple(bytes([i]) * 32 for i in range(64)))
    assert len(signed(heads).body) <= RECORD_BYTES


def test_ids_of_records_do_not_depend_on_the_signature() -> None:
    record = signed(CLAIM)
    assert record.id == msgspec.structs.replace(record, signature=bytes(64)).id
    assert record.id != signed(HEAD).id

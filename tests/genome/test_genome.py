import enum
import hashlib
import json
import math
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genome import Genome, GenomeError
from genome.genome import MOST_BYTES, MOST_GENES
from tests.genome.drawing import names, plain_values, raw_genomes


@given(raw_genomes)
def test_decode_undoes_canonical(genome: Genome) -> None:
    again = Genome.decode(genome.canonical())
    assert again == genome
    assert again.values == genome.values
    assert [type(value) for _, value in again.values] == [type(value) for _, value in genome.values]
    assert again.id == genome.id == hashlib.sha256(genome.canonical()).hexdigest()


@given(raw_genomes)
def test_from_json_undoes_as_json_through_text(genome: Genome) -> None:
    assert Genome.from_json(json.loads(json.dumps(genome.as_json()))) == genome


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x94")
@example(b"\xc1")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xdb\xff\xff\xff\xff")
@example(b"\xd6\xff\x00\x00\x00\x00")
@example(b"\x91" * 200)
@example(b"\x81" * 200)
def test_any_bytes_decode_or_raise_genome_error(data: bytes) -> None:
    try:
        genome = Genome.decode(data)
    except GenomeError:
        return
    assert genome.canonical() == data


documents = st.recursive(
    st.one_of(st.none(), st.booleans(), plain_values, st.floats(), st.binary(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(names, st.integers(0, 9)), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.one_of(documents, st.tuples(st.just("eqmesh.genome"), st.just(1), documents, documents).map(list)))
def test_any_document_decodes_or_raises_genome_error(document: object) -> None:
    try:
        data = msgpack.packb(document)
    except OverflowError:
        return
    try:
        genome = Genome.decode(data)
    except GenomeError:
        return
    assert genome.canonical() == data


@given(raw_genomes, st.data())
def test_a_changed_byte_never_decodes_to_the_same_genome(genome: Genome, data: st.DataObject) -> None:
    canonical = bytearray(genome.canonical())
    where = data.draw(st.integers(0, len(canonical) - 1))
    canonical[where] ^= data.draw(st.integers(1, 255))
    try:
        other = Genome.decode(bytes(canonical))
    except GenomeError:
        return
    assert other != genome
    assert other.id != genome.id


@pytest.mark.parametrize(
    "document",
    [
        ["eqmesh.genome", 2, "toy/1", {}],
        ["eqmesh.genome", True, "toy/1", {}],
        ["other", 1, "toy/1", {}],
        ["eqmesh.genome", 1, "toy/1"],
        ["eqmesh.genome", 1, "toy/1", {}, 0],
        ["eqmesh.genome", 1, "toy/1", []],
        ["eqmesh.genome", 1, "toy", {}],
        ["eqmesh.genome", 1, "toy/0", {}],
        ["eqmesh.genome", 1, "toy/1\n", {}],
        ["eqmesh.genome", 1, None, {}],
        ["eqmesh.genome", 1, "toy/1", {"a": None}],
        ["eqmesh.genome", 1, "toy/1", {"a": True}],
        ["eqmesh.genome", 1, "toy/1", {"a": math.nan}],
        ["eqmesh.genome", 1, "toy/1", {"a": math.inf}],
        ["eqmesh.genome", 1, "toy/1", {"a": -0.0}],
        ["eqmesh.genome", 1, "toy/1", {"a": 2**63}],
        ["eqmesh.genome", 1, "toy/1", {"a": [1]}],
        ["eqmesh.genome", 1, "toy/1", {"a": b"x"}],
        ["eqmesh.genome", 1, "toy/1", {"a": "x" * 65}],
        ["eqmesh.genome", 1, "toy/1", {"a": "\u00e9"}],
        ["eqmesh.genome", 1, "toy/1", {"a": "\x07"}],
        ["eqmesh.genome", 1, "toy/1", {"": 1}],
        ["eqmesh.genome", 1, "toy/1", {"1a": 1}],
        ["eqmesh.genome", 1, "toy/1", {"a\n": 1}],
        ["eqmesh.genome", 1, "toy/1", {7: 1}],
        ["eqmesh.genome", 1, "toy/1", {"b": 1, "a": 1}],
        {"eqmesh.genome": 1},
        None,
    ],
)
def test_other_documents_are_refused(document: object) -> None:
    with pytest.raises(GenomeError, match="expects"):
        Genome.decode(msgpack.packb(document))


def test_a_newer_format_is_named_as_such() -> None:
    with pytest.raises(GenomeError, match="may come from a newer eqmesh"):
        Genome.decode(msgpack.packb(["eqmesh.genome", 2, "toy/1", {}]))


def test_keys_that_python_could_not_hash_are_refused() -> None:
    head = msgpack.packb(["eqmesh.genome", 1, "toy/1", {}])[:-1]
    for key in (b"\x90", b"\x80", b"\x91\x90"):
        with pytest.raises(GenomeError, match="bounded MessagePack"):
            Genome.decode(head + b"\x81" + key + b"\x01")


def test_other_encodings_of_a_genome_are_refused() -> None:
    genome = Genome("toy/1", {"a": 1, "b": 0.5})
    canonical = genome.canonical()
    assert Genome.decode(canonical) == genome
    # The integer 1 in two bytes, the float in four, a key twice, and something after the end.
    wide = canonical.replace(b"\xa1a\x01", b"\xa1a\xcc\x01")
    single = msgpack.packb(["eqmesh.genome", 1, "toy/1", {"a": 1, "b": 0.5}], use_single_float=True)
    twice = canonical.replace(b"\x82\xa1a\x01", b"\x83\xa1a\x01\xa1a\x01")
    for data in (wide, single, twice, canonical + b"\x00"):
        assert data != canonical
        with pytest.raises(GenomeError):
            Genome.decode(data)


def test_sizes_are_bounded() -> None:
    with pytest.raises(GenomeError, match=f"at most {MOST_BYTES} bytes, got {MOST_BYTES + 1} bytes"):
        Genome.decode(b"\x00" * (MOST_BYTES + 1))
    with pytest.raises(GenomeError, match="got a value of type bytearray"):
        Genome.decode(bytearray(b"\x00"))  # type: ignore[arg-type]
    with pytest.raises(GenomeError, match=f"at most {MOST_GENES} genes, got {MOST_GENES + 1}"):
        Genome("toy/1", {f"g{number}": 0 for number in range(MOST_GENES + 1)})
    assert len(Genome("toy/1", {f"g{number}": 0 for number in range(MOST_GENES)}).values) == MOST_GENES
    with pytest.raises(GenomeError, match="canonical bytes"):
        Genome("toy/1", {f"g{number}": "x" * 60 for number in range(MOST_GENES)})


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        True,
        None,
        2**63,
        -(2**63) - 1,
        2**1_000_000,
        "x" * 65,
        "é",
        b"x",
        [1],
        1j,
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_without_canonical_bytes_are_refused(value: Any) -> None:
    with pytest.raises(GenomeError, match="gene 'a' expects a 64-bit integer") as refusal:
        Genome("toy/1", {"a": value})
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("name", ["", "1", "a b", "é", "a\n", "x" * 65, 7, None])
def test_names_that_are_no_names_are_refused(name: Any) -> None:
    with pytest.raises(GenomeError, match="expects different gene names"):
        Genome("toy/1", {name: 1})


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(GenomeError, match="'a' twice"):
        Genome("toy/1", [("a", 1), ("a", 1)])


def test_the_order_given_does_not_matter_and_types_do() -> None:
    assert Genome("toy/1", {"b": 1, "a": 2}) == Genome("toy/1", [("a", 2), ("b", 1)])
    assert Genome("toy/1", {"a": 1}) != Genome("toy/1", {"a": 1.0})
    assert Genome("toy/1", {"a": 1}).id != Genome("toy/1", {"a": 1.0}).id
    assert Genome("toy/1", {"a": 1}) != Genome("toy/2", {"a": 1})
    assert Genome("toy/1", {"a": -0.0}).id == Genome("toy/1", {"a": 0.0}).id
    assert Genome("toy/1", {}) != "toy/1"
    assert len({Genome("toy/1", {"a": 1}), Genome("toy/1", {"a": 1})}) == 1


def test_subclasses_of_plain_types_become_plain() -> None:
    class Word(str, enum.Enum):  # noqa: UP042 - the older spelling, whose str() is not its value
        ADAM = "adam"

    class Number(enum.IntEnum):
        TWO = 2

    genome = Genome("toy/1", {"a": Word.ADAM, "b": Number.TWO, "c": np.float64(0.5)})
    assert [(value, type(value)) for _, value in genome.values] == [("adam", str), (2, int), (0.5, float)]


def test_a_genome_never_changes() -> None:
    genome = Genome("toy/1", {"a": 1})
    for name in ("space", "values", "id", "new"):
        with pytest.raises(GenomeError, match="never changes"):
            setattr(genome, name, 1)
    assert genome["a"] == 1
    assert genome.get("a") == 1
    assert genome.get("b") is None
    assert "a" in genome
    assert "b" not in genome
    assert eval(repr(genome)) == genome  # noqa: S307 - our own text


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"space": "toy/1"},
        {"space": "toy/1", "genes": []},
        {"space": "toy/1", "genes": {}, "id": "x"},
        {"space": 1, "genes": {}},
        {"space": "toy/1", "genes": {"a": None}},
        {str(number): 0 for number in range(100)},
    ],
)
def test_other_json_is_refused(document: object) -> None:
    with pytest.raises(GenomeError, match="expects"):
        Genome.from_json(document)

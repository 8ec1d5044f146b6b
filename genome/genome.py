"""The genome: values only, with canonical bytes and the id that is their hash. Pure."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Self

import msgpack

from genome.conditions import Value
from genome.errors import GenomeError
from genome.genes import NAME
from genome.quoting import show

__all__ = ["MOST_BYTES", "MOST_GENES", "Genome"]

TAG = "eqmesh.genome"
FORMAT = 1
MOST_GENES = 256
MOST_BYTES = 8 * 1024
MOST_CHARACTERS = 64

_SPACE = re.compile(r"[a-z][a-z0-9_.-]{0,63}/[1-9][0-9]{0,3}")
_LEAST, _GREATEST = -(2**63), 2**63 - 1


class Genome:
    """Values of the expressed genes of one space, immutable; equal values of equal types have equal ids.

    `space` is the space's id ('mlp/1'); `values` a mapping or pairs, kept as pairs sorted by name. Says nothing
    about whether the space would accept them: that is SearchSpace.check. Raises GenomeError for names,
    types or sizes that have no canonical bytes (NaN, infinity, True, integers beyond 64 bits).
    """

    space: str
    values: tuple[tuple[str, Value], ...]

    def __init__(self, space: str, values: Mapping[str, object] | Iterable[tuple[str, object]]) -> None:
        if not isinstance(space, str) or not _SPACE.fullmatch(space):
            raise GenomeError(
                f"a genome expects a space like 'mlp/1', got {show(space)}. Pass SearchSpace.id."
            )
        pairs = list(values.items() if isinstance(values, Mapping) else values)
        if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
            raise GenomeError("a genome expects pairs of a gene's name and its value, got something else.")
        if len(pairs) > MOST_GENES:
            raise GenomeError(f"a genome expects at most {MOST_GENES} genes, got {len(pairs)}.")
        kept: dict[str, Value] = {}
        for name, value in pairs:
            known = isinstance(name, str) and name in kept
            if not isinstance(name, str) or not NAME.fullmatch(name) or known:
                raise GenomeError(
                    "a genome expects different gene names (a letter, then up to 63 letters, digits, '_', '.' or "
                    f"'-'), got {show(name)}{' twice' if known else ''}."
                )
            kept[name] = _plain(name, value)
        object.__setattr__(self, "space", space)
        object.__setattr__(self, "values", tuple(sorted(kept.items())))
        if len(self._bytes) > MOST_BYTES:
            raise GenomeError(
                f"a genome expects at most {MOST_BYTES} canonical bytes, got {len(self._bytes)}. Shorten names, "
                "options or the list of genes."
            )

    def __setattr__(self, name: str, value: object) -> None:
        raise GenomeError(f"a genome never changes, so {name!r} cannot be set. Build another one.")

    def __eq__(self, other: object) -> bool:
        # Not by value: 1 == 1.0 in Python, but their bytes and ids differ.
        return self._bytes == other._bytes if isinstance(other, Genome) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __repr__(self) -> str:
        return f"Genome({self.space!r}, {dict(self.values)!r})"

    def __getitem__(self, name: str) -> Value:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def get(self, name: str) -> Value | None:
        """The value of an expressed gene, or None for one that is not expressed."""
        return self._by_name.get(name)

    @cached_property
    def id(self) -> str:
        """SHA-256 of the canonical bytes, 64 hexadecimal digits."""
        return hashlib.sha256(self._bytes).hexdigest()

    def canonical(self) -> bytes:
        """MessagePack of [tag, format, space, {name: value}], names sorted, floats as float64."""
        return self._bytes

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The genome of these bytes; GenomeError for any bytes that no genome's `canonical()` gives."""
        if not isinstance(data, bytes) or len(data) > MOST_BYTES:
            what = f"{len(data)} bytes" if isinstance(data, bytes) else show(data)
            raise GenomeError(f"an encoded genome expects at most {MOST_BYTES} bytes, got {what}.")
        try:
            plain = msgpack.unpackb(
                data,
                strict_map_key=True,
                max_str_len=2 * MOST_CHARACTERS,
                max_bin_len=0,
                max_ext_len=0,
                max_array_len=4,
                max_map_len=MOST_GENES,
            )
        except (ValueError, msgpack.exceptions.UnpackException) as error:
            raise GenomeError(
                f"an encoded genome expects bounded MessagePack, got other bytes: {error}"
            ) from None
        if (
            not isinstance(plain, list)
            or len(plain) != 4
            or plain[:2] != [TAG, FORMAT]
            or not isinstance(plain[3], dict)
        ):
            raise GenomeError(
                f"an encoded genome expects [{TAG!r}, {FORMAT}, space, values], got another document. It may come "
                "from a newer eqmesh: update, or ask for the genome again."
            )
        genome = cls(plain[2], plain[3])
        if genome._bytes != data:
            raise GenomeError(
                "an encoded genome expects its canonical bytes, got another encoding of the same values. Its id "
                "would differ: encode it again."
            )
        return genome

    def as_json(self) -> dict[str, object]:
        """A document for json.dumps: {'space': ..., 'genes': {name: value}}."""
        return {"space": self.space, "genes": dict(self.values)}

    @classmethod
    def from_json(cls, document: object) -> Self:
        """The genome of a document as `as_json` gives it; GenomeError for any other."""
        if not isinstance(document, dict) or set(document) != {"space", "genes"}:
            raise GenomeError(
                "a genome's JSON expects exactly the keys 'space' and 'genes', got "
                f"{show(document) if not isinstance(document, dict) else _keys(document)}."
            )
        genes = document["genes"]
        if not isinstance(genes, dict):
            raise GenomeError(f"'genes' expects an object of names and values, got {show(genes)}.")
        return cls(document["space"], genes)

    @cached_property
    def _by_name(self) -> dict[str, Value]:
        return dict(self.values)

    @cached_property
    def _bytes(self) -> bytes:
        return bytes(msgpack.packb([TAG, FORMAT, self.space, dict(self.values)], use_single_float=False))


def _plain(name: str, value: object) -> Value:
    if isinstance(value, bool):
        pass
    elif isinstance(value, int):
        if _LEAST <= value <= _GREATEST:
            return int(value)
    elif isinstance(value, float):
        if math.isfinite(value):
            # -0.0 == 0.0, so they must not have two ids.
            return float(value) + 0.0
    elif isinstance(value, str) and len(value) <= MOST_CHARACTERS and value.isascii() and value.isprintable():
        # ASCII only: which other characters are printable, or equal, changes between Unicode versions.
        return str.__str__(value)
    raise GenomeError(
        f"gene {name!r} expects a 64-bit integer, a finite float or at most {MOST_CHARACTERS} printable ASCII "
        "characters, "
        f"got {show(value)}."
    )


def _keys(document: Mapping[object, object]) -> str:
    names = [show(key) for key in list(document)[:4]]
    return f"{', '.join(names) or 'none'}{' and more' if len(document) > 4 else ''}"

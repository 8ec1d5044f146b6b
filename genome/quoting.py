"""Values as they stand in error messages: short whatever came, and a hint at the right name. Pure."""

import difflib
from collections.abc import Iterable

__all__ = ["hint", "show"]

_LONGEST = 40
# difflib is quadratic in the length: a longer word is no slip of the finger anyway.
_LONGEST_GUESS = 32


def show(value: object) -> str:
    """The value and its type in at most about 80 characters; never costs more than a microsecond or two."""
    kind = type(value).__name__
    if isinstance(value, int) and not isinstance(value, bool):
        bits = value.bit_length()
        # Above 4,300 digits Python refuses to print, and well before that nobody wants to read it.
        return f"{value}" if bits <= 64 else f"an integer of {bits} bits"
    if isinstance(value, float):
        return f"{value!r}"
    if isinstance(value, str):
        return repr(value) if len(value) <= _LONGEST else f"{value[:_LONGEST]!r}... ({len(value)} characters)"
    if value is None or isinstance(value, bool):
        return f"{value!r} ({kind})"
    return f"a value of type {kind}"


def hint(word: object, known: Iterable[str]) -> str:
    """`' Did you mean 'x'?'` where a known word is close, else an empty text."""
    if not isinstance(word, str) or len(word) > _LONGEST_GUESS:
        return ""
    close = difflib.get_close_matches(word, tuple(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""

"""Records as plain values for JSON, with the text of strangers made fit to be shown."""

from datetime import UTC, datetime

import msgspec

from dashboard.text import LIMIT, clean

__all__ = ["now_s", "plain"]

_EXACT = 2**53


def plain(value: object, *, limit: int = LIMIT) -> object:
    """`value` as dictionaries, lists, numbers and text; every text cleaned and cut to `limit` characters.

    Whole numbers that a browser would round become text: seeds have up to 64 bits.
    """
    return _cleaned(msgspec.to_builtins(value), limit)


def _cleaned(value: object, limit: int) -> object:
    match value:
        case str():
            # Nearly all text is this, and needs no look at each character.
            return (
                value
                if len(value) <= limit and value.isascii() and value.isprintable()
                else clean(value, limit)
            )
        case dict():
            return {str(_cleaned(key, limit)): _cleaned(each, limit) for key, each in value.items()}
        case list() | tuple():
            return [_cleaned(each, limit) for each in value]
        case int() if not -_EXACT <= value <= _EXACT:
            return str(value)
        case _:
            return value


def now_s() -> float:
    """Seconds since the epoch."""
    return datetime.now(UTC).timestamp()

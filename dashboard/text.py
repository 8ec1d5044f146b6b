"""Text of strangers made fit to be shown: nothing that hides or turns other text round, and a bounded length. Pure."""

import unicodedata

__all__ = ["LIMIT", "clean"]

LIMIT = 200
"""Characters of a text where nothing else is said."""

# Control, format (direction marks and zero-width ones among them), surrogate, private; line and paragraph ends.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS = frozenset({"Mn", "Me"})
_MOST_MARKS = 3


def clean(text: object, limit: int = LIMIT) -> str:
    """`text` as one line without what cannot be seen or turns other text round, cut to `limit` characters.

    Marks over a letter are kept up to three, so that no text grows over its neighbours. What was cut ends in "…".
    """
    kept: list[str] = []
    marks = 0
    # Whoever sends megabytes does not get them walked through.
    for character in str(text)[: 4 * limit + 64]:
        kind = unicodedata.category(character)
        if character in "\t\n\r" or kind == "Zs":
            character, kind = " ", "Zs"
        marks = marks + 1 if kind in _MARKS else 0
        if kind not in _HIDDEN and marks <= _MOST_MARKS:
            kept.append(character)
    line = " ".join("".join(kept).split())
    return line if len(line) <= limit else f"{line[: max(0, limit - 1)]}…"

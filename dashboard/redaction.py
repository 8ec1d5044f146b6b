"""Text made fit to leave the house: no peer ids, paths, addresses or host names. Pure."""

import re

from dashboard.text import clean

__all__ = ["REDACTED", "redacted"]

REDACTED = "[left out]"
"""What stands where something was taken out."""

_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"/(?:ip4|ip6|dns|dns4|dns6|dnsaddr|p2p|unix)/\S*",  # multiaddresses
        r"\b(?:12D3Koo|16Uiu2|Qm)[1-9A-HJ-NP-Za-km-z]{20,}",  # peer ids
        r"\b[a-z][a-z0-9+.-]{1,15}://\S+",  # addresses of the web and of files
        r"\b\S+@[\w-]+(?:\.[\w-]+)+",  # mail
        r"\b[a-z]:\\\S*|\\\\\S+",  # paths of Windows
        r"(?<![\w.])~?(?:\.{0,2}/[^\s/,;:'\"]+){2,}/?(?::[a-z_]\w*)?",  # paths of more than one part
        r"(?<![\w.])(?:~|\.{1,2})/\S*",
        r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b",  # IPv4
        r"(?<![\w:])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}(?![\w:])",  # IPv6
        r"\b(?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|io|dev|de|uk|eu|ch|fr|local|lan|internal|home|arpa)\b(?::\d+)?",
    )
)


def redacted(text: object, limit: int = 200) -> str:
    """`text` as one clean line in which what could name a person, a machine or a place on it is replaced."""
    line = clean(text, 4 * limit)
    for pattern in _PATTERNS:
        line = pattern.sub(REDACTED, line)
    return clean(line, limit)

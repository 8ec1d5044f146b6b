"""Addresses of peers as text: which ones there is any sense in calling, and whom they name. Pure."""

from multiaddr import Multiaddr  # type: ignore[import-untyped]  # it ships no types
from multiaddr.exceptions import Error as MultiaddrError  # type: ignore[import-untyped]

from node.protocol.errors import ProtocolError
from node.protocol.identity import key_of
from node.transports.base import TransportError

__all__ = ["dialable", "split"]


def dialable(text: str) -> bool:
    """Whether there is any sense in calling: TCP over IP or a host name, with a port, and not a wildcard."""
    parts = text.split("/")
    return (
        len(parts) >= 5
        and parts[1] in ("ip4", "ip6", "dns", "dns4", "dns6")
        and parts[2] not in ("0.0.0.0", "::")  # noqa: S104 - it is refused here
        and parts[3] == "tcp"
        and parts[4] not in ("", "0")
        and (len(parts) == 5 or (len(parts) == 7 and parts[5] == "p2p"))
    )


def split(address: str) -> tuple[str, str]:
    """A multiaddr that ends in /p2p/ID, without that end, and the ID. Raises TransportError for any other."""
    bare, _, peer = address.partition("/p2p/")
    why = "no address of TCP over IP"
    if dialable(bare):
        try:
            Multiaddr(bare)
            key_of(peer)
        except (ProtocolError, MultiaddrError, ValueError) as error:
            why = str(error)
        else:
            return bare, peer
    raise TransportError(
        "an address of a peer was expected, such as /ip4/192.0.2.1/tcp/4001/p2p/12D3Koo...,"
        f" got {address[:120]!r} ({why})"
    )

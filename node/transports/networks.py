"""Which network an address belongs to: whoever holds one network must not be all that a node is connected to. Pure."""

import ipaddress

__all__ = ["prefix_of"]


def prefix_of(address: str) -> str:
    """The network of a multiaddr: IPv4 by 16 bits, IPv6 by 32, a name by its last two labels, else the host itself."""
    _, kind, host, *_ = address.split("/")
    try:
        if kind == "ip4":
            return str(ipaddress.IPv4Network((host, 16), strict=False))
        if kind == "ip6":
            return str(ipaddress.IPv6Network((host, 32), strict=False))
    except ValueError:
        return host
    return ".".join(host.split(".")[-2:])

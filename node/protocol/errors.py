"""What strangers send that cannot be used. Pure."""

from node.errors import NodeError


class ProtocolError(NodeError):
    """A message, record or proof is malformed, too large, stale or wrongly signed."""

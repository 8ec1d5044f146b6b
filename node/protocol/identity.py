"""Who a peer is: an Ed25519 key, the peer id that libp2p derives from it, signatures bound to one purpose. Pure."""

import hashlib

from node.protocol.errors import ProtocolError

__all__ = ["KEY_BYTES", "SIGNATURE_BYTES", "Identity", "key_of", "peer_id", "signed_by"]

KEY_BYTES = 32
SIGNATURE_BYTES = 64

# libp2p's peer ids spec: an Ed25519 key is short enough to stand in its id, as an identity multihash (code 0, length
# 36) of the protobuf PublicKey message (type 1, data of 32 bytes).
_PREFIX = bytes((0x00, 0x24, 0x08, 0x01, 0x12, 0x20))
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LONGEST_ID = 64


class Identity:
    """A peer's private key, made of a seed of 32 bytes. Raises ProtocolError for a seed of another length."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise ProtocolError(f"an identity expects a seed of {KEY_BYTES} bytes, got {len(seed)}.")
        # Whoever only reads what others signed, as pages do, is spared 7 MB.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.seed = seed
        self.key = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.peer = peer_id(self.key)

    def sign(self, purpose: str, body: bytes) -> bytes:
        """A signature (64 bytes) of `body`, good for this purpose alone."""
        return self._private.sign(_statement(purpose, body))


def signed_by(key: bytes, purpose: str, body: bytes, signature: bytes) -> bool:
    """Whether the owner of the public `key` (32 bytes) signed `body` for this purpose."""
    if len(key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _statement(purpose, body))
    except (InvalidSignature, ValueError):
        return False
    return True


def peer_id(key: bytes) -> str:
    """The peer id of a public key of 32 bytes: base58 of its identity multihash."""
    if len(key) != KEY_BYTES:
        raise ProtocolError(f"a public key has {KEY_BYTES} bytes, got {len(key)}.")
    number, digits = int.from_bytes(_PREFIX + key, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return "1" + digits  # the multihash begins with one zero byte


def key_of(peer: str) -> bytes:
    """The public key (32 bytes) that a peer id holds. Raises ProtocolError for any other text."""
    number = 0
    if not peer.startswith("1") or len(peer) > _LONGEST_ID or any(digit not in _BASE58 for digit in peer):
        raise ProtocolError("a peer id expects base58 of an Ed25519 key ('12D3Koo...'), got something else.")
    for digit in peer:
        number = number * 58 + _BASE58.index(digit)
    try:
        body = number.to_bytes(len(_PREFIX) + KEY_BYTES, "big")
    except OverflowError:
        body = b""
    if not body.startswith(_PREFIX) or peer_id(body[len(_PREFIX) :]) != peer:
        raise ProtocolError("a peer id expects base58 of an Ed25519 key ('12D3Koo...'), got something else.")
    return body[len(_PREFIX) :]


def _statement(purpose: str, body: bytes) -> bytes:
    # The purpose has a fixed end, so that no purpose and body can be read as another pair.
    return b"eqmesh/" + purpose.encode() + b"\n" + hashlib.sha256(body).digest()

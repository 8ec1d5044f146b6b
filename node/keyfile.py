"""A node's private key on disk: made once, readable by its owner alone, kept through backups."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from node.errors import NodeError
from node.protocol.errors import ProtocolError
from node.protocol.identity import KEY_BYTES, Identity

__all__ = ["KeyFileError", "back_up", "load_identity", "load_or_make", "restore"]

_HEAD = "eqmesh identity, version 1: keep this file to yourself\n"
_MOST_BYTES = 4096


class KeyFileError(NodeError):
    """A key file is missing, open to others, or holds something else."""


def load_or_make(path: Path) -> Identity:
    """The identity at `path`, made anew where there is none. Raises KeyFileError."""
    with contextlib.suppress(FileExistsError):
        _write(path, secrets.token_bytes(KEY_BYTES))
    return load_identity(path)


def load_identity(path: Path) -> Identity:
    """The identity at `path`. Raises KeyFileError where it is missing, damaged, or others may read it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise KeyFileError(
            f"there is no identity at {path}. `eqmesh identity show` makes one, `restore` brings one back."
        ) from error
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        found = os.fstat(handle)
        body = os.read(handle, _MOST_BYTES) if stat.S_ISREG(found.st_mode) else b""
    finally:
        os.close(handle)
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileError(f"{path} must be a file, it is something else. Name another one.")
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise KeyFileError(
            f"{path} holds a private key and must be open to its owner alone, but its mode is "
            f"{stat.S_IMODE(found.st_mode):04o}. If nobody has read it: chmod 600 {path}"
        )
    try:
        head, digits = body.decode("ascii").split("\n", 1)
        ours = f"{head}\n" == _HEAD
        return Identity(bytes.fromhex(digits.strip()) if ours else b"")
    except (ValueError, ProtocolError) as error:
        raise KeyFileError(
            f"{path} must hold an identity as `eqmesh identity backup` writes it, it holds something else. Restore it "
            "from a backup, or move it away to get a new identity (trust that peers had in the old one is lost)."
        ) from error


def back_up(path: Path, copy: Path) -> Identity:
    """Write a copy of the identity at `path`; never over another file. Raises KeyFileError."""
    found = load_identity(path)
    _save(copy, found)
    return found


def restore(copy: Path, path: Path) -> Identity:
    """Bring an identity back from a copy; never over another one. Raises KeyFileError."""
    found = load_identity(copy)
    _save(path, found)
    return found


def _save(path: Path, identity: Identity) -> None:
    try:
        _write(path, identity.seed)
    except FileExistsError as error:
        raise KeyFileError(f"{path} is there already and is not overwritten. Move it away first.") from error


def _write(path: Path, seed: bytes) -> None:
    """Write a key file whole or not at all. Raises FileExistsError, KeyFileError."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{_HEAD}{seed.hex()}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}. Name another place.") from error
    try:
        os.link(partial, path)  # unlike a rename, fails where there is a file already
    finally:
        partial.unlink()

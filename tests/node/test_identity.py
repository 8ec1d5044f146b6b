"""A private key on disk: nobody else reads it, nothing overwrites it, and it comes back as it was."""

import os
import stat
from pathlib import Path

import pytest

from node.keyfile import KeyFileError, back_up, load_identity, load_or_make, restore


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_identity_is_made_once_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "state" / "identity.key"
    before = os.umask(0)
    try:
        found = load_or_make(path)
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert load_or_make(path).peer == load_identity(path).peer == found.peer
    assert [file.name for file in path.parent.iterdir()] == ["identity.key"]
    assert load_or_make(tmp_path / "other.key").peer != found.peer


def test_a_copy_brings_the_same_identity_back(tmp_path: Path) -> None:
    path, copy = tmp_path / "identity.key", tmp_path / "copy.key"
    found = load_or_make(path)
    assert back_up(path, copy).peer == found.peer
    assert mode(copy) == 0o600
    path.unlink()
    assert restore(copy, path).peer == load_identity(path).peer == found.peer


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path, other = tmp_path / "identity.key", tmp_path / "other.key"
    kept, found = load_or_make(path), load_or_make(other)
    for act in (lambda: restore(other, path), lambda: back_up(other, path)):
        with pytest.raises(KeyFileError, match="not overwritten"):
            act()
    assert load_identity(path).peer == kept.peer != found.peer


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "identity.key"
    load_or_make(path)
    path.chmod(bits)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_identity(path)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"something else\n00",
        b"eqmesh identity, version 1: keep this file to yourself\n00\n",
    ],
)
def test_a_damaged_key_is_refused_and_left_as_it_is(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(body)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="Restore it"):
        load_or_make(path)
    assert path.read_bytes() == body


def test_links_folders_and_missing_files_are_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "link.key").symlink_to(tmp_path / "identity.key")
    with pytest.raises(KeyFileError, match="there is no identity"):
        load_identity(tmp_path / "identity.key")
    with pytest.raises(KeyFileError, match="cannot be read"):
        load_identity(tmp_path / "link.key")
    with pytest.raises(KeyFileError, match="must be a file"):
        load_identity(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileError, match="cannot be written"):
        load_or_make(tmp_path / "file" / "identity.key")

import errno
import os
import tempfile
from pathlib import Path

import pytest

from evaluator.errors import DataError
from evaluator.tasks.data.folder import cache_folder, make_writable, offline, write_whole


def test_the_folder_is_the_argument_else_the_variable_else_the_users_cache(tmp_path, monkeypatch):
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.setenv("EQMESH_DATA_DIR", "~/somewhere")
    assert cache_folder() == Path.home() / "somewhere"
    monkeypatch.setenv("EQMESH_DATA_DIR", "relative")
    assert cache_folder() == Path.cwd() / "relative"
    monkeypatch.setenv("EQMESH_DATA_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "eqmesh" / "data"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", False), ("0", False), ("no", False), ("1", True), ("true", True), (" YES ", True)],
)
def test_the_offline_switch(monkeypatch, value, expected):
    monkeypatch.setenv("EQMESH_DATA_OFFLINE", value)
    assert offline() is expected


def test_an_odd_offline_switch_is_refused_not_guessed(monkeypatch):
    monkeypatch.setenv("EQMESH_DATA_OFFLINE", "offline")
    with pytest.raises(DataError, match="EQMESH_DATA_OFFLINE must be 1 or 0, got 'offline'"):
        offline()


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "alpha"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "alpha"
    write_whole(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_whole_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    replace = Path.replace

    def watch(self: Path, target: Path) -> Path:
        seen.append((self.read_bytes(), target.exists()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    write_whole(tmp_path / "alpha", b"content")
    assert seen == [(b"content", False)]


def test_parts_of_killed_processes_are_removed_after_a_day_and_others_kept(tmp_path):
    old, young, other = tmp_path / ".alpha.x.part", tmp_path / ".alpha.y.part", tmp_path / "notes.part"
    for path in (old, young, other):
        path.write_bytes(b"part")
    for path, age_s in ((old, 25 * 3600), (young, 3600), (other, 99 * 3600)):
        now = path.stat().st_mtime
        os.utime(path, (now - age_s, now - age_s))
    write_whole(tmp_path / "beta", b"beta")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".alpha.y.part", "beta", "notes.part"]


def test_a_file_in_the_folders_place_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        DataError, match=r"the data folder .*file/data must be writable, got: Not a directory. Set EQ"
    ):
        make_writable(tmp_path / "file" / "data")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, number):
    def refuse(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    for attempt in (lambda: make_writable(tmp_path), lambda: write_whole(tmp_path / "alpha", b"")):
        with pytest.raises(
            DataError, match=f"{tmp_path} must be writable, got: {os.strerror(number)}. Set EQMESH_DATA_DIR"
        ):
            attempt()

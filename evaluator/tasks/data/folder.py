"""The folder of fetched data: where it is, and writes that are whole or not there at all."""

import os
import tempfile
from pathlib import Path

from evaluator.errors import DataError

__all__ = ["UnwritableError", "cache_folder", "make_writable", "offline", "write_whole"]

FOLDER_VARIABLE = "EQMESH_DATA_DIR"
OFFLINE_VARIABLE = "EQMESH_DATA_OFFLINE"
ABANDONED_S = 24 * 3600


class UnwritableError(DataError):
    """The data folder cannot be written: no other source will help."""


def cache_folder(cache: Path | None = None) -> Path:
    """Give the folder of fetched data: `cache`, else EQMESH_DATA_DIR, else the user's cache folder."""
    if cache is not None:
        return cache
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named).expanduser().absolute()
    import platformdirs  # noqa: PLC0415 - a tenth of the time in which the command line has to start

    return platformdirs.user_cache_path("eqmesh") / "data"


def offline() -> bool:
    """Say whether EQMESH_DATA_OFFLINE forbids every network access; raises DataError for an odd value."""
    value = os.environ.get(OFFLINE_VARIABLE, "").strip().lower()
    if value in ("", "0", "false", "no"):
        return False
    if value in ("1", "true", "yes"):
        return True
    raise DataError(f"{OFFLINE_VARIABLE} must be 1 or 0, got {value!r}. Unset it to allow fetching.")


def make_writable(folder: Path) -> None:
    """Make the folder, and find out before a long download whether it can be written; raises DataError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable(folder, error) from error


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step: a reader, or a crash, sees the old file or the new, never a part.

    Two processes may write the same file at once: each writes its own and the last rename stands.
    Raises DataError where the folder cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            # mkstemp makes files that only their owner reads; a shared cache is for all to read.
            part.chmod(0o644)
            sweep(path.parent, part.stat().st_mtime)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unwritable(path.parent, error) from error


def sweep(folder: Path, now: float) -> None:
    """Remove parts that a killed process left behind; `now` is the file system's own time."""
    for part in folder.glob(".*.part"):
        try:
            if now - part.stat().st_mtime > ABANDONED_S:
                part.unlink(missing_ok=True)
        except FileNotFoundError:
            continue  # another process finished or swept it meanwhile


def unwritable(folder: Path, error: OSError) -> UnwritableError:
    """Say that the folder cannot be written and what to do."""
    return UnwritableError(
        f"the data folder {folder} must be writable, got: {error.strerror or error}. "
        f"Set {FOLDER_VARIABLE} to a folder that you may write, or free space there."
    )

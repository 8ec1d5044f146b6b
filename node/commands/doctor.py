"""`eqmesh doctor`: can this machine run eqmesh, and what is missing."""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import trio

from eqmesh import EqmeshError, __version__
from evaluator import calibration
from evaluator.pool import PoolSettings, open_pool
from evaluator.tasks.data import list_datasets
from node import output
from node.commands.options import Json
from node.settings import calibration_path, resolve

__all__ = ["doctor"]

_PACKAGES = ("kernels", "genome", "evaluator", "node", "bootstrap", "dashboard")
_LEAST_DISK_BYTES = 2**30


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at: what was found, and what to do where it is not well."""

    what: str
    state: Literal["ok", "note", "problem"]
    found: str


def doctor(*, json: Json = False) -> int:
    """Check interpreter, packages, workers, backends, data, disk and settings. Exit code 1 on a problem.

    Example: eqmesh doctor
    """
    findings = [finding for look in _LOOKS for finding in look()]
    if json:
        output.write_json([msgspec.to_builtins(finding) for finding in findings])
    else:
        output.write_table(["what", "state", "found"], [[f.what, f.state, f.found] for f in findings])
    return 1 if any(finding.state == "problem" for finding in findings) else 0


def _interpreter() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] <= (3, 12)
    yield Finding("python", "ok" if good else "problem", version if good else f"{version}; take 3.11 or 3.12")
    yield Finding("eqmesh", "ok", __version__)
    cores = len(os.sched_getaffinity(0))
    yield Finding("cores", "ok", f"{cores} for this process: as many workers by default")


def _packages() -> Iterator[Finding]:
    home = Path(__file__).resolve().parents[2]
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or Path(spec.origin).resolve().parents[1] != home:
            where = spec.origin if spec else "nowhere"
            yield Finding(
                f"package {name}",
                "problem",
                f"found {where}, expected it under {home}: install eqmesh in an environment of its own",
            )
            return
    yield Finding("packages", "ok", f"all six under {home}")
    for name in ("torch", "numpy", "pymoo", "deap", "trio"):
        yield Finding(name, "ok", importlib.metadata.version(name))


def _settings() -> Iterator[Finding]:
    try:
        resolve({}, folder=Path.cwd(), environ=os.environ)
    except EqmeshError as error:
        yield Finding("settings", "problem", str(error))
    else:
        yield Finding("settings", "ok", "`eqmesh config show` lists them")


def _workers() -> Iterator[Finding]:
    try:
        settings = resolve({}, folder=Path.cwd(), environ=os.environ).settings
    except EqmeshError:
        return  # told above

    async def start() -> dict[str, str]:
        pool_settings = PoolSettings(workers=1, memory_bytes=settings.worker_memory * 2**20, nice=0)
        async with open_pool(pool_settings) as pool:
            return await pool.backends()

    try:
        backends = trio.run(start)
    except EqmeshError as error:
        yield Finding("worker", "problem", str(error))
        return
    yield Finding("worker", "ok", f"starts within its {settings.worker_memory} MiB")
    for name, why in backends.items():
        yield Finding(f"backend {name}", "note" if why else "ok", why or "usable")


def _calibrations() -> Iterator[Finding]:
    path = calibration_path()
    for arithmetic in ("fp32", "bf16", "exact-1"):
        try:
            found = calibration.load(path, arithmetic)
        except EqmeshError as error:
            yield Finding("calibration", "problem", str(error))
            return
        said = f"stored, fit {found.error:.0%} off" if found else "not measured; the first search does it"
        yield Finding(f"calibration {arithmetic}", "ok" if found else "note", said)


def _data() -> Iterator[Finding]:
    for row in list_datasets():
        if row.verified:
            yield Finding(f"data {row.name}", "ok", f"whole ({row.found})")
            continue
        damaged = any(file.state == "corrupt" for file in row.files)
        said = "damaged" if damaged else "not here"
        yield Finding(f"data {row.name}", "note", f"{said}: `eqmesh data fetch {row.name}`")


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    said = f"{free / 2**30:.1f} GiB free here"
    few = free < _LEAST_DISK_BYTES
    yield Finding("disk", "problem" if few else "ok", f"{said}; a store needs room" if few else said)


def _mesh() -> Iterator[Finding]:
    if importlib.util.find_spec("libp2p") is not None:
        yield Finding("mesh", "ok", "libp2p is installed")
        return
    missing = [tool for tool in ("gcc",) if shutil.which(tool) is None]
    if not any(Path(folder, "gmp.h").exists() for folder in _INCLUDE):
        missing.append("libgmp-dev")
    need = f"; install {', '.join(missing)} first" if missing else ""
    yield Finding("mesh", "note", f"not installed (extra `mesh`); local search needs none{need}")


_INCLUDE = (
    "/usr/include",
    "/usr/include/x86_64-linux-gnu",
    "/usr/include/aarch64-linux-gnu",
    "/usr/local/include",
)
_LOOKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _interpreter,
    _packages,
    _settings,
    _workers,
    _calibrations,
    _data,
    _disk,
    _mesh,
)

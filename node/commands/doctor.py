"""`eqmesh doctor`: can this machine run eqmesh, and what is missing."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import socket
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
from node.commands.peers import when
from node.control import control_path, is_served
from node.errors import NodeError
from node.keyfile import load_identity
from node.settings import calibration_path, identity_path, resolve
from node.store.records import Reader

__all__ = ["bind_refusal", "doctor"]

_PACKAGES = ("kernels", "genome", "evaluator", "node", "bootstrap", "dashboard")
_MESH_PACKAGES = ("libp2p", "multiaddr", "zeroconf")
_LEAST_DISK_BYTES = 2**30
_ADDRESS = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/([^/]+)/tcp/(\d{1,5})")


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at: what was found, and what to do where it is not well."""

    what: str
    state: Literal["ok", "note", "problem"]
    found: str


def doctor(*, json: Json = False) -> int:
    """Check interpreter, packages, workers, backends, data, disk, settings and mesh. Exit code 1 on a problem.

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
    taken = next((name for name, why in backends.items() if not why), None)
    for name, why in backends.items():
        usable = "usable; `auto` takes it for fp32" if name == taken else "usable"
        yield Finding(f"backend {name}", "note" if why else "ok", why or usable)


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


def _identity() -> Iterator[Finding]:
    path = identity_path()
    if not path.exists():
        yield Finding(
            "identity", "note", f"none yet; `eqmesh identity show` or a node's first start makes {path}"
        )
        return
    try:
        yield Finding("identity", "ok", load_identity(path).peer)
    except EqmeshError as error:
        yield Finding("identity", "problem", str(error))


def _mesh() -> Iterator[Finding]:
    absent = [name for name in _MESH_PACKAGES if importlib.util.find_spec(name) is None]
    if not absent:
        yield Finding("mesh", "ok", f"libp2p {importlib.metadata.version('libp2p')} is installed")
        return
    missing = [tool for tool in ("gcc",) if shutil.which(tool) is None]
    if not any(Path(folder, "gmp.h").exists() for folder in _INCLUDE):
        missing.append("libgmp-dev")
    need = f"; install {', '.join(missing)} first" if missing else ""
    yield Finding(
        "mesh",
        "note",
        f"{', '.join(absent)} not installed (extra `mesh`); local search needs none{need}",
    )


def _listening() -> Iterator[Finding]:
    try:
        settings = resolve({}, folder=Path.cwd(), environ=os.environ).settings
        running = is_served(control_path(Path(settings.store), identity_path().parent))
    except EqmeshError:
        return  # told above, or a socket of somebody else's node
    for address in settings.listen:
        why = bind_refusal(address)
        if not why:
            yield Finding(f"listen {address}", "ok", "can be bound")
        elif running:
            yield Finding(
                f"listen {address}", "note", f"{why} A node runs on {settings.store}: it may be that."
            )
        else:
            yield Finding(f"listen {address}", "problem", f"{why} Name another with the setting `listen`.")


def bind_refusal(address: str) -> str:
    """Why a node could not listen at a multiaddress; empty where it could. The port is let go of at once."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        return "an address such as /ip4/0.0.0.0/tcp/4001 was expected."
    kind, host, port = found.groups()
    if int(port) > 65535:
        return f"a port lies in [0, 65535], got {port}."
    family = {"ip4": socket.AF_INET, "dns4": socket.AF_INET, "ip6": socket.AF_INET6, "dns6": socket.AF_INET6}
    try:
        first, *_ = socket.getaddrinfo(
            host, int(port), family=family.get(kind, socket.AF_UNSPEC), type=socket.SOCK_STREAM
        )
        with socket.socket(first[0], socket.SOCK_STREAM) as bound:
            # As the node itself binds: a port that was in use a minute ago is free.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(first[4])
            bound.listen(1)
    except OSError as error:
        return f"port {port} of {host} cannot be bound: {error.strerror}."
    return ""


def _store() -> Iterator[Finding]:
    try:
        store = Path(resolve({}, folder=Path.cwd(), environ=os.environ).settings.store)
    except EqmeshError:
        return  # told above
    book = store.with_name(f"{store.name}.peers")
    if book.exists():
        yield _saved(book)
    if not store.exists():
        return
    try:
        with Reader(store) as reader:
            last = next(
                (
                    event
                    for event in reversed(reader.events())
                    if event.kind in ("mesh.status", "mesh.failed")
                ),
                None,
            )
    except NodeError as error:
        yield Finding("store", "problem", str(error))
        return
    if last is None:
        return
    body = msgspec.json.decode(last.body, type=dict[str, object])
    if last.kind == "mesh.failed":
        yield Finding("node", "problem", f"its last start failed, {when(last.at)}: {body['why']}")
        return
    trouble = f": {body['trouble']}" if body["trouble"] else ""
    yield Finding("node", "ok", f"last {body['reachability']}, since {when(last.at)}{trouble}")


def _saved(book: Path) -> Finding:
    try:
        lines = book.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return Finding("saved peers", "problem", f"{book} cannot be read: {error}. Delete it.")
    bad = [number for number, line in enumerate(lines, start=1) if not re.match(r"\s*(#|/|$)", line)]
    if bad:
        return Finding(
            "saved peers", "problem", f"line {bad[0]} of {book} is no address. Correct or delete it."
        )
    return Finding("saved peers", "ok", f"{sum(line.strip().startswith('/') for line in lines)} in {book}")


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
    _identity,
    _mesh,
    _listening,
    _store,
)

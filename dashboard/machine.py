"""What this machine is doing, from /proc and nvidia-smi: read once a question, so nothing runs when nobody looks."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["Gpu", "Machine", "Memory", "Worker", "gpus_of", "machine", "memory_of", "ticks_of", "worker_of"]

_PROC = Path("/proc")
_WORKER: Final = b"evaluator.worker"
_MOST_WORKERS: Final = 64
_GPU_FIELDS: Final = "name,utilization.gpu,memory.used,memory.total,temperature.gpu"
_GPU_WAIT_S: Final = 2.0
_MIB: Final = 2**20


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of memory: all of it, and what programs could still get."""

    total_bytes: int
    available_bytes: int


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One process that trains: clock ticks of CPU that it took so far, and bytes that it holds."""

    pid: int
    ticks: int
    resident_bytes: int


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU as nvidia-smi tells it; None where it does not say. `busy` is a percentage."""

    name: str
    busy: float | None
    used_bytes: int | None
    total_bytes: int | None
    celsius: float | None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One sample. CPU is counted in ticks since the start, so two samples give a share; None where /proc has none.

    `ticks_per_s` ticks make a second of one of the `cpus`. `workers` are those of every search on this machine.
    """

    cpus: int
    ticks_per_s: int
    busy_ticks: int | None
    all_ticks: int | None
    load: tuple[float, float, float]
    memory: Memory | None
    workers: tuple[Worker, ...]
    gpus: tuple[Gpu, ...]


def machine() -> Machine:
    """A sample of this machine; takes some milliseconds, and longer where there is a GPU to ask."""
    ticks = ticks_of(_text(_PROC / "stat"))
    return Machine(
        cpus=os.cpu_count() or 1,
        ticks_per_s=os.sysconf("SC_CLK_TCK"),
        busy_ticks=ticks[0] if ticks else None,
        all_ticks=ticks[1] if ticks else None,
        load=os.getloadavg(),
        memory=memory_of(_text(_PROC / "meminfo")),
        workers=_workers(),
        gpus=gpus_of(_ask_gpus()),
    )


def ticks_of(stat: str) -> tuple[int, int] | None:
    """Busy ticks and all ticks of /proc/stat; None for another text."""
    for line in stat.splitlines():
        name, *numbers = line.split()
        if name == "cpu" and len(numbers) >= 8:
            # Guests' time is in user time already.
            counted = [int(number) for number in numbers[:8]]
            idle = counted[3] + counted[4]
            return sum(counted) - idle, sum(counted)
    return None


def memory_of(meminfo: str) -> Memory | None:
    """Memory of /proc/meminfo; None for another text."""
    found = {}
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        if name in ("MemTotal", "MemAvailable"):
            found[name] = int(rest.split()[0]) * 1024
    if len(found) < 2:
        return None
    return Memory(total_bytes=found["MemTotal"], available_bytes=found["MemAvailable"])


def worker_of(pid: int, stat: str, page_bytes: int) -> Worker | None:
    """A process of /proc/PID/stat; None for another text."""
    # The name stands in brackets and may hold anything, brackets too.
    fields = stat.rpartition(")")[2].split()
    if len(fields) < 22:
        return None
    return Worker(
        pid=pid, ticks=int(fields[11]) + int(fields[12]), resident_bytes=int(fields[21]) * page_bytes
    )


def gpus_of(text: str) -> tuple[Gpu, ...]:
    """GPUs of nvidia-smi's CSV without header and units."""
    found = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == len(_GPU_FIELDS.split(",")):
            busy, used, total, celsius = map(_number, fields[1:])
            found.append(
                Gpu(
                    name=fields[0],
                    busy=busy,
                    used_bytes=None if used is None else int(used * _MIB),
                    total_bytes=None if total is None else int(total * _MIB),
                    celsius=celsius,
                )
            )
    return tuple(found)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # "[N/A]": the driver does not tell


def _ask_gpus() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed question to the driver's own program
            [program, f"--query-gpu={_GPU_FIELDS}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_GPU_WAIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # a driver that hangs must not hold up the page
    return done.stdout if done.returncode == 0 else ""


def _workers() -> tuple[Worker, ...]:
    found: list[Worker] = []
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    for folder in _PROC.glob("[0-9]*"):
        if len(found) == _MOST_WORKERS:
            break
        try:
            if _WORKER not in (folder / "cmdline").read_bytes():
                continue
        except OSError:
            continue  # ended meanwhile, or another user's
        worker = worker_of(int(folder.name), _text(folder / "stat"), page_bytes)
        if worker is not None:
            found.append(worker)
    return tuple(sorted(found, key=lambda worker: worker.pid))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

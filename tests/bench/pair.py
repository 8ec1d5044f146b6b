"""Two commands on one machine: how long until each front holds confirmed genomes of the other.

    python -m tests.bench.pair --output tests/bench/results/pair.json

`eqmesh node run` in one folder and `eqmesh join` in another, on loopback, with fresh stores and identities and every
setting at its default; wall seconds from the start of the first command to the first moment at which the ledger of each
store holds a confirmed claim of the other that stands on its front.
"""

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from node.errors import NodeError
from node.mesh.books import read_ledger
from node.protocol.trust import TrustSettings
from node.store.records import Reader
from tests.bench.report import ROOT, Cell, Column, Figure, Report, Table, arguments, finish, origin

_TARGET_S = 60.0
_GIVE_UP_S = 240.0
_SMOKE_S = 60.0  # a smoke run shows that the commands run, whether or not the two agree by then
_COMMAND = [sys.executable, "-c", "from node.cli import main; main()"]
_ADDRESS = re.compile(r"(/ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+)")


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds after the first command: address known, claims heard by both, one front held the other's, both did."""

    seed: int
    address_s: float
    heard_s: float | None
    first_s: float | None
    both_s: float | None
    evaluations: tuple[int, int]
    claims: tuple[int, int]


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A node with state and store in a folder of its own; its log is in the folder."""
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*_COMMAND, *arguments, "--listen", "/ip4/127.0.0.1/tcp/0"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "EQMESH_STATE_DIR": str(folder / "state")},
            stdout=log,
            stderr=log,
        )


def address_of(folder: Path, until: float) -> str:
    """The address that a node's log gives."""
    while time.monotonic() < until:
        found = _ADDRESS.search((folder / "log").read_text(errors="replace"))
        if found:
            return found[1]
        time.sleep(0.1)  # noqa: TID251 - a benchmark waits for another process
    raise TimeoutError((folder / "log").read_text(errors="replace")[-2000:])


def confirmed(folder: Path) -> tuple[int, int, int]:
    """Foreign claims confirmed and heard, and own evaluations, in a node's store."""
    try:
        with Reader(folder / "eqmesh.db") as reader:
            ledger = read_ledger(reader, TrustSettings())
            return (
                sum(claim.admitted for claim in ledger.claims.values()),
                len(ledger.claims),
                reader.counts()["evaluation"],
            )
    except NodeError:
        return 0, 0, 0


def observe(seed: int, task: str, most_s: float = _GIVE_UP_S) -> Seen:
    """One run of both commands."""
    with tempfile.TemporaryDirectory() as name:
        folders = Path(name) / "one", Path(name) / "two"
        began = time.monotonic()
        running = [start(folders[0], "node", "run", "--task", task, "--seed", str(2 * seed))]
        try:
            address = address_of(folders[0], began + most_s)
            address_s = time.monotonic() - began
            running.append(start(folders[1], "join", address, "--task", task, "--seed", str(2 * seed + 1)))
            heard = first = both = None
            seen = [(0, 0, 0), (0, 0, 0)]
            while both is None and time.monotonic() < began + most_s:
                time.sleep(0.5)  # noqa: TID251 - a benchmark waits for other processes
                seen, now = [confirmed(folder) for folder in folders], time.monotonic() - began
                heard = heard or (now if all(row[1] for row in seen) else None)
                first = first or (now if any(row[0] for row in seen) else None)
                both = now if all(row[0] for row in seen) else None
            return Seen(
                seed=seed,
                address_s=address_s,
                heard_s=heard,
                first_s=first,
                both_s=both,
                evaluations=(seen[0][2], seen[1][2]),
                claims=(seen[0][1], seen[1][1]),
            )
        finally:
            for process in running:
                process.send_signal(signal.SIGINT)
            for process in running:
                process.wait(timeout=60)


def main() -> None:
    """Run it."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--task", default="digits")
    options = parser.parse_args()
    where = origin("pair")
    seeds = tuple(range(1 if options.smoke else options.seeds))
    found = []
    for seed in seeds:
        found.append(observe(seed, options.task, _SMOKE_S if options.smoke else _GIVE_UP_S))
        print(found[-1], flush=True)
    times = [seen.both_s if seen.both_s is not None else float("inf") for seen in found]
    rows: list[list[Cell]] = [
        [
            seen.seed,
            seen.address_s,
            seen.heard_s,
            seen.first_s,
            seen.both_s,
            str(seen.evaluations),
            str(seen.claims),
        ]
        for seen in found
    ]
    middle = statistics.median(times)
    finish(
        Report(
            name="pair",
            title="Two nodes on one machine",
            about=(__doc__ or "").split("\n\n", 2)[2].replace("\n", " ").strip(),
            smoke=options.smoke,
            seeds=seeds,
            figures=(
                Figure(
                    what=f"both fronts hold the other's confirmed genomes, {options.task}, median",
                    target=f"<= {_TARGET_S:.0f} s",
                    measured=f"{middle:.0f} s (slowest {max(times):.0f} s)",
                    reached=middle <= _TARGET_S,
                ),
            ),
            tables=(
                Table(
                    title="Seconds from the first command",
                    columns=(
                        Column("run"),
                        Column("address", ".1f"),
                        Column("both heard", ".1f"),
                        Column("one front", ".1f"),
                        Column("both fronts", ".1f"),
                        Column("evaluations"),
                        Column("claims heard"),
                    ),
                    rows=rows,
                ),
            ),
            origin=where,
            data=[msgspec.to_builtins(seen) for seen in found],
        ),
        options.output,
    )


if __name__ == "__main__":
    main()

"""The CartPole experiment: credits side by side on the same seeds, resumable by seed, with its files in a folder."""

import csv
import hashlib
import importlib.metadata
import io
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from eqmesh import __version__
from evaluator.calibration import machine
from evaluator.control.curves import draw
from evaluator.control.process import CartPole, Manifest
from evaluator.control.returns import bands, summary
from evaluator.control.settings import CartPoleSettings, Credit, settings_sha256
from evaluator.control.summaries import Point, Run
from evaluator.control.training import train
from evaluator.errors import SurroundingsError, TaskError
from evaluator.weights import spool

__all__ = ["CURVE_COLUMNS", "OnPoint", "run_cartpole", "run_path"]

OnPoint: TypeAlias = Callable[[Credit, int, Point], None]

CURVE_COLUMNS = ("credit", "seed", "steps", "mean_return", "deviation", "training_return")


def run_path(out_folder: Path, credit: Credit, seed: int) -> Path:
    """The file of one training that ended."""
    return out_folder / credit / f"seed-{seed}.json"


def run_cartpole(asked: CartPole, on_point: OnPoint = lambda _credit, _seed, _point: None) -> Manifest:
    """Train every credit on every seed and write curves.csv, curves.png and last manifest.json into the folder.

    A training that ended before is read and not run again, one that was interrupted begins anew. Raises TaskError for a
    folder that holds another experiment, kernels.DivergedError where a network left the numbers, SurroundingsError
    where nothing can be written.
    """
    out_folder = Path(asked.out)
    runs: dict[Credit, list[Run]] = {credit: [] for credit in asked.credits}
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        for credit in asked.credits:
            runs[credit].append(_run(out_folder, credit, seed, asked.settings, on_point))
    return _finish(out_folder, asked, runs)


def _versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in ("numpy", "torch")}
    return {"eqmesh": __version__, "python": platform.python_version(), **found}


def _identity(credit: Credit, seed: int, settings: CartPoleSettings) -> str:
    """SHA-256 (hex) of all that determines a training on one machine."""
    parts = ("eqmesh-cartpole/1", credit, seed, settings_sha256(settings), sorted(_versions().items()))
    return hashlib.sha256(msgspec.msgpack.encode(parts)).hexdigest()


def _run(out_folder: Path, credit: Credit, seed: int, settings: CartPoleSettings, on_point: OnPoint) -> Run:
    path, identity = run_path(out_folder, credit, seed), _identity(credit, seed, settings)
    if path.exists():
        return _read(path, identity)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SurroundingsError(
            f"a folder must be made at {path.parent}, but: {error.strerror}. Choose another."
        ) from error
    started = time.process_time()
    points = train(settings, credit, seed, lambda point: on_point(credit, seed, point))
    cpu_s = round(time.process_time() - started, 3)
    run = Run(identity=identity, credit=credit, seed=seed, points=tuple(points), cpu_s=cpu_s)
    spool(path.parent, path.stem, _pretty(run), suffix=".json")
    return run


def _read(path: Path, identity: str) -> Run:
    try:
        run = msgspec.json.decode(path.read_bytes(), type=Run)
    except (msgspec.MsgspecError, OSError) as error:
        raise TaskError(
            f"{path} must hold a training that ended, but: {error}. Remove it to run it again."
        ) from error
    if run.identity != identity:
        raise TaskError(
            f"{path} holds the training {run.identity[:12]}, expected {identity[:12]}: settings or versions differ. "
            "Choose another folder, or remove it."
        )
    return run


def _finish(out_folder: Path, asked: CartPole, runs: Mapping[Credit, Sequence[Run]]) -> Manifest:
    table = _table(CURVE_COLUMNS, _rows(runs))
    figure = draw({credit: bands(found) for credit, found in runs.items()}, asked.seeds)
    spool(out_folder, "curves", table, suffix=".csv")
    spool(out_folder, "curves", figure, suffix=".png")
    manifest = Manifest(
        settings=asked.settings,
        settings_sha256=settings_sha256(asked.settings),
        credits=asked.credits,
        first_seed=asked.first_seed,
        results=tuple(summary(found) for found in runs.values()),
        runs={f"{credit}/seed-{run.seed}": run.identity for credit, found in runs.items() for run in found},
        files={
            name: hashlib.sha256(body).hexdigest()
            for name, body in (("curves.csv", table), ("curves.png", figure))
        },
        machine=machine(),
        versions=_versions(),
    )
    spool(out_folder, "manifest", _pretty(manifest), suffix=".json")
    return manifest


def _pretty(document: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _rows(runs: Mapping[Credit, Sequence[Run]]) -> Iterable[tuple[object, ...]]:
    for credit, found in runs.items():
        for run in found:
            for point in run.points:
                trained = "" if point.training_return is None else point.training_return
                yield credit, run.seed, point.steps, point.mean_return, point.deviation, trained


def _table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()

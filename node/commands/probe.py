"""`eqmesh probe`: what a network's scores do not say."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter

from evaluator.inquiry import (
    Check,
    Checked,
    Description,
    Found,
    Listed,
    Listing,
    Probing,
    Question,
    Trained,
    ask,
)
from evaluator.jobs import Failure, Outcome
from evaluator.spaces import resolve_space
from evaluator.tasks import Task
from evaluator.tasks import resolve as resolve_task
from genome import Genome
from genome import preset as preset_genome
from node import output
from node.batch import Request, run_batch
from node.commands.named import named_genome, space_source
from node.commands.options import Json
from node.errors import SettingsError
from node.settings import Settings, resolve
from node.text import number, short, summary

__all__ = ["probe"]

_SHOWN = 8
_INTERVAL = {"value", "low", "high"}
_RANGE = {"low", "high"}


def probe(
    name: Annotated[str | None, Parameter(help="Name of a probe. Without it the probes are listed.")] = None,
    genome: Annotated[str | None, Parameter(help="Digits of an id in the store, or a JSON file.")] = None,
    /,
    *,
    preset: Annotated[str | None, Parameter(help="A preset instead, such as shallow or deep.")] = None,
    set_: Annotated[
        list[str] | None,
        Parameter(name="--set", negative="", help="Setting of the probe, as key=value; may be repeated."),
    ] = None,
    untrained: Annotated[
        bool, Parameter(negative="", show_default=False, help="Probe the network as it is first drawn.")
    ] = False,
    task: Annotated[str | None, Parameter(help="Task with networks. [default: digits]")] = None,
    tier: Annotated[
        str | None, Parameter(name=("--tier", "--fidelity"), help="Fidelity tier of the task.")
    ] = None,
    space: Annotated[
        str | None, Parameter(help="my.module:SPACE of the genome; built-in spaces need none.")
    ] = None,
    seed: Annotated[int, Parameter(help="Seed of the training and of the probe.")] = 0,
    arithmetic: Annotated[
        str | None, Parameter(help="Arithmetic class of the training: fp32, bf16 or exact-1. [default: fp32]")
    ] = None,
    store: Annotated[
        str | None, Parameter(help="Store in which the id is looked up. [default: eqmesh.db]")
    ] = None,
    deadline: Annotated[
        float | None,
        Parameter(help="Seconds after which the training, and then the probe, is ended. [default: 600]"),
    ] = None,
    json: Json = False,
) -> int:
    """Train a genome or preset as `eqmesh evaluate` does, and ask the network what its scores do not say.

    Without a name the probes are listed. Exit code 3 where the training failed.

    Example: eqmesh probe alignment --preset shallow --tier smoke --set samples=32
    """
    flags = {
        "task": task,
        "tier": tier,
        "space": space,
        "arithmetic": arithmetic,
        "store": store,
        "deadline": deadline,
    }
    settings = resolve(flags, folder=Path.cwd(), environ=os.environ).settings
    if name is None:
        if preset is not None or set_:
            raise SettingsError("expected the name of a probe first. `eqmesh probe` lists them.")
        _show_probes(trio.run(_listed, settings), json=json)
        return 0
    if (genome is None) == (preset is None):
        raise SettingsError("expected either a genome or --preset NAME. Give one of them.")
    if not 0 <= seed < 2**63:
        raise SettingsError(f"--seed must lie between 0 and 2^63 - 1, got {seed}.")
    found_task = resolve_task(settings.task)
    found = (
        preset_genome(preset, settings.task) if preset else named_genome(str(genome), Path(settings.store))
    )
    source = space_source(found, settings.space, found_task)
    settings = msgspec.structs.replace(settings, space=source)
    resolve_space(source, found_task).check(found)
    check = Check(
        probe=name,
        settings=_pairs(set_ or []),
        genome=found.canonical(),
        task=settings.task,
        tier=found_task.tier(settings.tier or None).name,
        seed=seed,
    )
    result = trio.run(lambda: _probe(settings, found_task, found, check, trained=not untrained))
    if isinstance(result, Failure):
        _show_failure(result, json=json)
        return 3
    if json:
        output.write_json(_document(check, found, result, trained=not untrained))
    else:
        output.write(f"{short(found.id)} {summary(found)}")
        _show(result.result)
    return 0


def _pairs(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key or key in found:
            raise SettingsError(
                f"--set expects key=value, each key once, got {text!r}. Write e.g. samples=32."
            )
        found[key] = value
    return found


async def _ask(settings: Settings, question: Question) -> Listed | Checked | Found:
    return await ask(
        question,
        memory_bytes=settings.worker_memory * 2**20,
        nice=settings.nice,
        deadline_s=settings.deadline,
    )


async def _listed(settings: Settings) -> Sequence[Description]:
    answer = await _ask(settings, Listing())
    assert isinstance(answer, Listed)
    return answer.probes


async def _probe(
    settings: Settings, task: Task, genome: Genome, check: Check, *, trained: bool
) -> Found | Failure:
    # Before the training: a misspelt setting must not cost one.
    await _ask(settings, check)
    with tempfile.TemporaryDirectory(prefix="eqmesh-probe-") as folder:
        network: Trained | None = None
        if trained:
            request = Request(genome=genome, seed=check.seed)
            (outcome,) = await run_batch(settings, task, [request], weights_folder=Path(folder))
            if isinstance(outcome, Failure):
                return outcome
            network = _trained(Path(folder), outcome)
        answer = await _ask(settings, Probing(check=check, trained=network))
    assert isinstance(answer, Found)
    return answer


def _trained(folder: Path, outcome: Outcome) -> Trained:
    return Trained(
        file=str(folder / f"{outcome.weights}.safetensors"),
        free_steps=outcome.settling.free_steps,
        nudged_steps=outcome.settling.nudged_steps,
    )


def _show_probes(probes: Sequence[Description], *, json: bool) -> None:
    if json:
        output.write_json(probes)
        return
    output.write_table(
        ["probe", "what it tells", "settings"],
        [
            [
                one.name,
                one.description,
                " ".join(s.name if s.required else f"{s.name}={_cell(s.default)}" for s in one.settings),
            ]
            for one in probes
        ],
    )


def _show_failure(failure: Failure, *, json: bool) -> None:
    if json:
        output.write_json(
            {"genome": failure.genome, "failure": {"kind": failure.kind, "detail": failure.detail}}
        )
    output.say(f"failed: {failure.kind}: {failure.detail}")


def _document(check: Check, genome: Genome, found: Found, *, trained: bool) -> dict[str, object]:
    return {
        "probe": check.probe,
        "genome": genome.id,
        "task": check.task,
        "tier": check.tier,
        "seed": check.seed,
        "trained": trained,
        "settings": found.settings,
        "result": found.result,
    }


def _show(result: Mapping[str, object]) -> None:
    """Figures in one table, and a table for each list of structs."""
    tables = {name: value for name, value in result.items() if _rows(value)}
    output.write_table(
        ["figure", "value"],
        [row for name, value in result.items() if name not in tables for row in _figures(name, value)],
    )
    for name, value in tables.items():
        rows = _rows(value)
        output.write_table(
            list(rows[0]), [[_cell(cell) for cell in row.values()] for row in rows], title=name
        )


def _rows(value: object) -> list[dict[str, object]]:
    """The structs of a list of structs; nothing for every other value."""
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return value
    return []


def _figures(name: str, value: object) -> list[list[str]]:
    if isinstance(value, dict) and value and set(value) not in (_INTERVAL, _RANGE):
        return [[f"{name} {key}", _cell(one)] for key, one in value.items()]
    if name == "warnings" and isinstance(value, list):
        return [[name, str(one)] for one in value] or [[name, "none"]]
    return [[name, _cell(value)]]


def _cell(value: object) -> str:
    """A value in words: an interval as its estimate and ends, a long list shortened to its two ends."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dict) and set(value) == _INTERVAL:
        return f"{_cell(value['value'])} [{_cell(value['low'])}, {_cell(value['high'])}]"
    if isinstance(value, dict) and set(value) == _RANGE:
        return f"{_cell(value['low'])} to {_cell(value['high'])}"
    if isinstance(value, dict):
        return " ".join(f"{key}={_cell(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list):
        ends = value if len(value) <= _SHOWN else [*value[: _SHOWN // 2], "...", *value[-_SHOWN // 2 :]]
        return ",".join(_cell(one) for one in ends) or "none"
    return str(value)

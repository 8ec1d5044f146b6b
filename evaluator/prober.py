"""The child that answers one question about probes, and ends: `python -P -m evaluator.prober`.

An `evaluator.inquiry.Question` comes in on standard input, its answer goes out on standard output.
"""

import difflib
import hashlib
import math
from collections.abc import Mapping
from typing import Any, get_origin

import msgspec

from eqmesh import EqmeshError
from evaluator.cost import optimizer_name
from evaluator.errors import EvaluatorError
from evaluator.inquiry import (
    Answer,
    Check,
    Checked,
    Description,
    Found,
    Listed,
    Listing,
    Probing,
    Question,
    Setting,
    Trained,
)
from evaluator.jobs import stream_key
from evaluator.oneshot import Refused, serve
from evaluator.tasks import DatasetTask, resolve, task_id
from genome import Genome, Value
from genome.spaces import CONV, CUBE, FAMILY, MLP

__all__ = ["answer", "main", "parse"]


# The spaces whose genes the network builder reads.
READ = (MLP, FAMILY, CUBE, CONV)


def main() -> None:
    """Answer the question on standard input."""
    serve(Question, answer)


def answer(question: Question) -> Answer:
    """The answer to a question. What goes wrong on purpose, or for want of memory, is `Refused`."""
    try:
        if isinstance(question, Listing):
            return _listed()
        if isinstance(question, Check):
            _check(question)
            return Checked()
        return _probe(question)
    except EqmeshError as error:
        return Refused(str(error))
    except MemoryError:
        return Refused(
            "the probe needs more memory than a worker may have. Give it fewer samples, or raise the setting "
            "worker_memory."
        )


def _listed() -> Listed:
    from evaluator.probes.registry import PROBES  # noqa: PLC0415 - after the limits: it loads numpy

    return Listed(
        tuple(
            Description(
                name=probe.name,
                description=probe.description,
                settings=tuple(
                    Setting(name=field.name, required=True)
                    if field.required
                    else Setting(name=field.name, required=False, default=field.default)
                    for field in msgspec.structs.fields(probe.settings)
                ),
            )
            for probe in PROBES.values()
        )
    )


def _check(check: Check) -> tuple[type[msgspec.Struct], dict[str, object], Genome, DatasetTask]:
    """What a question names: the type of the settings, those given, genome and task. Raises EqmeshError."""
    from evaluator.probes.registry import find, refusal, require_one_head  # noqa: PLC0415 - after the limits: it loads numpy

    settings = find(check.probe).settings
    given = parse(check.probe, check.settings, settings)
    _convert(check.probe, given, settings)
    genome = Genome.decode(check.genome)
    task = resolve(check.task)
    if not isinstance(task, DatasetTask):
        raise EvaluatorError(
            f"a probe expects a task with networks, task {task.name!r} has none. Choose another."
        )
    require_one_head(task)
    why = refusal(check.probe, dict(genome.values))
    if why:
        raise EvaluatorError(why)
    # A probe that passed over a gene would speak of another network.
    foreign = [name for name in dict(genome.values) if not any(name in space.by_name for space in READ)]
    if foreign:
        raise EvaluatorError(
            f"a probe reads networks of the genes of the spaces {', '.join(space.id for space in READ)}, this one of "
            f"{genome.space!r} also has {', '.join(foreign)}. Name another genome."
        )
    return settings, given, genome, task


def parse(probe: str, texts: Mapping[str, str], settings: type[msgspec.Struct]) -> dict[str, object]:
    """Settings of a probe out of texts: JSON, words, and numbers with commas between them for a list.

    Raises EvaluatorError for a name that is no setting of the probe; values are not looked at.
    """
    fields = {field.name: field for field in msgspec.structs.fields(settings)}
    found: dict[str, object] = {}
    for name, text in texts.items():
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else "Name one of those."
            raise EvaluatorError(
                f"expected settings of the probe {probe!r} ({', '.join(fields)}), got {name!r}. {hint}"
            )
        listed = get_origin(fields[name].type) is tuple and not text.startswith("[")
        found[name] = [_plain(part) for part in text.split(",")] if listed else _plain(text)
    return found


def _plain(text: str) -> object:
    """A value as JSON has it, a number as people write it (.5), or the text itself."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        pass
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _convert(probe: str, given: Mapping[str, object], settings: type[msgspec.Struct]) -> msgspec.Struct:
    try:
        return msgspec.convert(given, settings)
    except msgspec.ValidationError as error:
        raise EvaluatorError(
            f"the settings of the probe {probe!r} expect other values: {error}. Correct or drop it."
        ) from error


def _probe(probing: Probing) -> Found:
    from evaluator.build import build  # noqa: PLC0415 - loads torch: not for a list or a check
    from evaluator.probes.general import subject_of  # noqa: PLC0415
    from evaluator.probes.registry import run_probe  # noqa: PLC0415
    from evaluator.probes.subject import Samples  # noqa: PLC0415

    check = probing.check
    settings, given, genome, task = _check(check)
    tier, values = task.tier(check.tier), dict(genome.values)
    identity = task_id(task, tier)
    if probing.trained is None:
        parameters = build(
            values,
            inputs=task.inputs,
            classes=task.classes,
            seed=stream_key(genome.id, identity, check.seed),
            arithmetic="fp32",
            backend="auto",
            image=task.image,
        ).parameters()
    else:
        parameters = _load(probing.trained.file)
    network = subject_of(values, task, parameters)
    data = task.load().at(tier)
    given = {**_of_the_training(check.probe, values, probing.trained), **given}
    used = _convert(check.probe, given, settings)
    result = run_probe(
        check.probe,
        network,
        Samples(data.validation_x, data.validation_y),
        _seed(check, genome, identity),
        **msgspec.structs.asdict(used),
    )
    return Found(settings=msgspec.to_builtins(used), result=msgspec.to_builtins(result))


def _load(file: str) -> "dict[str, Any]":  # Any: safetensors names no types
    from safetensors.numpy import load_file  # noqa: PLC0415

    return dict(load_file(file))


def _of_the_training(
    probe: str, values: Mapping[str, Value], trained: Trained | None
) -> Mapping[str, object]:
    """Settings that a probe takes from the genome and its training where nobody gives them."""
    if probe != "energy":
        return {}
    found: dict[str, object] = {name: values[name] for name in ("batch", "ns_steps") if name in values}
    found["optimizer"] = optimizer_name(values)
    if trained is not None:
        found |= {"free_steps": trained.free_steps, "nudged_steps": trained.nudged_steps}
    return found


def _seed(check: Check, genome: Genome, identity: str) -> bytes:
    """32 bytes from which a probe draws everything: other ones than the training's."""
    text = f"eqmesh/probe/1\n{check.probe}\n{genome.id}\n{identity}\n{check.seed}\n"
    return hashlib.sha256(text.encode()).digest()


if __name__ == "__main__":
    main()

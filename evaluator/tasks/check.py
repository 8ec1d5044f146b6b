"""Is this object a usable task? Says what was expected, what came, and what to do. Pure."""

from evaluator.errors import TaskError
from evaluator.jobs import Outcome
from evaluator.objectives import NETWORK_OBJECTIVES, Objective
from evaluator.tasks.base import NAME, DatasetTask, FunctionTask, Task, Tier
from genome.space import SearchSpace

__all__ = ["RESERVED", "check_task"]

RESERVED = frozenset(Outcome.__struct_fields__) | {"fresh", "genes", "n", "selected", "spread"}
"""Names under which results show something else."""


def check_task(candidate: object, where: str) -> Task:
    """Give the candidate back as a task; `where` names it in messages.

    Raises TaskError for the first field that is missing or malformed.
    """
    if not isinstance(candidate, DatasetTask | FunctionTask):
        raise TaskError(
            f"{where} must be a DatasetTask or a FunctionTask (a class or an instance), got "
            f"{type(candidate).__name__}. Derive your class from one of them, out of evaluator.tasks."
        )
    check_identity(candidate, where)
    check_tiers(candidate, where)
    check_objectives(candidate, where)
    if not isinstance(field(candidate, "space", where), SearchSpace):
        raise wrong(where, "space", "a genome.space.SearchSpace", candidate.space)
    if isinstance(candidate, DatasetTask):
        check_data(candidate, where)
    return candidate


def field(task: Task, name: str, where: str) -> object:
    """Give the task's attribute; raises TaskError if it was never set."""
    if not hasattr(task, name):
        raise TaskError(f"{where}: {name!r} must be set, it is missing. Add `{name} = ...` to the class.")
    value: object = getattr(task, name)
    return value


def wrong(where: str, name: str, expected: str, got: object) -> TaskError:
    """Say what an attribute must be and what it is."""
    text = repr(got)
    return TaskError(
        f"{where}: {name!r} must be {expected}, got {text if len(text) < 80 else text[:77] + '...'}."
    )


def check_identity(task: Task, where: str) -> None:
    """Hold name, version and the strings of the identity to their types."""
    name = field(task, "name", where)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise wrong(where, "name", "1 to 64 letters, digits, '-', '_' or '.'", name)
    version = field(task, "version", where)
    if type(version) is not int or version < 1:
        raise wrong(where, "version", "a whole number of at least 1", version)
    for text in ("doc", "fingerprint", "split_rule"):
        if not isinstance(value := field(task, text, where), str):
            raise wrong(where, text, "a string", value)


def check_tiers(task: Task, where: str) -> None:
    """Hold the tiers to their type, to names of their own, and the default to one of them."""
    tiers = field(task, "tiers", where)
    if not isinstance(tiers, tuple) or not tiers or not all(isinstance(tier, Tier) for tier in tiers):
        raise wrong(where, "tiers", "a tuple of one or more Tier", tiers)
    names = [tier.name for tier in tiers]
    if len(set(names)) != len(names):
        raise wrong(where, "tiers", "Tiers with names of their own", names)
    default = field(task, "default_tier", where)
    if default not in names:
        raise wrong(where, "default_tier", f"the name of one of the tiers {names}", default)


def check_objectives(task: Task, where: str) -> None:
    """Hold the objectives to their type and to names of their own."""
    objectives = field(task, "objectives", where)
    whole = (
        isinstance(objectives, tuple)
        and objectives
        and all(isinstance(each, Objective) for each in objectives)
    )
    if not whole:
        raise wrong(where, "objectives", "a tuple of one or more Objective", objectives)
    names = [objective.name for objective in task.objectives]
    if len(set(names)) != len(names):
        raise wrong(where, "objectives", "Objectives with names of their own", names)
    if taken := sorted(RESERVED & set(names)):
        raise wrong(where, "objectives", "Objectives named otherwise than what stands beside them", taken)


def check_data(task: DatasetTask, where: str) -> None:
    """Hold what only a task with data has: sizes, a pinned identity, objectives that training measures."""
    for name in ("inputs", "classes"):
        least = 1 if name == "inputs" else 2
        value = field(task, name, where)
        if type(value) is not int or value < least:
            raise wrong(where, name, f"a whole number of at least {least}", value)
    for name in ("fingerprint", "split_rule"):
        if not getattr(task, name):
            raise wrong(
                where,
                name,
                "a text that pins the data (a checksum) and how they are split, for the task's identity",
                "",
            )
    unmeasured = [each.name for each in task.objectives if each not in NETWORK_OBJECTIVES]
    if unmeasured:
        raise wrong(
            where,
            "objectives",
            "among evaluator.objectives.NETWORK_OBJECTIVES, which training measures",
            unmeasured,
        )

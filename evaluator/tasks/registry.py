"""Tasks by name: built-in ones, entry points of installed packages, and import strings."""

import difflib
import functools
import importlib
import inspect
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

from evaluator.errors import TaskError
from evaluator.tasks.base import Task
from evaluator.tasks.check import check_task

__all__ = ["BUILT_IN", "GROUP", "load", "names", "resolve"]

GROUP = "eqmesh.tasks"
BUILT_IN = {
    "cifar10": "evaluator.tasks.cifar10:CIFAR10",
    "digits": "evaluator.tasks.digits:DIGITS",
    "digits-incremental": "evaluator.tasks.incremental:DIGITS_INCREMENTAL",
    "digits-parity": "evaluator.tasks.digits_parity:DIGITS_PARITY",
    "fashion-mnist": "evaluator.tasks.fashion_mnist:FASHION_MNIST",
    "fashion-mnist-incremental": "evaluator.tasks.incremental:FASHION_MNIST_INCREMENTAL",
    "mnist": "evaluator.tasks.mnist:MNIST",
    "mnist-incremental": "evaluator.tasks.incremental:MNIST_INCREMENTAL",
    "zdt1": "evaluator.tasks.zdt1:ZDT1",
}


def names() -> tuple[str, ...]:
    """Give the names of all built-in and installed tasks, sorted; loads none of them."""
    return tuple(sorted({*BUILT_IN, *(point.name for point in entry_points())}))


@functools.cache
def resolve(name: str) -> Task:
    """Give the task that a name or an import string "module:Name" means, checked.

    A string with a colon is imported, from the current folder too; another is looked up among built-in tasks,
    then among entry points of the group "eqmesh.tasks". "ONE+OTHER" is a task that has a head for each of those.
    One name gives one instance in a process, so that what it has loaded stays loaded. Raises TaskError.
    """
    if "+" in name:
        # Here, not above: who lists tasks must not pay for loading numpy.
        from evaluator.tasks.composed import compose  # noqa: PLC0415

        return compose(name, resolve)
    if ":" in name:
        return custom(load(name), name)
    if name in BUILT_IN:
        return check_task(load(BUILT_IN[name]), name)
    points = [point for point in entry_points() if point.name == name]
    if len(points) > 1:
        owners = ", ".join(sorted(point.dist.name if point.dist else point.value for point in points))
        raise TaskError(
            f"task {name!r} must belong to one package, got {owners}. Name its import string instead."
        )
    if points:
        return custom(load(points[0].value), f"{name} ({points[0].value})")
    raise unknown(name)


def entry_points() -> list[metadata.EntryPoint]:
    """Give the entry points through which installed packages offer tasks."""
    return list(metadata.entry_points(group=GROUP))


def custom(found: object, where: str) -> Task:
    """Make a task of what an import string named: an instance as it is, a class by calling it without arguments."""
    if inspect.isclass(found) and issubclass(found, Task):
        if gaps := sorted(found.__abstractmethods__):
            raise TaskError(f"{where} must write {', '.join(f'{gap}()' for gap in gaps)}; it is missing.")
        try:
            found = found()
        except (Exception, SystemExit) as error:
            raise TaskError(
                f"{where} must be constructible without arguments, got {describe(error)}. Give its arguments "
                "defaults, or name an instance of it."
            ) from error
    elif inspect.isclass(found):
        raise TaskError(
            f"{where} must derive from DatasetTask or FunctionTask (from evaluator.tasks), got a class that "
            f"derives from {', '.join(base.__name__ for base in found.__bases__)}."
        )
    task = check_task(found, where)
    if task.name in BUILT_IN:
        raise TaskError(
            f"{where}: 'name' must differ from the built-in tasks' ({', '.join(BUILT_IN)}), got {task.name!r}. "
            "Rename it."
        )
    return task


def load(reference: str) -> object:
    """Import what "module:Name" names, whatever it is; raises TaskError."""
    module_name, _, attribute = reference.partition(":")
    if not attribute.isidentifier() or not all(part.isidentifier() for part in module_name.split(".")):
        raise TaskError(
            "an import string must look like 'my_tasks:MyTask' (module, colon, name; no path, no '.py'), got "
            f"{reference!r}."
        )
    module = import_module(module_name)
    if not hasattr(module, attribute):
        near = difflib.get_close_matches(
            attribute, [each for each in vars(module) if not each.startswith("_")], n=1
        )
        hint = f"Did you mean {near[0]!r}?" if near else "Define it there, or give the module another name."
        raise TaskError(
            f"module {module_name!r} ({getattr(module, '__file__', None) or 'built in'}) must define {attribute!r}, it "
            f"does not. {hint}"
        )
    found: object = getattr(module, attribute)
    return found


def import_module(name: str) -> ModuleType:
    """Import a module, looking in the current folder last, so that nothing there hides an installed package."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    # A module written since the last look is found only after this.
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise TaskError(
                f"module {name!r} cannot be imported: {describe(error)}. Install what it needs."
            ) from error
        raise TaskError(
            f"module {name!r} must be installed or lie in the current folder ({here}), it does neither. Change the "
            "folder or correct the name."
        ) from error
    except (Exception, SystemExit) as error:
        raise TaskError(f"module {name!r} cannot be imported: {describe(error)}. Correct it.") from error


def describe(error: BaseException) -> str:
    """Give an error's type and its words."""
    return f"{type(error).__name__}: {error}"


def unknown(name: str) -> TaskError:
    """Say that no task has this name, and which is nearest."""
    known = names()
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = (
        f"Did you mean {near[0]!r}?"
        if near
        else "A task of your own is named by an import string, 'my_tasks:MyTask'."
    )
    return TaskError(f"known tasks are {', '.join(known)}; got {name!r}. {hint}")

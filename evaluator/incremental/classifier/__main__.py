"""The child that learns: `python -P -m evaluator.incremental.classifier --memory BYTES --nice N`.

A `process.LearnClasses` comes in, its answer goes out (see `evaluator.oneshot`); what is learned along the way is
told on standard error.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from eqmesh import EqmeshError
from evaluator.incremental.classifier.messages import (
    CLASSIFIER_VARIANTS,
    LearnClasses,
    Learned,
)
from evaluator.incremental.classifier.settings import (
    CLASSIFIER_DIGITS,
    CLASSIFIER_MNIST,
    ClassifierSettings,
    shortened,
)
from evaluator.oneshot import Refused, serve

if TYPE_CHECKING:
    from evaluator.incremental.classifier.run import Event
    from evaluator.incremental.data import IncrementalData

__all__ = ["answer", "course_of", "main"]


def main() -> None:
    """Answer the question on standard input."""
    serve(LearnClasses, answer)


def answer(question: LearnClasses) -> Learned | Refused:
    """The answer to a question. What goes wrong on purpose, or for want of memory or room, is `Refused`."""
    try:
        return _learn(question)
    except (EqmeshError, OSError) as error:
        return Refused(str(error))
    except MemoryError:
        return Refused(
            "the runs need more memory than a worker may have. Raise the setting worker_memory, or use --smoke."
        )


def course_of(question: LearnClasses) -> "tuple[IncrementalData, ClassifierSettings]":
    """The data that a question names, and the settings to learn them by; raises DataError, TaskError.

    A smoke run learns the first 60 samples a class, unless told otherwise, for a quarter of the epochs.
    """
    from evaluator.incremental.data import incremental_data  # noqa: PLC0415 - after the limits
    from evaluator.incremental.presets import SMOKE_PER_CLASS, few  # noqa: PLC0415
    from evaluator.tasks import DatasetTask, TestPermit, resolve  # noqa: PLC0415

    task = resolve(question.dataset)
    assert isinstance(task, DatasetTask)
    permit = TestPermit(reason="report") if question.split == "test" else None
    name = f"{question.dataset}, measured on {question.split}"
    data = incremental_data(task.load(), name, permit=permit)
    settings = CLASSIFIER_DIGITS if question.dataset == "digits" else CLASSIFIER_MNIST
    limit = question.per_class or (SMOKE_PER_CLASS if question.smoke else None)
    data = data if limit is None else few(data, limit)
    settings = shortened(settings) if question.smoke else settings
    return data, msgspec.structs.replace(settings, order_seed=question.order_seed)


def _learn(question: LearnClasses) -> Learned:
    import torch  # noqa: PLC0415 - after the limits, which say how many threads

    from evaluator.incremental.classifier.run import run_classifier  # noqa: PLC0415

    # The order of sums must not depend on how many cores a machine has.
    torch.set_num_threads(1)
    data, settings = course_of(question)
    results = []
    for seed in question.seeds:
        # The order of the variants has the growing ones first: they say how large the fixed ones are.
        for variant in (one for one in CLASSIFIER_VARIANTS if one in question.variants):
            found = run_classifier(data, variant, seed, settings, Path(question.out), _tell)
            results.append(found)
    return Learned(tuple(results))


def _tell(event: "Event") -> None:
    from evaluator.incremental.classifier.run import ClassLearned  # noqa: PLC0415

    if isinstance(event, ClassLearned):
        labels = " and ".join(map(str, event.labels))
        widths = "-".join(map(str, event.widths))
        sys.stderr.write(
            f"{event.variant}, seed {event.seed}: [{event.stage + 1}/{event.stages}] learned {labels}, accuracy so far "
            f"{event.accuracy:.4f}, hidden units {widths}\n"
        )
        sys.stderr.flush()


if __name__ == "__main__":
    main()

"""The child that learns: `python -P -m evaluator.incremental.classifier --memory BYTES --nice N`.

A `process.LearnClasses` comes in on standard input as JSON, its answer goes out on standard output; what is learned
along the way is told on standard error.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from eqmesh import EqmeshError
from evaluator import limits
from evaluator.incremental.classifier.messages import (
    CLASSIFIER_VARIANTS,
    Answer,
    LearnClasses,
    Learned,
    Refused,
)
from evaluator.incremental.classifier.settings import (
    CLASSIFIER_DIGITS,
    CLASSIFIER_MNIST,
    ClassifierSettings,
    shortened,
)

if TYPE_CHECKING:
    from evaluator.incremental.classifier.run import Event
    from evaluator.incremental.data import IncrementalData

__all__ = ["answer", "course_of", "main"]

SMOKE_PER_CLASS = 60


def main() -> None:
    """Answer the question on standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--nice", type=int, required=True)
    options = parser.parse_args()
    # Whatever prints must not reach the answer: standard output becomes standard error.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    limits.apply(memory_bytes=options.memory, nice=options.nice)
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=LearnClasses)
    with output:
        output.write(msgspec.json.encode(answer(question)))


def answer(question: LearnClasses) -> Answer:
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
    from evaluator.tasks import DatasetTask, TestPermit, resolve  # noqa: PLC0415

    task = resolve(question.dataset)
    assert isinstance(task, DatasetTask)
    permit = TestPermit(reason="report") if question.split == "test" else None
    name = f"{question.dataset}, measured on {question.split}"
    data = incremental_data(task.load(), name, permit=permit)
    settings = CLASSIFIER_DIGITS if question.dataset == "digits" else CLASSIFIER_MNIST
    limit = question.per_class or (SMOKE_PER_CLASS if question.smoke else None)
    data = data if limit is None else _few(data, limit)
    settings = shortened(settings) if question.smoke else settings
    return data, msgspec.structs.replace(settings, order_seed=question.order_seed)


def _few(data: "IncrementalData", per_class: int) -> "IncrementalData":
    """The first `per_class` samples of each class to learn from; what is measured on stays whole."""
    import numpy as np  # noqa: PLC0415

    rows = np.concatenate([np.flatnonzero(data.train_y == label)[:per_class] for label in data.classes])
    rows.sort()
    name = f"{data.name}, at most {per_class} a class learned"
    return replace(data, name=name, train_x=data.train_x[rows], train_y=data.train_y[rows])


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

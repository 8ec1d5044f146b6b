"""Tasks: what a genome is judged by. Built-in ones, and what a task of one's own derives from."""

from evaluator.tasks.base import DatasetTask, FunctionTask, Task, Tier, fingerprint, task_id
from evaluator.tasks.dataset import Dataset, TestPermit
from evaluator.tasks.registry import load, names, resolve
from evaluator.tasks.splits import Split, SplitRule

__all__ = [
    "Dataset",
    "DatasetTask",
    "FunctionTask",
    "Split",
    "SplitRule",
    "Task",
    "TestPermit",
    "Tier",
    "fingerprint",
    "load",
    "names",
    "resolve",
    "task_id",
]

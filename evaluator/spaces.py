"""The space that a search explores: the task's own, or a narrower one named by import string."""

from evaluator.cost import cost_of
from evaluator.errors import TaskError
from evaluator.tasks import DatasetTask, Task, load
from genome import GenomeError, SearchSpace
from genome.variation import draw

__all__ = ["resolve_space"]

_DRAWS = 16


def resolve_space(source: str, task: Task) -> SearchSpace:
    """The space that `source` ("my.module:SPACE") names, or the task's own where it is empty.

    A space for networks must give the genes that the network builder reads; a few genomes are drawn to
    see that it does. Raises TaskError.
    """
    if not source:
        return task.space
    space = load(source)
    if not isinstance(space, SearchSpace):
        raise TaskError(
            f"{source} must be a genome.SearchSpace, got {type(space).__name__}. Name the instance itself."
        )
    if isinstance(task, DatasetTask):
        for seed in range(_DRAWS):
            try:
                values = dict(draw(space, seed=seed).values)
                cost_of(values, inputs=task.inputs, classes=task.classes, arithmetic="fp32")
            except (KeyError, GenomeError) as error:
                raise TaskError(
                    f"space {space.id!r} must give the genes of the space 'mlp/1' that networks are built from; "
                    f"{error} is missing or unusable in one of its genomes. Keep the gene, with fewer options."
                ) from error
    return space

"""The space that a search explores: the task's own, a built-in one by name, or one named by import string."""

from evaluator.cost import cost_of
from evaluator.errors import TaskError
from evaluator.jobs import JobArithmetic
from evaluator.shape import NoImageError, is_plain
from evaluator.tasks import DatasetTask, Task, load
from genome import Genome, GenomeError, SearchSpace
from genome.spaces import SPACES
from genome.variation import draw

__all__ = ["class_admits", "resolve_space"]

_DRAWS = 16


def resolve_space(source: str, task: Task) -> SearchSpace:
    """The space that `source` names: "family", "my.module:SPACE", or the task's own where it is empty.

    A space for networks must give the genes that the network builder reads; a few genomes are drawn to
    see that it does. Raises TaskError.
    """
    if not source:
        return task.space
    space = SPACES[source] if source in SPACES else load(source)
    if not isinstance(space, SearchSpace):
        raise TaskError(
            f"{source} must be a genome.SearchSpace, got {type(space).__name__}. Name the instance itself."
        )
    if isinstance(task, DatasetTask):
        for seed in range(_DRAWS):
            try:
                values = dict(draw(space, seed=seed).values)
                cost_of(
                    values,
                    inputs=task.inputs,
                    classes=task.classes,
                    arithmetic="fp32",
                    image=task.image,
                    heads=task.heads,
                )
            except NoImageError as error:
                raise TaskError(f"space {space.id!r} does not fit the task {task.name!r}: {error}") from error
            except (KeyError, TypeError, ValueError, GenomeError) as error:
                raise TaskError(
                    f"space {space.id!r} must give the genes of the space 'mlp/1' that networks are built from; "
                    f"one of its genomes gave {error!r}. Keep what is missing or unusable there, with fewer options."
                ) from error
    return space


def class_admits(arithmetic: JobArithmetic, genome: Genome) -> bool:
    """Whether networks of a genome can be trained in an arithmetic class at all.

    exact-1 has neither Muon nor Dion nor spectral clipping, whose products are not exact, and no backpropagation; of
    the family, fp32 alone has more than the plain rules.
    """
    if arithmetic in ("task", "fp32"):
        return True
    if not is_plain(dict(genome.values)):
        return False
    if arithmetic != "exact-1":
        return True
    return (
        genome.get("credit") != "backprop"
        and genome.get("optimizer") not in ("muon", "dion")
        and genome.get("spectral") != "clip"
    )

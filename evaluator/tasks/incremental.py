"""Class-incremental learning as tasks of a search: one class after another, and what is left of the earlier ones."""

from collections.abc import Callable, Mapping
from pathlib import Path

from evaluator.errors import TaskError
from evaluator.jobs import CurvePoint
from evaluator.objectives import INCREMENTAL_OBJECTIVES
from evaluator.tasks.base import DatasetTask, FunctionTask, Tier, fingerprint
from evaluator.tasks.dataset import TestPermit
from evaluator.tasks.digits import DIGITS
from evaluator.tasks.fashion_mnist import FASHION_MNIST
from evaluator.tasks.mnist import MNIST
from genome.conditions import Value
from genome.spaces import INCREMENTAL

__all__ = [
    "DIGITS_INCREMENTAL",
    "FASHION_MNIST_INCREMENTAL",
    "MNIST_INCREMENTAL",
    "ClassIncremental",
]


class ClassIncremental(FunctionTask):
    """The classes of a data set, 1 and 7 first and then one at a time, as Draelos et al. (2017) teach them.

    A genome says how a classifier of Equilibrium Propagation learns them, not what it is at the end: the evaluation is
    the whole course. It trains in float32, which differs between machines in its last bits, so it is no task of a mesh.
    """

    portable = False
    space = INCREMENTAL
    objectives = INCREMENTAL_OBJECTIVES
    version = 1

    def __init__(self, source: DatasetTask, *, tiers: tuple[Tier, ...]) -> None:
        self.source = source
        self.name = f"{source.name}-incremental"
        self.doc = f"The classes of {source.name} one after another, growing or not, with or without replay."
        self.tiers, self.default_tier = tiers, "standard"
        self.split_rule = source.split_rule
        self.fingerprint = fingerprint(source.fingerprint, "classes 1 7 then ascending")

    def require(self, cache: Path | None = None) -> None:
        """Raise DataError at once if files of the data set are missing."""
        self.source.require(cache)

    def evaluate(self, values: Mapping[str, Value], *, seed: int, tier: Tier) -> dict[str, float]:
        """Give each objective's value after the last class, on validation."""
        return self.follow(values, seed=seed, tier=tier)

    def follow(
        self,
        values: Mapping[str, Value],
        *,
        seed: int,
        tier: Tier,
        permit: TestPermit | None = None,
        on_point: Callable[[CurvePoint, float], None] = lambda _point, _done: None,
    ) -> dict[str, float]:
        """Learn the classes and tell of each; with a permit all but the test split is learned, and that measured on.

        Raises TaskError where the tier leaves a class without samples, DataError, SealedSplitError and
        kernels.DivergedError.
        """
        # Here, not above: whoever lists tasks must not load torch.
        from evaluator.incremental.classifier.search import course_of, learn_course  # noqa: PLC0415
        from evaluator.incremental.data import incremental_data  # noqa: PLC0415

        missing = [gene for gene in ("course", "depth", "width1", "output", "batch") if gene not in values]
        if missing:
            raise TaskError(
                f"task {self.name!r} expects the genes of the space {INCREMENTAL.id!r}, got none of the names "
                f"{', '.join(missing)}. Leave the setting space empty."
            )
        data = incremental_data(
            self.source.load().at(tier), f"{self.source.name}, tier {tier.name}", permit=permit
        )
        unmeasured = [label for label in range(self.source.classes) if not len(data.measured(label))]
        if unmeasured or len(data.classes) < self.source.classes:
            raise TaskError(
                f"every class needs samples to learn and to be measured on, tier {tier.name!r} leaves too few. Raise "
                "its limits."
            )
        return learn_course(course_of(values, data, epochs=tier.epochs, seed=seed), on_point).objectives


DIGITS_INCREMENTAL = ClassIncremental(
    DIGITS,
    tiers=(
        Tier(name="smoke", epochs=4, train_limit=300, doc="Does it run at all."),
        Tier(name="quick", epochs=10, train_limit=600, doc="A first impression."),
        Tier(name="standard", epochs=20, doc="Enough to rank genomes."),
        Tier(name="full", epochs=40, doc="As long as `eqmesh experiment incremental` takes."),
    ),
)
_IMAGE_TIERS = (
    Tier(name="smoke", epochs=1, train_limit=1_500, validation_limit=1_000, doc="Does it run at all."),
    Tier(name="quick", epochs=2, train_limit=5_000, validation_limit=2_000, doc="A first impression."),
    Tier(name="standard", epochs=4, train_limit=10_000, doc="Enough to rank genomes."),
    Tier(name="full", epochs=10, doc="As long as `eqmesh experiment incremental` takes."),
)
MNIST_INCREMENTAL = ClassIncremental(MNIST, tiers=_IMAGE_TIERS)
FASHION_MNIST_INCREMENTAL = ClassIncremental(FASHION_MNIST, tiers=_IMAGE_TIERS)

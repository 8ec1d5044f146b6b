"""What this node makes of claims about its task: whether they can be true at all, and how they rank here. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from evaluator.cost import Cost, cost_of, excess, nominal_steps, predict_rate, step_cost
from evaluator.jobs import (
    ARITHMETIC,
    Arithmetic,
    Calibration,
    CostLimits,
    JobArithmetic,
    objectives_fingerprint,
)
from evaluator.objectives import Objective, directions, unit_point
from evaluator.spaces import class_admits
from evaluator.tasks import DatasetTask, Task, Tier, task_id
from genome import Birth, Genome, GenomeError, SearchSpace, dominates, hypervolume, replay
from node.protocol import merkle
from node.protocol.claims import KERNELS, Claim

__all__ = ["CHECKPOINTS", "EXACT", "Judge", "Values"]

CHECKPOINTS: Final = 20
"""Checkpoints of a claim's training, or as many as it has steps."""
MOST_EXAMPLES: Final = 2**20
"""Validation examples of a claim where the tier sets no limit: two bytes each are fetched before anything is run."""
_HEADER_BYTES = 64 * 1024
EXACT: tuple[str, ...] = ("exact-1", "task")
"""Classes in which every machine's training has the same bits."""

Values = Mapping[str, float]


class Judge:
    """Knows one task at one tier: what a genome costs, what a claim of it must say, and what ranks it.

    `arithmetic` is the class that this node searches in; memory and speed of every genome are reckoned in that one,
    so that nothing that a peer says about them ranks anything.
    """

    def __init__(
        self,
        task: Task,
        tier: Tier,
        space: SearchSpace,
        *,
        arithmetic: JobArithmetic,
        limits: CostLimits,
        calibration: Calibration | None,
        objectives: tuple[Objective, ...],
    ) -> None:
        self.task = task
        self.tier = tier
        self.space = space
        self.arithmetic = arithmetic
        self.limits = limits
        self.calibration = calibration
        self.objectives = objectives
        self.ways = directions(objectives)
        self.task_id = bytes.fromhex(task_id(task, tier))

    def claim_class(self, genome: Genome) -> JobArithmetic:
        """The class to claim a genome in: the exact one, which anybody can replay, wherever it can do the genome."""
        if not isinstance(self.task, DatasetTask):
            return "task"
        return "exact-1" if class_admits("exact-1", genome) else self.arithmetic

    def replayable(self, claim: Claim) -> bool:
        """Whether this node's replay of a claim must give the same bits."""
        return claim.kernels == KERNELS and claim.arithmetic in EXACT

    def claimed_names(self) -> set[str]:
        """Names of the objectives that a claim states: what has to be trained to be known."""
        return {"accuracy"} if isinstance(self.task, DatasetTask) else set(self.ways)

    def cost(self, genome: Genome, arithmetic: str) -> Cost | None:
        """Analytic cost of a network's training in a class; None for tasks without networks."""
        if not isinstance(self.task, DatasetTask):
            return None
        assert arithmetic in ARITHMETIC
        kind: Arithmetic = arithmetic
        return cost_of(
            dict(genome.values),
            inputs=self.task.inputs,
            classes=self.task.classes,
            arithmetic=kind,
            image=self.task.image,
        )

    def misfit(self, claim: Claim) -> str:
        """Why a claim cannot be about this node's task; empty where it is. Looks at no genome."""
        known = ARITHMETIC if isinstance(self.task, DatasetTask) else ("task",)
        if claim.task != self.task_id or claim.tier != self.tier.name:
            return "it is about another task"
        if claim.space != self.space.id:
            return f"its genome is of space {claim.space!r}, this node searches {self.space.id!r}"
        if claim.arithmetic not in known:
            return f"it expects a class of {', '.join(known)}, got {claim.arithmetic!r}"
        if set(claim.objectives) != self.claimed_names():
            return f"it states {sorted(claim.objectives)}, expected are {sorted(self.claimed_names())}"
        if isinstance(self.task, DatasetTask) and claim.weights is None:
            return "a network's claim names its weights"
        if claim.weights is None and claim.checkpoints != merkle.root(
            [bytes.fromhex(objectives_fingerprint(claim.objectives))]
        ):
            return "its one checkpoint is not the hash of its objectives"
        most = self.tier.validation_limit or MOST_EXAMPLES
        if claim.weights is not None and claim.examples > most:
            return f"it was measured on {claim.examples} examples, expected are at most {most}"
        if claim.weights is None and claim.checkpoint_count != 1:
            return f"without weights it has one checkpoint, it says {claim.checkpoint_count}"
        if claim.checkpoint_count > CHECKPOINTS:
            return f"it has {claim.checkpoint_count} checkpoints, expected are at most {CHECKPOINTS}"
        return ""

    def refusal(self, claim: Claim, genome: Genome, parents: Mapping[str, Genome]) -> str:
        """Stage 0 with the genome at hand: why the claim is refused; empty where nothing speaks against it.

        The birth is replayed where all its parents are among `parents`, and believed by nobody where they are not.
        """
        try:
            self.space.check(genome)
            birth = Birth(
                tuple(parent.hex() for parent in claim.birth.parents), claim.birth.operator, claim.birth.seed
            )
            known = all(parent in parents for parent in birth.parents)
            if known and birth.operator != "import/1" and replay(birth, self.space, parents) != genome:
                return "its birth gives another genome"
        except GenomeError as error:
            return str(error)
        return self._cost_refusal(claim, genome)

    def _cost_refusal(self, claim: Claim, genome: Genome) -> str:
        cost = self.cost(genome, claim.arithmetic)
        if cost is None:
            most = _HEADER_BYTES
            return "" if claim.weights_bytes <= most else f"its weights have at most {most} bytes"
        if not class_admits(claim.arithmetic, genome):  # type: ignore[arg-type] # `misfit` has seen to it
            return f"class {claim.arithmetic} cannot train this genome"
        refusal = excess(cost, self.limits)
        if refusal is not None:
            return refusal
        if (claim.peak_bytes, claim.macs) != (cost.peak_bytes, cost.macs_per_step):
            return (
                f"its training needs {cost.peak_bytes} bytes and {cost.macs_per_step:g} products a step, it says "
                f"{claim.peak_bytes} and {claim.macs:g}"
            )
        most = 8 * cost.shape.parameters + _HEADER_BYTES
        if claim.weights_bytes > most:
            return f"its weights have at most {most} bytes, it says {claim.weights_bytes}"
        return ""

    def state_bytes(self, genome: Genome, arithmetic: str) -> int:
        """Most bytes that a learner's state of this genome can have: what a peer may send for one."""
        cost = self.cost(genome, arithmetic)
        return _HEADER_BYTES if cost is None else 2 * cost.peak_bytes + _HEADER_BYTES

    def values(self, claim: Claim, genome: Genome | None, steps: tuple[float, float] | None = None) -> Values:
        """What ranks a claim's genome here: the accuracy as claimed, memory and speed as reckoned here.

        `steps` are the mean sweeps of both phases where a replay has shown them; without it each phase counts with
        all its sweeps, so that the genome is not flattered. Tasks without networks need no genome.
        """
        if genome is None or not isinstance(self.task, DatasetTask):
            return dict(claim.objectives)
        assert self.arithmetic != "task"
        cost = self.cost(genome, self.arithmetic)
        assert cost is not None
        found = {"accuracy": claim.objectives["accuracy"], "memory": float(cost.peak_bytes)}
        if self.calibration is not None:
            free, nudged = steps or nominal_steps(dict(genome.values))
            step = step_cost(
                dict(genome.values),
                cost.shape,
                arithmetic=self.calibration.arithmetic,
                free_steps=free,
                nudged_steps=nudged,
            )
            rate = predict_rate(step, batch=cost.batch, calibration=self.calibration)
            found["speed"] = float(f"{rate:.6g}")
        return found

    def dominates(self, one: Values, other: Values) -> bool:
        """Whether a row is nowhere worse than another and somewhere better, in this task's directions."""
        return dominates(one, other, self.ways)

    def training(self, values: Values) -> float:
        """What a training costs, to be compared with others of this task: of networks seconds a sample, else 1."""
        speed = values.get("speed", 0.0) if isinstance(self.task, DatasetTask) else 0.0
        return 1.0 / speed if speed > 0.0 else 1.0

    def enters(self, row: Values, front: Sequence[Values]) -> bool:
        """Whether a row would stand on a front: nothing there dominates or equals it."""
        return not any(
            self.dominates(other, row) or all(other[name] == row[name] for name in self.ways)
            for other in front
        )

    def gain(self, row: Values, front: Sequence[Values]) -> float:
        """Hypervolume (share of the unit cube) that a row adds to a front."""
        points = [unit_point(self.objectives, dict(other)) for other in front]
        mine = unit_point(self.objectives, dict(row))
        return hypervolume([*points, mine]) - (hypervolume(points) if points else 0.0)

"""The trainings that claims speak of, made in one place: claimant and checker must do the very same. Pure."""

from evaluator.jobs import Job, JobArithmetic
from genome import Genome
from node.mesh.judge import CHECKPOINTS, Judge
from node.protocol.claims import Claim, claim_seed

__all__ = ["Trainings"]


class Trainings:
    """Jobs of one task for claims. `task` and `space` are the import strings or names by which a worker finds them."""

    def __init__(self, judge: Judge, *, task: str, space: str, deadline_s: float) -> None:
        self._judge = judge
        self._task = task
        self._space = space
        self._deadline_s = deadline_s

    def of(self, genome: Genome, *, peer: bytes, epoch: int, arithmetic: JobArithmetic) -> Job:
        """The training of a genome for the claim of a peer (its public key) in an epoch: nothing of it is free."""
        judge = self._judge
        return Job(
            number=0,
            task=self._task,
            task_id=judge.task_id.hex(),
            tier=judge.tier.name,
            space=self._space,
            genome=genome.canonical(),
            genome_id=genome.id,
            seed=claim_seed(bytes.fromhex(genome.id), peer, judge.task_id, epoch),
            arithmetic=arithmetic,
            checkpoints=CHECKPOINTS,
            diagnose=False,
            deadline_s=self._deadline_s,
            limits=judge.limits,
        )

    def again(self, claim: Claim, genome: Genome) -> Job:
        """The training that a claim speaks of, once `Judge.misfit` finds nothing against it."""
        arithmetic: JobArithmetic = claim.arithmetic  # type: ignore[assignment] # `misfit` has seen to it
        return self.of(genome, peer=claim.peer, epoch=claim.epoch, arithmetic=arithmetic)

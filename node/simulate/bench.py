"""A workbench that trains nothing: virtual time passes, and the answers are those that real workers would give."""

import functools
import hashlib
import random
from collections.abc import Callable, Mapping

import msgspec
import trio

from evaluator.jobs import (
    Failure,
    Job,
    Outcome,
    Progress,
    Replay,
    Replayed,
    Result,
    Weigh,
    Weighed,
    failure_of,
)
from evaluator.tasks import FunctionTask, Tier
from genome import Genome
from node.mesh import MemoryVault
from node.mesh.judge import CHECKPOINTS
from node.simulate.chain import (
    EXAMPLES,
    Chain,
    chain,
    correct_of,
    follow,
    leaf_of,
    predictions_of,
    read_weights,
    start,
    weights_of,
)
from node.simulate.setup import UNIT_S

__all__ = ["Bench", "Nature", "Spent"]

WORKERS = 2
"""One for the search, and one for claims and checks, as a node of one worker has."""
_WEIGH_UNITS = 0.01
_REPLAY_UNITS = 0.05


class Nature:
    """What is true, for all nodes alike: the task's function, each value of it computed once."""

    def __init__(self, task: FunctionTask) -> None:
        self.task = task
        self.tier: Tier = task.tier()
        self._genomes: dict[str, Mapping[str, int | float | str]] = {}
        self.objectives = functools.lru_cache(maxsize=200_000)(self._objectives)

    def meet(self, genome: Genome) -> None:
        """Learn of a genome, so that it can be asked about by its id."""
        self._genomes.setdefault(genome.id, dict(genome.values))

    def _objectives(self, genome: str, seed: int) -> Mapping[str, float]:
        """What a training of the genome under a seed gives; its accuracy is a share of the validation examples."""
        found = self.task.measure(self._genomes[genome], seed=seed, tier=self.tier)
        if "accuracy" in found:
            found["accuracy"] = correct_of(found) / EXAMPLES
        return found

    def values(self, genome: str) -> Mapping[str, int | float | str]:
        """The genes of a genome that was met."""
        return self._genomes[genome]


class Spent(msgspec.Struct, kw_only=True):
    """Virtual seconds of work: training for search and claims, and checks."""

    trained_s: float = 0.0
    checked_s: float = 0.0


class Bench:
    """The workers of one node. Its claims' blobs go to `vault`, from where it reads those of others."""

    def __init__(self, nature: Nature, vault: MemoryVault, *, rng: random.Random) -> None:
        self.nature = nature
        self.vault = vault
        self.spent = Spent()
        self._rng = rng
        self._limiter = trio.CapacityLimiter(WORKERS)

    async def run(self, job: Job, *, on_progress: Callable[[Progress], None] | None = None) -> Result:  # noqa: ARG002
        """Train one genome: a unit of time, a tenth more or less."""
        self.spent.trained_s += await self._work(UNIT_S * (0.9 + 0.2 * self._rng.random()))
        self.nature.meet(Genome.decode(job.genome))
        objectives = dict(self.nature.objectives(job.genome_id, job.seed))
        found = Outcome(
            number=job.number,
            genome=job.genome_id,
            task=job.task,
            task_id=job.task_id,
            tier=job.tier,
            seed=job.seed,
            arithmetic=job.arithmetic,
            backend="simulated",
            purpose=job.purpose,
            split=job.split,
            objectives=objectives,
        )
        return self.shown(found, self.trained(job, objectives)) if job.evidence else found

    def trained(self, job: Job, objectives: Mapping[str, float]) -> Chain:
        """What a training for a claim leaves."""
        return chain(bytes.fromhex(job.genome_id), job.seed, objectives)

    def shown(self, found: Outcome, left: Chain) -> Outcome:
        """The outcome with its evidence, whose blobs are put into the vault."""
        return msgspec.structs.replace(
            found,
            objectives=left.objectives,
            correct=left.correct,
            examples=len(left.predictions) // 2,
            weights=self.vault.put(left.weights).hex(),
            weights_bytes=len(left.weights),
            predictions=self.vault.put(left.predictions).hex(),
            checkpoints=tuple(leaf.hex() for leaf in left.leaves),
            states=tuple(self.vault.put(state).hex() for state in left.states),
            state_bytes=max(map(len, left.states)),
        )

    async def weigh(self, request: Weigh) -> Weighed | Failure:
        """Hold weights against predictions and these against the claimed accuracy."""
        self.spent.checked_s += await self._work(_WEIGH_UNITS * UNIT_S)
        weights, predictions = (
            self.vault.read(path) for path in (request.weights_path, request.predictions_path)
        )
        if weights is None or predictions is None:
            return failure_of(request, "environment", "weights or predictions are not in the vault")
        why, mismatches, correct = _objection(request, weights, predictions)
        return Weighed(
            number=request.number,
            passed=not why,
            why=why,
            mismatches=mismatches,
            correct=correct,
            examples=len(predictions) // 2,
            free_steps=0.0,
        )

    async def replay(self, request: Replay) -> Replayed | Failure:
        """Train one segment again."""
        self.spent.checked_s += await self._work(_REPLAY_UNITS * UNIT_S)
        job = request.job
        genome = bytes.fromhex(job.genome_id)
        if request.segment == 0:
            self.nature.meet(Genome.decode(job.genome))
            end = start(genome, job.seed, self.nature.objectives(job.genome_id, job.seed))
            return replayed(request, end)
        before = self.vault.read(request.state_path or "")
        if before is None:
            return failure_of(request, "environment", "the state is not in the vault")
        if leaf_of(before).hex() != request.leaf:
            return Replayed(
                number=request.number, end="", start_ok=False, why="state: it has another fingerprint"
            )
        after = follow(genome, job.seed, request.segment, before)
        if after is None:
            return Replayed(
                number=request.number, end="", start_ok=False, why="leaf: no training leaves that"
            )
        return replayed(request, after)

    async def _work(self, seconds: float) -> float:
        async with self._limiter:
            await trio.sleep(seconds)
        return seconds


def _objection(request: Weigh, weights: bytes, predictions: bytes) -> tuple[str, int, int]:
    """What speaks against a claim's weights, how many predictions are others, and how many are right."""
    reached = read_weights(weights, bytes.fromhex(request.genome_id))
    correct = predictions[::2].count(1)
    if reached is None:
        return "weights: they are of another network", 0, 0
    mine = predictions_of(reached)
    mismatches = abs(mine[::2].count(1) - correct) if len(mine) == len(predictions) else request.examples
    if mismatches > request.flips_allowed:
        return f"predictions: {mismatches} are not what these weights give", mismatches, correct
    if (request.correct, request.examples) != (correct, len(predictions) // 2):
        return f"accuracy: {request.correct} are claimed, {correct} are right", mismatches, correct
    return "", mismatches, correct


def replayed(request: Replay, end: bytes) -> Replayed:
    """The state that a segment ends in, and after the last one the weights that it leaves."""
    last = request.segment == CHECKPOINTS - 1
    return Replayed(
        number=request.number,
        end=leaf_of(end).hex(),
        segments=CHECKPOINTS,
        weights=hashlib.sha256(weights_of(end)).hexdigest() if last else "",
    )


def stream(*names: object) -> random.Random:
    """A generator of its own for each set of names."""
    text = "eqmesh/simulate/1\n" + "\n".join(map(str, names))
    return random.Random(hashlib.sha256(text.encode()).digest())

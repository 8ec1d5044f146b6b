"""`eqmesh verify`: train again what a claim speaks of, and hold the result against it."""

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import trio
from cyclopts import Parameter

from evaluator.jobs import Failure, Job, Result
from evaluator.pool import PoolSettings, open_pool
from evaluator.spaces import resolve_space
from evaluator.tasks import DatasetTask
from evaluator.tasks import resolve as resolve_task
from genome import Genome
from node import output
from node.commands.claim import ClaimName
from node.commands.front import spec_of
from node.commands.options import Json
from node.errors import NodeError, NotFoundError
from node.mesh import Trainings
from node.mesh.books import read_ledger
from node.mesh.judge import Judge
from node.output import say
from node.protocol import merkle
from node.protocol.claims import KERNELS, Claim
from node.protocol.identity import peer_id
from node.protocol.trust import TrustSettings, inflated
from node.protocol.wire import decode
from node.service import judge_of
from node.settings import Settings, resolve
from node.store.records import Reader
from node.store.rows import RunSpec
from node.text import short

__all__ = ["REFUTED", "VerifyError", "compared", "judged", "verify"]

REFUTED = 4
"""Exit code for a claim that does not hold."""


class VerifyError(NodeError):
    """A claim cannot be verified here: this says nothing of the claim."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a claim states, and what was found."""

    what: str
    claimed: str
    found: str
    same: bool


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a claim holds, by which rule, and in words why."""

    holds: bool
    rule: Literal["bits", "2b"]
    why: str


def verify(
    claim: ClaimName,
    /,
    *,
    store: Annotated[
        str | None, Parameter(help="Store that holds the claim and its genome. [default: eqmesh.db]")
    ] = None,
    deadline: Annotated[
        float | None, Parameter(help="Seconds after which it is ended. [default: 600]")
    ] = None,
    json: Json = False,
) -> int:
    """Train a claim's genome again under the claim's own seed, and say whether the claim holds.

    Nobody is asked and nothing is written. In the class exact-1, and for tasks without networks, every bit must be the
    same. In other classes machines differ, so a claim is refuted only where it lies too far above what is found.
    Exit code 4 where it is refuted.

    Example: eqmesh verify 4be63a3c --store eqmesh.db
    """
    settings = resolve({"store": store, "deadline": deadline}, folder=Path.cwd(), environ=os.environ).settings
    with Reader(Path(settings.store)) as reader:
        row = reader.resolve_claim(claim)
        body = decode(row.body, Claim)
        genome = _genome(reader, row.id.hex(), body)
        spec = _spec(reader, body)
        sigma = read_ledger(reader, TrustSettings()).sigma(body.task.hex())
    judge, job = _job(body, genome, spec, settings)
    say(f"training {short(genome.id)} again in {body.arithmetic}")
    result = trio.run(_train, job, settings)
    rows = compared(body, genome, judge, result)
    verdict = judged(body, rows, result, bits=judge.replayable(body), sigma=sigma)
    _tell(row.id.hex(), body, rows, verdict, json=json)
    return 0 if verdict.holds else REFUTED


def compared(claim: Claim, genome: Genome, judge: Judge, result: Result) -> list[Compared]:
    """What a claim states beside what was found; of a training that failed, what follows from the genome alone."""
    cost = judge.cost(genome, claim.arithmetic)
    rows = []
    if cost is not None:
        rows.append(_row("peak bytes", claim.peak_bytes, cost.peak_bytes))
        rows.append(_row("products a step", claim.macs, cost.macs_per_step))
    if isinstance(result, Failure):
        return rows
    leaves = [bytes.fromhex(leaf) for leaf in result.checkpoints]
    rows += [
        _row(name, value, result.objectives.get(name)) for name, value in sorted(claim.objectives.items())
    ]
    rows += [
        _row("checkpoints", claim.checkpoint_count, len(leaves)),
        _row("checkpoint root", claim.checkpoints.hex(), merkle.root(leaves).hex()),
    ]
    if claim.weights is not None and claim.predictions is not None:
        rows += [
            _row("correct", f"{claim.correct} of {claim.examples}", f"{result.correct} of {result.examples}"),
            _row("weights", claim.weights.hex(), result.weights),
            _row("weights' bytes", claim.weights_bytes, result.weights_bytes),
            _row("predictions", claim.predictions.hex(), result.predictions),
        ]
    return rows


def judged(claim: Claim, rows: list[Compared], result: Result, *, bits: bool, sigma: float) -> Judged:
    """Whether a claim holds: bit for bit where `bits`, else by the rule of stage 2b with `sigma` in points.

    Raises VerifyError where the training failed for a reason that says nothing of the claim.
    """
    analytic = [row.what for row in rows if not row.same and row.what in ("peak bytes", "products a step")]
    if analytic:
        return Judged(
            holds=False, rule="bits", why=f"{' and '.join(analytic)} follow from the genome, and differ"
        )
    if isinstance(result, Failure):
        if bits and result.kind == "diverged":
            return Judged(holds=False, rule="bits", why=f"no training ends there: {result.detail}")
        raise VerifyError(
            f"the claim cannot be verified here: the training ended as {result.kind}: {result.detail}. This says "
            "nothing of the claim. Mend that, or raise the limit that it names."
        )
    differing = [row.what for row in rows if not row.same]
    if bits:
        why = f"{', '.join(differing)} differ" if differing else "every bit is the same"
        return Judged(holds=not differing, rule="bits", why=why)
    claimed, mine = (100 * one["accuracy"] for one in (claim.objectives, result.objectives))
    return Judged(
        holds=not inflated(claimed, mine, sigma),
        rule="2b",
        why=(
            f"bits of {claim.arithmetic} cannot be compared between machines; claimed are {claimed:.2f} points, found "
            f"{mine:.2f}, the spread between seeds is {sigma:.2f}"
        ),
    )


def _row(what: str, claimed: object, found: object) -> Compared:
    return Compared(what=what, claimed=str(claimed), found=str(found), same=claimed == found)


def _genome(reader: Reader, id_: str, claim: Claim) -> Genome:
    body = reader.genome_bytes(claim.genome.hex())
    if body is None:
        raise NotFoundError(
            f"the genome {claim.genome.hex()} of claim {short(id_)} is not in {reader.path}. `eqmesh genome import` "
            "takes it in from a file; a node that meets its author brings it along."
        )
    return Genome.decode(body)


def _spec(reader: Reader, claim: Claim) -> RunSpec:
    """The specification of the last run of the claim's task: what the task is called here."""
    found = [run for run in reader.runs() if run.task_id == claim.task.hex()]
    if not found:
        raise NotFoundError(
            f"{reader.path} has no run of the task {claim.task.hex()} ({claim.tier}), so nothing says which task that "
            "is. Name the store of a node that searches it."
        )
    return spec_of(found[-1])


def _job(claim: Claim, genome: Genome, spec: RunSpec, settings: Settings) -> tuple[Judge, Job]:
    if claim.kernels != KERNELS:
        raise VerifyError(
            f"the claim was made by kernels of version {claim.kernels}, this eqmesh has version {KERNELS}, whose bits "
            f"differ. Verify it with an eqmesh of its time."
        )
    task = resolve_task(spec.task)
    if isinstance(task, DatasetTask):
        task.require()
    judge = judge_of(settings, task, resolve_space(spec.space_source, task), spec, None)
    misfit = judge.misfit(claim)
    if misfit:
        raise VerifyError(
            f"the claim cannot be verified here: {misfit}. Its task's code or data may have changed since."
        )
    trainings = Trainings(judge, task=spec.task, space=spec.space_source, deadline_s=settings.deadline)
    return judge, trainings.again(claim, genome)


async def _train(job: Job, settings: Settings) -> Result:
    pool_settings = PoolSettings(workers=1, memory_bytes=settings.worker_memory * 2**20, nice=settings.nice)
    async with open_pool(pool_settings) as pool:
        return await pool.run(job)


def _tell(id_: str, claim: Claim, rows: list[Compared], verdict: Judged, *, json: bool) -> None:
    if json:
        output.write_json(
            {
                "claim": id_,
                "peer": peer_id(claim.peer),
                "genome": claim.genome.hex(),
                "arithmetic": claim.arithmetic,
                **msgspec.to_builtins(verdict),
                "compared": msgspec.to_builtins(rows),
            }
        )
        return
    output.write_table(
        ["what", "claimed", "found", "same"],
        [[row.what, row.claimed, row.found, "yes" if row.same else "no"] for row in rows],
    )
    output.write(f"the claim {'holds' if verdict.holds else 'is refuted'}: {verdict.why}")

"""Makes claims of this node's best results: trained again, in a class and under a seed that anyone can check."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from evaluator.jobs import Failure, Outcome
from genome import Birth as GenomeBirth
from genome import Genome
from node.mesh.checks import MachineError
from node.mesh.evidence import Evidence, EvidenceRoom
from node.mesh.judge import Judge
from node.mesh.trainings import Trainings
from node.mesh.vault import Vault
from node.mesh.workbench import Workbench
from node.protocol import merkle
from node.protocol.claims import (
    KERNELS,
    Accusation,
    Attestation,
    Birth,
    Body,
    Claim,
    Head,
    Measurement,
    Setback,
    Signed,
    epoch_of,
    sign,
)
from node.protocol.identity import Identity

__all__ = ["Claimant", "Signer"]

_HOLDS_S = 14 * 86_400
_HEAD_HOLDS_S = 2 * 86_400

Statement = TypeVar("Statement", Claim, Attestation, Accusation, Head, Setback)


class Signer:
    """Signs what this node says, each statement under a higher number than the last.

    Numbers are milliseconds since 1970 where that is higher, so that a restored identity does not repeat one.
    """

    def __init__(self, identity: Identity, *, now: Callable[[], float], last: int = 0) -> None:
        self.identity = identity
        self._now = now
        self._last = last

    def sign(self, make: Callable[..., Statement], **fields: object) -> tuple[Signed, Statement]:
        """The statement that `make` gives for these fields, with peer, number and time filled in, and signed."""
        now = self._now()
        self._last = max(self._last + 1, int(1000 * now))
        holds = _HEAD_HOLDS_S if make is Head else _HOLDS_S
        body = make(
            peer=self.identity.key,
            sequence=self._last,
            not_before=int(now),
            expiry=int(now) + holds,
            **fields,
        )
        statement: Body = body
        return sign(self.identity, statement), body


class Claimant:
    """Trains a genome for a claim, and signs what came of it."""

    def __init__(
        self,
        *,
        signer: Signer,
        judge: Judge,
        workbench: Workbench,
        vault: Vault,
        evidence: EvidenceRoom,
        trainings: Trainings,
        spool: Path | None,
        device: str,
        now: Callable[[], float],
    ) -> None:
        self._signer = signer
        self._judge = judge
        self._workbench = workbench
        self._vault = vault
        self._evidence = evidence
        self._trainings = trainings
        self._spool = spool
        self._device = device
        self._now = now

    async def claim(self, genome: Genome, birth: GenomeBirth) -> tuple[Signed, Claim] | Failure:
        """Train the genome anew under the claim's own seed; the signed claim, or why the training gave none.

        Raises MachineError where this machine's data or workers are at fault.
        """
        epoch = epoch_of(self._now())
        job = self._trainings.of(
            genome,
            peer=self._signer.identity.key,
            epoch=epoch,
            arithmetic=self._judge.claim_class(genome),
        )
        spool = None if self._spool is None else str(self._spool)
        found = await self._workbench.run(msgspec.structs.replace(job, evidence=True, spool=spool))
        if isinstance(found, Failure):
            if found.kind in ("data", "environment"):
                raise MachineError(f"nothing can be claimed here: {found.detail}")
            return found
        if epoch != epoch_of(self._now()):
            return await self.claim(genome, birth)  # a month has begun meanwhile: its seed is another
        return self._signed(found, genome, birth, epoch)

    def _signed(self, found: Outcome, genome: Genome, birth: GenomeBirth, epoch: int) -> tuple[Signed, Claim]:
        cost = self._judge.cost(genome, found.arithmetic)
        checkpoints = tuple(bytes.fromhex(leaf) for leaf in found.checkpoints)
        weights = bytes.fromhex(found.weights) if found.weights else None
        record, claim = self._signer.sign(
            Claim,
            task=self._judge.task_id,
            tier=found.tier,
            epoch=epoch,
            space=genome.space,
            genome=bytes.fromhex(genome.id),
            birth=Birth(
                parents=tuple(bytes.fromhex(parent) for parent in birth.parents),
                operator=birth.operator,
                seed=birth.seed,
            ),
            kernels=KERNELS,
            arithmetic=found.arithmetic,
            backend=found.backend,
            objectives={name: found.objectives[name] for name in sorted(self._judge.claimed_names())},
            correct=found.correct,
            examples=found.examples,
            weights=weights,
            weights_bytes=found.weights_bytes,
            predictions=bytes.fromhex(found.predictions) if weights else None,
            checkpoints=merkle.root(checkpoints),
            checkpoint_count=len(checkpoints),
            macs=0.0 if cost is None else cost.macs_per_step,
            peak_bytes=0 if cost is None else cost.peak_bytes,
            measured=self._measurement(found),
        )
        self._keep(found, record.id, checkpoints)
        return record, claim

    def _measurement(self, found: Outcome) -> Measurement | None:
        """What this machine's clock said, for the curious; None for tasks that train nothing."""
        if not found.measured.samples_per_s:
            return None
        return Measurement(
            samples_per_s=found.measured.samples_per_s,
            peak_bytes=found.measured.peak_bytes,
            device=self._device[:128],
        )

    def _keep(self, found: Outcome, claim: bytes, checkpoints: tuple[bytes, ...]) -> None:
        suffixes = {found.weights: "safetensors", found.predictions: "predictions"}
        suffixes |= dict.fromkeys(found.states, "state")
        total = 0
        for name, suffix in suffixes.items():
            if not name or not found.weights:
                continue
            if self._spool is not None and (file := self._spool / f"{name}.{suffix}").exists():
                self._vault.take(file)
            total += self._vault.size(bytes.fromhex(name)) or 0
        self._evidence.add(
            Evidence(
                claim=claim,
                checkpoints=checkpoints,
                weights=bytes.fromhex(found.weights) if found.weights else None,
                predictions=bytes.fromhex(found.predictions) if found.weights else None,
                states=tuple(bytes.fromhex(name) for name in found.states),
                size_bytes=total,
            )
        )

"""A store as a node of a mesh leaves it: own results, signed claims of peers, checks of them, bans with evidence.

python -m tests.support.meshstore FILE

Everything that peers say is signed by real keys and decodes; what they say is invented. One peer is hostile: where
it can write what it likes, it writes markup and characters that turn text round.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from evaluator.jobs import CostLimits
from evaluator.objectives import NETWORK_OBJECTIVES
from evaluator.tasks import resolve, task_id
from genome import MLP, Genome
from genome import Birth as GenomeBirth
from genome.variation import draw
from node.mesh.claimant import Signer
from node.protocol import merkle, trust
from node.protocol.claims import (
    KERNELS,
    Accusation,
    Attestation,
    Birth,
    Claim,
    Measurement,
    Signed,
    epoch_of,
)
from node.protocol.identity import Identity
from node.protocol.trust import Stage
from node.store.beliefs import BeliefWriter
from node.store.rows import FindingRow, RunSpec, SignedRow
from node.store.writer import Writer
from tests.support.outcomes import outcome

__all__ = ["HOSTILE", "ME", "PEERS", "START", "make_mesh_store"]

START = 1_795_400_000.0
HOSTILE = "<img src=x onerror=alert(1)>\u202egnp.exe\u0000"
"""What the hostile peer says of its device."""
ME, TRUSTED, NEWCOMER, LIAR, WATCHED, MENACE = (Identity(bytes([n]) * 32) for n in range(1, 7))
PEERS = {
    "me": ME.peer,
    "trusted": TRUSTED.peer,
    "newcomer": NEWCOMER.peer,
    "liar": LIAR.peer,
    "watched": WATCHED.peer,
    "hostile": MENACE.peer,
}
_CLAIMS = 8


def _spec() -> RunSpec:
    task = resolve("digits")
    return RunSpec(
        seed=0,
        task="digits",
        task_id=task_id(task, task.tier("smoke")),
        tier="smoke",
        space=MLP.id,
        space_source="",
        strategy="nsga2",
        arithmetic="fp32",
        objectives=NETWORK_OBJECTIVES,
        limits=CostLimits(),
        look_behind=None,
        baselines=(),
        seeds=(),
        population=16,
    )


class _Made(msgspec.Struct, kw_only=True):
    """What is written in one go."""

    signed: list[SignedRow] = []
    events: list[bytes] = []
    genomes: list[tuple[Genome, GenomeBirth | None]] = []
    values: dict[bytes, dict[str, float]] = {}
    findings: list[FindingRow] = []
    log: list[tuple[str, dict[str, object]]] = []

    def believe(self, *events: trust.Event) -> None:
        """Note what the node's ledger takes in."""
        self.events += [msgspec.msgpack.encode(event) for event in events]


def _row(record: Signed, body: Claim | Attestation | Accusation, who: Identity, at: float) -> SignedRow:
    claim = isinstance(body, Claim)
    return SignedRow(
        id=record.id,
        kind=type(body).__name__.lower(),
        task=bytes.fromhex(_spec().task_id),
        peer=who.peer,
        sequence=body.sequence,
        about=None if claim else body.claim,
        genome=body.genome.hex() if claim else None,
        expiry=body.expiry,
        body=record.body,
        signature=record.signature,
        received_at=at,
    )


def _claim(signer: Signer, genome: Genome, accuracy: float, at: float, device: str) -> tuple[Signed, Claim]:
    fields: dict[str, Any] = {
        "task": bytes.fromhex(_spec().task_id),
        "tier": "smoke",
        "epoch": epoch_of(at),
        "space": genome.space,
        "genome": bytes.fromhex(genome.id),
        "birth": Birth(parents=(), operator="random/1", seed=1),
        "kernels": KERNELS,
        "arithmetic": "exact-1",
        "backend": "torch-cpu",
        "objectives": {"accuracy": accuracy, "speed": 20_000.0, "memory": 400_000.0},
        "correct": round(120 * accuracy),
        "examples": 120,
        "weights": bytes(32),
        "weights_bytes": 4096,
        "predictions": bytes(32),
        "checkpoints": merkle.root([bytes(32)] * 20),
        "checkpoint_count": 20,
        "macs": 1e6,
        "peak_bytes": 400_000,
        "measured": Measurement(samples_per_s=19_000.0, peak_bytes=410_000, device=device),
    }
    return signer.sign(Claim, **fields)


def make_mesh_store(path: Path, *, seed: int = 1) -> Path:
    """Make the store at `path`; times run from START on. Gives the path."""
    clock = _clock()
    rng = random.Random(seed)
    with Writer(path, now=lambda: next(clock)) as writer:
        run, spec = writer.begin_run(_spec())
        genomes = [draw(MLP, seed=number) for number in range(60)]
        for ask, genome in enumerate(genomes[:20]):
            accuracy = 0.5 + 0.4 * rng.random()
            found = outcome(genome, accuracy=accuracy, task_id=spec.task_id, seed=ask)
            writer.record(run, ask, "search", genome, GenomeBirth((), "random/1", ask), found)
        made = _Made()
        for who, offset, kind in (
            (TRUSTED, 20, "holds"), (NEWCOMER, 28, "heard"), (LIAR, 33, "lies"), (WATCHED, 38, "boasts"),
            (MENACE, 46, "heard"), (ME, 0, "own"),
        ):  # fmt: skip
            _speak(made, who, genomes[offset : offset + (_CLAIMS if kind != "lies" else 3)], kind, clock, rng)
        BeliefWriter(writer).keep(
            signed=made.signed,
            events=made.events,
            genomes=made.genomes,
            values=made.values,
            findings=made.findings,
            log=made.log,
        )
    return path


def _clock() -> Iterator[float]:
    at = START
    while True:
        at += 7.0
        yield at


def _speak(
    made: _Made, who: Identity, genomes: list[Genome], kind: str, clock: Iterator[float], rng: random.Random
) -> None:
    """Let one peer make its claims, and the node (and others) check them as `kind` says."""
    signer = Signer(who, now=lambda: next(clock))
    device = HOSTILE if who is MENACE else "cpu amd64 avx2"
    for genome in genomes:
        at = next(clock)
        record, body = _claim(signer, genome, 0.6 + 0.3 * rng.random(), at, device)
        claim = record.id.hex()
        made.signed.append(_row(record, body, who, at))
        made.genomes.append((genome, None))
        made.values[record.id] = dict(body.objectives)
        if kind == "own":
            made.log.append(("claim.made", {"claim": claim, "genome": genome.id}))
            continue
        made.believe(
            trust.Heard(at=at, claim=claim, peer=who.peer, task=_spec().task_id, replayable=kind != "boasts")
        )
        if kind in ("holds", "lies"):
            made.believe(trust.Checked(at=at, claim=claim, stage=Stage.WEIGHTS, passed=True))
            _found(made, record.id, "1", "", "weights fit the predictions", at)
        if kind == "holds":
            made.believe(
                trust.Checked(at=at, claim=claim, stage=Stage.REPLAY, passed=True, complete=True),
                trust.Ticked(at=at, compute=1.0),
                trust.Admitted(at=at, claim=claim),
            )
            _found(made, record.id, "2a", "3", "segment replayed bit for bit", at)
            _attest(made, body, record.id, clock)
        elif kind == "boasts":
            made.believe(
                trust.Checked(at=at, claim=claim, stage=Stage.RETRAIN, passed=True, claimed=91.5, mine=90.0)
            )
            _found(made, record.id, "2b", "", "91.5 points claimed, 90.0 found", at)
    if kind == "lies":
        _expose(made, made.signed[-1], clock)


def _found(
    made: _Made, claim: bytes, stage: str, item: str, detail: str, at: float, *, passed: bool = True
) -> None:
    row = FindingRow(claim=claim, stage=stage, item=item, passed=passed, detail=detail, at=at, seconds=1.5)
    made.findings.append(row)


def _attest(made: _Made, claim: Claim, id_: bytes, clock: Iterator[float]) -> None:
    """A newcomer's word that a claim held."""
    signer = Signer(NEWCOMER, now=lambda: next(clock))
    record, body = signer.sign(Attestation, claim=id_, stage="2b", leaves=(), objectives={"accuracy": 0.71})
    made.signed.append(_row(record, body, NEWCOMER, next(clock)))


def _expose(made: _Made, row: SignedRow, clock: Iterator[float]) -> None:
    """A replay that fails twice here and was accused by the trusted peer: the liar is banned for it."""
    at, claim = next(clock), row.id.hex()
    signer = Signer(TRUSTED, now=lambda: next(clock))
    record, body = signer.sign(
        Accusation, claim=row.id, stage="2a", segment=3, claimed=bytes(32), found=b"\1" * 32, path=()
    )
    made.signed.append(_row(record, body, TRUSTED, at))
    made.believe(
        trust.Accused(at=at, claim=claim, accuser=TRUSTED.peer, stage=Stage.REPLAY, item="3", member=False),
        trust.Checked(at=at, claim=claim, stage=Stage.REPLAY, passed=False, item="3"),
        trust.Repeated(at=at, claim=claim, stage=Stage.REPLAY, item="3", passed=False),
    )
    _found(made, row.id, "2a", "3", "segment 3 ends elsewhere than claimed", at, passed=False)
    made.log.append(("peer.banned", {"peer": LIAR.peer, "claim": claim, "stage": "2a", "item": "3"}))


if __name__ == "__main__":
    make_mesh_store(Path(sys.argv[1]))

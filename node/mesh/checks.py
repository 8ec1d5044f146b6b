"""Runs the checks that trust asks for: fetches what a check needs, has it run by a worker, and reports what came of it.

Nothing is believed here: each check ends as events for the ledger, and what it can prove as a signed record.
"""

import random
from collections.abc import Container, Iterable
from typing import Literal, NamedTuple

import msgspec

from evaluator.jobs import (
    Failure,
    Outcome,
    Replay,
    Replayed,
    Weigh,
    objectives_fingerprint,
)
from genome import Genome
from node.errors import NodeError
from node.mesh.books import Books
from node.mesh.desk import Desk
from node.mesh.intake import commitment_of
from node.mesh.judge import Judge
from node.mesh.trainings import Trainings
from node.mesh.vault import Vault
from node.mesh.workbench import Workbench
from node.protocol import merkle, trust
from node.protocol.claims import Claim, Leaf, receipted
from node.protocol.errors import ProtocolError
from node.protocol.identity import peer_id
from node.protocol.questions import AskSegment
from node.protocol.trust import Check, Stage
from node.store.rows import FindingRow
from node.transports.base import TransportError

__all__ = ["Checker", "Finding", "MachineError"]

DRAWN = 3
"""Segments of a replay."""


class MachineError(NodeError):
    """This machine, not the claim, is what a check failed on."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found. `passed` None: it could not be run, and says nothing.

    `item` names what failed; `leaves` are what was replayed and borne out; `claimed` and `found` the two hashes that
    differ, with the `path` that proves the claimed one; `mine` the accuracy (share) of a training of one's own.
    """

    passed: bool | None
    item: str = ""
    detail: str = ""
    leaves: tuple[Leaf, ...] = ()
    complete: bool = False
    claimed: bytes = bytes(32)
    found: bytes = bytes(32)
    path: tuple[bytes, ...] = ()
    mine: float | None = None
    steps: tuple[float, float] | None = None


class _Replayed(NamedTuple):
    """One segment: what was found at its end, what the claimant showed, and what else of the claim it refutes."""

    leaf: Leaf
    found: bytes
    steps: tuple[float, float]
    objection: str = ""

    @property
    def held(self) -> bool:
        return self.leaf.end == self.found and not self.objection


def _objection(claim: Claim, done: Replayed) -> str:
    """What a replayed segment says against a claim beyond its end: true checkpoints do not make other weights true."""
    if done.segments and done.segments != claim.checkpoint_count:
        return f"the training has {done.segments} segments, {claim.checkpoint_count} are claimed"
    if claim.weights is not None and done.weights and done.weights != claim.weights.hex():
        return f"the training ends with weights {done.weights[:12]}, claimed are {claim.weights.hex()[:12]}"
    return ""


class Checker:
    """One check at a time, for one node. Raises MachineError where this machine's data or workers are at fault."""

    def __init__(
        self,
        *,
        me: str,
        judge: Judge,
        books: Books,
        desk: Desk,
        vault: Vault,
        workbench: Workbench,
        rng: random.Random,
        trainings: Trainings,
    ) -> None:
        self._me = me
        self._judge = judge
        self._books = books
        self._desk = desk
        self._vault = vault
        self._workbench = workbench
        self._rng = rng
        self._trainings = trainings
        self._shown: dict[str, dict[int, Leaf]] = {}  # by claim: leaves that its claimant has shown
        # By claim, while it may be checked again: its blobs; and path, state and leaf that failed segments start from.
        self._fetched: dict[str, set[bytes]] = {}
        self._starts: dict[tuple[str, int], tuple[str, str, str]] = {}
        self._checked = ""  # the claim that was taken up last: what it needs must outlast the check

    def remembered(self) -> set[str]:
        """Claims of which some segments were replayed since the node was started."""
        return set(self._shown)

    def forget(self, claims: Iterable[str]) -> None:
        """Claims that are of no use any more."""
        for claim in claims:
            self._shown.pop(claim, None)

    def clear(self, pending: Container[str]) -> None:
        """Drop what was fetched for claims that are decided."""
        decided = [claim for claim in self._fetched if claim not in pending and claim != self._checked]
        for claim in decided:
            gone = self._fetched.pop(claim)
            self._starts = {key: start for key, start in self._starts.items() if key[0] != claim}
            needed = set[bytes]().union(*self._fetched.values())
            for name in gone - needed:
                if not self._desk.shows(name):
                    self._vault.drop(name)

    async def prepare(self, check: Check) -> Finding | None:
        """Fetch what the check needs and is not here yet; a finding where it cannot be had."""
        self._checked = check.claim
        claim = self._books.claims[check.claim]
        if check.stage is not Stage.WEIGHTS or claim.weights is None:
            return None
        try:
            await self._fetch_weights(check.claim, claim)
        except (TransportError, ProtocolError) as error:
            return Finding(passed=None, detail=str(error))
        return None

    async def run(self, check: Check) -> Finding:
        """Run a check, or again the one item that it names."""
        claim = self._books.claims[check.claim]
        body = self._books.genome(claim.genome.hex())
        if body is None:
            return Finding(passed=None, detail="its genome is not here")
        genome = Genome.decode(body)
        try:
            match check.stage:
                case Stage.WEIGHTS:
                    return await self._weigh(claim, genome)
                case Stage.REPLAY:
                    return await self._replay(check.claim, claim, genome, check.item)
                case Stage.RETRAIN:
                    return await self._retrain(claim, genome)
        except (TransportError, ProtocolError) as error:
            return Finding(passed=None, detail=str(error))

    def row(self, check: Check, finding: Finding, *, at: float, seconds: float) -> FindingRow:
        """What the record says of a check."""
        return FindingRow(
            claim=bytes.fromhex(check.claim),
            stage=check.stage.value,
            item=finding.item or check.item or "",
            passed=finding.passed,
            detail=finding.detail,
            at=at,
            seconds=seconds,
        )

    # Stage 1

    async def _fetch_weights(self, id_: str, claim: Claim) -> None:
        assert claim.weights is not None
        assert claim.predictions is not None
        sources = [peer_id(claim.peer), *await self._desk.holders(claim.weights, besides=claim.peer)]
        for name, size in ((claim.weights, claim.weights_bytes), (claim.predictions, 2 * claim.examples)):
            if self._vault.size(name) is None:
                self._vault.put(await self._desk.blob(sources, name, size))
            self._fetched.setdefault(id_, set()).add(name)

    async def _weigh(self, claim: Claim, genome: Genome) -> Finding:
        if claim.weights is None or claim.predictions is None:
            return Finding(passed=True, detail="no weights to weigh")
        job = self._trainings.again(claim, genome)
        exact = claim.arithmetic == "exact-1"
        found = await self._workbench.weigh(
            Weigh(
                number=0,
                task=job.task,
                task_id=job.task_id,
                tier=job.tier,
                space=job.space,
                genome=job.genome,
                genome_id=job.genome_id,
                arithmetic=job.arithmetic,
                weights_path=self._vault.path(claim.weights),
                weights=claim.weights.hex(),
                predictions_path=self._vault.path(claim.predictions),
                predictions=claim.predictions.hex(),
                correct=claim.correct,
                examples=claim.examples,
                flips_allowed=trust.flips_allowed(claim.examples, exact=exact),
                deadline_s=job.deadline_s,
                limits=job.limits,
            )
        )
        if isinstance(found, Failure):
            return self._failed(found)
        if found.passed:
            return Finding(passed=True, detail=f"{found.examples} examples, {found.mismatches} differ")
        return Finding(passed=False, item="weights", detail=found.why)

    # Stage 2a

    def _draw(self, count: int, shown: set[int]) -> int | None:
        """A segment whose end this node has not seen: the claimant shows none to a checker that has.

        The last one comes first, for it alone says that the claimed weights are what the training left behind.
        """
        free = [segment for segment in range(count) if segment not in shown]
        if count - 1 in free:
            return count - 1
        return self._rng.choice(free) if free else None

    async def _replay(self, id_: str, claim: Claim, genome: Genome, item: str | None) -> Finding:
        leaves: list[Leaf] = []
        frees, nudges = 0.0, 0.0
        shown = self._shown.setdefault(id_, {})
        count = claim.checkpoint_count
        if item is not None and not (item.isdigit() and int(item) < count):
            return Finding(passed=True, detail=f"the claim has no segment {item}")
        wanted = 1 if item is not None else min(DRAWN, count)
        while len(leaves) < wanted:
            taken = {leaf.segment for leaf in leaves}
            segment = int(item) if item is not None else self._draw(count, {*shown, *taken})
            if segment is None:
                break
            if claim.weights is None:
                found = await self._recompute(claim, genome)
            else:
                found = await self._replay_one(id_, claim, genome, segment, shown)
            if isinstance(found, Finding):
                return found
            if not found.held:
                return Finding(
                    passed=False,
                    item=str(segment),
                    detail=found.objection
                    or f"segment {segment} ends in {found.found.hex()[:12]}, claimed is {found.leaf.end.hex()[:12]}",
                    claimed=found.leaf.end,
                    found=found.found,
                    path=found.leaf.path,
                )
            leaves.append(found.leaf)
            frees, nudges = frees + found.steps[0], nudges + found.steps[1]
        if not leaves:
            return Finding(passed=None, detail="every segment was replayed here before")
        mean = (frees / len(leaves), nudges / len(leaves))
        return Finding(
            passed=True,
            detail="segments " + ", ".join(str(leaf.segment) for leaf in leaves),
            leaves=tuple(sorted(leaves, key=lambda leaf: leaf.segment)),
            complete=len(leaves) == count,
            steps=mean if claim.weights is not None else None,
        )

    async def _replay_one(
        self, id_: str, claim: Claim, genome: Genome, segment: int, known: dict[int, Leaf]
    ) -> _Replayed | Finding:
        """Train one segment of a claim again; one that failed before is run from what was fetched then."""
        fetched: list[bytes] = []
        try:
            return await self._replay_from(id_, claim, genome, segment, known, fetched)
        finally:
            for name in fetched:
                self._drop_state(id_, name)

    async def _replay_from(
        self,
        id_: str,
        claim: Claim,
        genome: Genome,
        segment: int,
        known: dict[int, Leaf],
        fetched: list[bytes],
    ) -> _Replayed | Finding:
        peer = peer_id(claim.peer)
        start = self._starts.get((id_, segment))
        if segment and start is None:
            shown = await self._desk.segment_of(peer, AskSegment(claim=bytes.fromhex(id_), segment=segment))
            if not merkle.proves(
                claim.checkpoints, shown.leaf, segment - 1, claim.checkpoint_count, shown.path
            ):
                return Finding(
                    passed=None, detail=f"the start of segment {segment} is not under the claim's root"
                )
            most = self._judge.state_bytes(genome, claim.arithmetic)
            known[segment - 1] = Leaf(segment=segment - 1, end=shown.leaf, path=tuple(shown.path))
            if shown.state is None or not 0 < shown.state_bytes <= most:
                return Finding(
                    passed=None, detail=f"a state expects 1 to {most} bytes, got {shown.state_bytes}"
                )
            fetched.append(shown.state)
            if self._vault.size(shown.state) is None:
                self._vault.put(await self._desk.blob([peer], shown.state, shown.state_bytes))
            start = (self._vault.path(shown.state), shown.state.hex(), shown.leaf.hex())
        path, name, leaf = start or (None, None, None)
        done = await self._workbench.replay(
            Replay(
                number=0,
                job=self._trainings.again(claim, genome),
                segment=segment,
                state_path=path,
                state=name,
                leaf=leaf,
            )
        )
        if isinstance(done, Failure) and done.kind != "diverged":
            return self._failed(done)
        objection = ""
        if isinstance(done, Failure):
            # What runs out of the numbers here does so everywhere: no training ended where the claim says.
            end, steps = bytes(32), (0.0, 0.0)
        elif done.start_ok:
            end, steps = bytes.fromhex(done.end), (done.free_steps, done.nudged_steps)
            objection = _objection(claim, done)
        elif done.why.startswith("leaf: "):
            # The state is the one that was committed to, and no training leaves such a one behind.
            end, steps = bytes(32), (0.0, 0.0)
        else:
            # The blob hashes to what the claimant named, and is not the state under the root: it can be shown nothing.
            return Finding(passed=None, detail=f"the start of segment {segment} is not usable: {done.why}")
        if segment in known:
            self._keep_start(id_, segment, start, held=known[segment].end == end and not objection)
            # It was shown before, as the start of the next one or to a first attempt: enough to compare with.
            return _Replayed(known[segment], end, steps, objection)
        question = AskSegment(
            claim=bytes.fromhex(id_), segment=segment, commitment=commitment_of(id_, self._me, segment, end)
        )
        shown = await self._desk.segment_of(peer, question)
        if not merkle.proves(claim.checkpoints, shown.leaf, segment, claim.checkpoint_count, shown.path):
            return Finding(passed=None, detail=f"the end of segment {segment} is not under the claim's root")
        if shown.receipt is None or not receipted(
            claim.peer, question.claim, segment, question.commitment or b"", shown.receipt
        ):
            # An attestation of it would prove no work to anybody, and count against whoever signed it.
            return Finding(passed=None, detail=f"the end of segment {segment} comes without a valid receipt")
        self._keep_start(id_, segment, start, held=shown.leaf == end and not objection)
        known[segment] = Leaf(segment=segment, end=shown.leaf, path=tuple(shown.path), receipt=shown.receipt)
        return _Replayed(known[segment], end, steps, objection)

    def _keep_start(self, id_: str, segment: int, start: tuple[str, str, str] | None, *, held: bool) -> None:
        """Keep what a failed segment was run from: else its claimant need only be silent not to be run again."""
        if start is None:
            return
        name = bytes.fromhex(start[1])
        if held:
            self._starts.pop((id_, segment), None)
        else:
            self._starts[id_, segment] = start
            self._fetched.setdefault(id_, set()).add(name)

    def _drop_state(self, id_: str, name: bytes) -> None:
        if name not in self._fetched.get(id_, set()) and not self._desk.shows(name):
            self._vault.drop(name)

    async def _recompute(self, claim: Claim, genome: Genome) -> _Replayed | Finding:
        """A task without networks: its one checkpoint is what the function gives."""
        done = await self._workbench.replay(
            Replay(
                number=0,
                job=self._trainings.again(claim, genome),
                segment=0,
                state_path=None,
                state=None,
                leaf=None,
            )
        )
        if isinstance(done, Failure):
            return self._failed(done)
        end = bytes.fromhex(done.end)
        same = merkle.proves(claim.checkpoints, end, 0, claim.checkpoint_count, ())
        # Nothing has to be shown: the claimed leaf follows from the claimed objectives.
        claimed = end if same else bytes.fromhex(objectives_fingerprint(claim.objectives))
        return _Replayed(Leaf(segment=0, end=claimed, path=()), end, (0.0, 0.0))

    # Stage 2b

    async def _retrain(self, claim: Claim, genome: Genome) -> Finding:
        arithmetic = claim.arithmetic
        job = msgspec.structs.replace(self._trainings.again(claim, genome), seed=self._rng.getrandbits(63))
        done = await self._workbench.run(job)
        if isinstance(done, Failure):
            return self._failed(done)
        assert isinstance(done, Outcome)
        mine = done.objectives.get("accuracy")
        if mine is None:
            return Finding(passed=None, detail=f"a training in {arithmetic} gives no accuracy")
        return Finding(passed=True, mine=mine, detail=f"{100 * mine:.2f} points on a fresh seed")

    def _failed(self, failure: Failure) -> Finding:
        """What a worker's failure says of a claim: only what follows from genome and seed is its own."""
        kind: Literal["refused", "diverged"] | str = failure.kind
        if kind in ("data", "environment"):
            raise MachineError(f"claims cannot be checked here: {failure.detail}")
        return Finding(passed=None, detail=f"{failure.kind}: {failure.detail}"[:500])

"""Which claim a node checks next, and what it believes and tells after it has."""

from collections.abc import Callable
from typing import TypeAlias

import trio

from genome import Genome
from node.logs import Log
from node.mesh.books import Books
from node.mesh.checks import Checker, Finding
from node.mesh.claimant import Signer
from node.mesh.judge import Judge
from node.mesh.tiers import Tiers
from node.protocol import trust
from node.protocol.claims import Accusation, Attestation, Signed
from node.protocol.identity import peer_id
from node.protocol.trust import Check, Stage

__all__ = ["Checking"]

_TRIES = 3
_RETRY_ROUNDS = 5

Tell: TypeAlias = Callable[[Signed, Attestation | Accusation], None]


class Checking:
    """A node's checks of others' claims, within the budget. What it finds is told by `tell`."""

    def __init__(
        self,
        *,
        books: Books,
        checker: Checker,
        judge: Judge,
        signer: Signer,
        tiers: Tiers,
        tell: Tell,
        now: Callable[[], float],
        log: Log,
    ) -> None:
        self._books = books
        self._checker = checker
        self._judge = judge
        self._signer = signer
        self._tiers = tiers
        self._tell = tell
        self._now = now
        self._log = log
        # Claims whose checks could not be run: tries, and the round of the next one.
        self._later: dict[str, tuple[int, int]] = {}
        # Claims that the owner wants checked before others.
        self._urged: set[str] = set()

    @property
    def put_off(self) -> int:
        """Claims whose checks wait for a later round."""
        return len(self._later)

    def next(self) -> Check | None:
        """The check to run now, within the budget; None where none is wanted or paid for."""
        ledger, now = self._books.ledger, self._now()
        wanted = [
            check
            for check in ledger.wanted(now)
            if check.claim in self._books.claims and self._later.get(check.claim, (0, 0))[1] <= ledger.round
        ]
        urged = [check for check in wanted if check.claim in self._urged]
        # Of what the owner urges, but cannot be paid for yet, the other checks must not wait.
        chosen = trust.plan(ledger.bucket, urged, ledger.settings) or trust.plan(
            ledger.bucket, wanted, ledger.settings
        )
        return chosen[0] if chosen else None

    def urge(self, text: str) -> str:
        """Have the claim whose id starts with `text` checked before others, out of the same budget; says which one.

        Raises TrustError where there is no such claim, or nothing of it is left to be checked.
        """
        found = [claim for claim in self._books.claims if claim.startswith(text)]
        if len(found) != 1:
            few = "several claims start" if found else "no genome of this run and no claim starts"
            raise trust.TrustError(f"{few} with {text!r}. `eqmesh peers show` lists claims.")
        (claim,) = found
        if not any(check.claim == claim for check in self._books.ledger.wanted(self._now())):
            raise trust.TrustError(
                f"of claim {claim[:12]} nothing is left to be checked here. `eqmesh claim show` tells what was found, "
                "`eqmesh verify` trains it again."
            )
        self._urged.add(claim)
        self._later.pop(claim, None)
        return f"Claim {claim[:12]} is checked next, as soon as the budget of checks pays for it."

    async def run(self, check: Check) -> None:
        """Run one check and believe what came of it."""
        began = trio.current_time()
        finding = await self._checker.prepare(check)
        if finding is None and self._stands(check.claim):
            if not self._books.ledger.bucket.affords(check.cost, newcomer=check.newcomer):
                return
            self._books.believe(
                trust.Started(at=self._now(), claim=check.claim, cost=check.cost, newcomer=check.newcomer)
            )
            finding = await self._checker.run(check)
        if finding is None or not self._stands(check.claim):
            return
        seconds = trio.current_time() - began
        self._books.found(self._checker.row(check, finding, at=self._now(), seconds=seconds))
        self._log(
            "claim.checked",
            claim=check.claim[:16],
            stage=check.stage.value,
            passed=finding.passed,
            detail=finding.detail,
        )
        self._urged.discard(check.claim)
        if finding.passed is None:
            self._put_off(check.claim)
            return
        self._later.pop(check.claim, None)
        if check.item is not None:
            self._repeated(check, finding)
        else:
            self._checked(check, finding)

    def tidy(self) -> None:
        """Forget what was put off or urged of claims that are gone."""
        ledger = self._books.ledger
        self._checker.forget(self._checker.remembered() - ledger.claims.keys())
        self._checker.clear(ledger.pending)
        self._urged &= ledger.claims.keys()
        self._later = {claim: later for claim, later in self._later.items() if claim in ledger.claims}

    def _stands(self, claim: str) -> bool:
        """Whether a claim is still there: its claimant chooses when it expires, and how long a check waits for it."""
        return claim in self._books.ledger.claims and claim in self._books.claims

    def _put_off(self, claim: str) -> None:
        """A check could not be run: again some rounds later, and after a few times never."""
        tries = self._later.get(claim, (0, 0))[0] + 1
        if tries >= _TRIES:
            self._books.believe(trust.Dropped(at=self._now(), claim=claim))
            self._later.pop(claim, None)
        else:
            self._later[claim] = (tries, self._books.ledger.round + _RETRY_ROUNDS)

    def _checked(self, check: Check, finding: Finding) -> None:
        claim = self._books.claims[check.claim]
        stated = finding.mine is not None
        self._books.believe(
            trust.Checked(
                at=self._now(),
                claim=check.claim,
                stage=check.stage,
                passed=bool(finding.passed),
                complete=finding.complete,
                item=finding.item,
                claimed=100 * claim.objectives["accuracy"] if stated else None,
                mine=100 * finding.mine if finding.mine is not None else None,
            )
        )
        if finding.passed and check.stage is Stage.REPLAY and finding.leaves:
            record, body = self._signer.sign(
                Attestation,
                claim=bytes.fromhex(check.claim),
                stage="2a",
                leaves=finding.leaves[:8],
                objectives={},
            )
            self._tell(record, body)
        if finding.steps is not None:
            genome = self._books.genome(claim.genome.hex())
            if genome is not None:
                self._books.value(
                    check.claim, self._judge.values(claim, Genome.decode(genome), finding.steps)
                )
        now = self._now()
        if self._tiers.admit(now):
            self._tiers.refresh(now)

    def _repeated(self, check: Check, finding: Finding) -> None:
        claim = self._books.claims[check.claim]
        peer, item = peer_id(claim.peer), check.item or ""
        self._books.believe(
            trust.Repeated(
                at=self._now(),
                claim=check.claim,
                stage=check.stage,
                item=item,
                passed=bool(finding.passed),
            )
        )
        if finding.passed:
            return
        self._books.log("peer.banned", peer=peer, claim=check.claim, stage=check.stage.value, item=item)
        self._log("peer.banned", peer=peer, claim=check.claim[:16], stage=check.stage.value)
        record, body = self._signer.sign(
            Accusation,
            claim=bytes.fromhex(check.claim),
            stage="2a" if check.stage is Stage.REPLAY else "1",
            segment=int(item) if item.isdigit() else 0,
            claimed=finding.claimed,
            found=finding.found,
            path=finding.path,
        )
        self._tell(record, body)
        self._tiers.refresh(self._now())

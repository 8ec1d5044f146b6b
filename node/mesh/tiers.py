"""Brings a node's front and its guests in line with what it believes: who is confirmed, and who waits."""

from collections.abc import Callable, Sequence
from typing import Literal

from genome import Genome
from node.logs import Log
from node.mesh.books import Books
from node.mesh.front import Front
from node.mesh.intake import Intake
from node.mesh.judge import Judge, Values
from node.protocol import trust
from node.schedule import Guest

__all__ = ["Tiers"]


class Tiers:
    """Confirms what is believed; tells the search of guests by `welcome`, of what failed elsewhere by `shun`."""

    def __init__(
        self,
        *,
        books: Books,
        front: Front,
        judge: Judge,
        intake: Intake,
        welcome: Callable[[Sequence[Guest], Sequence[Guest]], None],
        shun: Callable[[set[str]], None],
        log: Log,
    ) -> None:
        self._books = books
        self._front = front
        self._judge = judge
        self._intake = intake
        self._welcome = welcome
        self._shun = shun
        self._log = log

    def admit(self, now: float) -> bool:
        """Confirm every claim that is believed by now; whether there was one."""
        ledger, some = self._books.ledger, False
        for claim in list(ledger.pending):
            if claim in self._books.values and ledger.verdict(claim, now) == "admit":
                self._books.believe(trust.Admitted(at=now, claim=claim))
                self._books.log("claim.confirmed", claim=claim, peer=ledger.claims[claim].peer)
                self._log("claim.confirmed", claim=claim[:16], peer=ledger.claims[claim].peer)
                some = True
        return some

    def refresh(self, now: float) -> None:
        """Bring the front and the search's guests in line with what is believed."""
        tiers: dict[str, dict[str, tuple[str, Values]]] = {"confirmed": {}, "provisional": {}}
        ledger = self._books.ledger
        for claim, values in self._books.values.items():
            if claim in ledger.claims:
                standing = ledger.standing(claim, now)
                if standing in tiers:
                    tiers[standing][claim] = (self._books.claims[claim].genome.hex(), values)
        for claim in self._front.update(tiers["confirmed"], tiers["provisional"]):
            self._books.believe(trust.Dropped(at=now, claim=claim))
        self._welcome(self._guests("confirmed"), self._guests("provisional"))
        self._shun(self._intake.shunned())

    def drop_useless(self, now: float) -> None:
        """Forget claims of this task in waiting that would not enter any more, and of which nothing is in dispute."""
        ledger, task = self._books.ledger, self._judge.task_id.hex()
        rows = self._front.confirmed_rows()
        useless = [
            claim
            for claim in ledger.pending
            if ledger.claims[claim].task == task
            and not ledger.claims[claim].accusers
            and not ledger.claims[claim].failures
            and not ledger.claims[claim].admitted
            and not (claim in self._books.values and self._judge.enters(self._books.values[claim], rows))
        ]
        for claim in useless:
            self._books.believe(trust.Dropped(at=now, claim=claim))

    def _guests(self, kind: Literal["confirmed", "provisional"]) -> list[Guest]:
        found: dict[str, Guest] = {}
        for genome, values in self._front.guests(kind):
            body = self._books.genome(genome)
            if body is not None:
                found.setdefault(genome, Guest(genome=Genome.decode(body), objectives=dict(values)))
        return list(found.values())

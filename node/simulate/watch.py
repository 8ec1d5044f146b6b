"""What is looked at while a simulation goes on, and what all of it comes to."""

import statistics
from collections.abc import Mapping, Sequence

import msgspec
import trio

from evaluator.objectives import unit_point
from genome import Genome, hypervolume
from node.mesh import Mesh
from node.protocol.claims import Claim, claim_seed
from node.simulate.bench import Nature
from node.simulate.liars import Liar
from node.simulate.peer import EPOCH_START, Peer
from node.simulate.setup import ROUND_S, Setup

__all__ = ["Checks", "FalseShare", "Findings", "Moment", "Reach", "RoundsToBan", "Traffic", "Watch"]

GOAL = 0.99
"""Share of the reference hypervolume that a node is to reach."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one round, over the honest nodes that are there; `hypervolume` is None where it was not looked at."""

    round: int
    present: int
    evaluations: float
    false_share: float
    checks_share: float
    confirmed_claims: float
    hypervolume: float | None
    sizes: dict[str, int]


class FalseShare(msgspec.Struct, frozen=True, kw_only=True):
    """Share of false rows among all rows of honest nodes' confirmed fronts: mean over rounds, largest, last.

    `of_claims` is the mean among the rows that came as claims of others.
    """

    mean: float
    max: float
    end: float
    of_claims: float


class Checks(msgspec.Struct, frozen=True, kw_only=True):
    """Checks over trainings of honest nodes: of the whole time, in the worst round, and of the busiest node."""

    mean: float
    max: float
    busiest_node: float


class RoundsToBan(msgspec.Struct, frozen=True, kw_only=True):
    """Median rounds from a liar's first lie to its ban by an honest node; those never banned count as all rounds.

    `first` is the median from the first lie to the first ban by anybody; `never` the share of pairs without a ban.
    """

    median: float | None
    sleepers: float | None
    first: float | None
    never: float


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Search evaluations a node until its hypervolume first was 99 % of the reference: median, how many got there."""

    median: float | None
    reached: int
    of: int


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Messages and bytes that an honest node sent: mean and largest."""

    messages: float
    bytes: float
    most_messages: int
    most_bytes: int


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What one simulation came to; equal for equal setups."""

    setup: Setup
    false_share: FalseShare
    checks: Checks
    rounds_to_ban: RoundsToBan
    liar_identities: int
    wrong_bans: float
    rounds_to_confirmation: float | None
    claims: int
    confirmations: int
    evaluations: float
    hypervolume_end: float
    hypervolume_least: float
    reference: bool
    to_99: Reach
    agreement: float
    traffic: Traffic
    largest: dict[str, int]
    moments: tuple[Moment, ...]


class Watch:
    """Looks at all honest nodes at the end of each round, and hears what their logs say."""

    def __init__(self, setup: Setup, nature: Nature) -> None:
        self.setup = setup
        self._nature = nature
        self._made: dict[str, tuple[float, str]] = {}
        self._delays: list[float] = []
        self._moments: list[Moment] = []
        self._false_claims = self._claims = 0
        self._truth: dict[str, bool] = {}
        self._volumes: dict[frozenset[str], float] = {}
        self._points: dict[str, tuple[float, ...]] = {}
        self._reached: dict[str, int] = {}
        self._spent = (0.0, 0.0)
        self._largest: dict[str, int] = {}
        # A hypervolume costs as much as a check of a hundred claims, so of many nodes it is looked at seldom.
        self._every = max(1, setup.nodes // 20)
        self._reference = self._reference_volume()
        self.honest: set[str] = set()

    def _reference_volume(self) -> float | None:
        front = getattr(self._nature.task, "reference_front", None)
        return None if front is None else self._volume([self._point(row) for row in front()])

    def told(self, name: str, event: str, fields: Mapping[str, object]) -> None:
        """One line of a node's log."""
        claim = str(fields.get("claim", ""))
        if event == "claim.made":
            self._made[claim] = (trio.current_time(), name)
        elif event == "claim.confirmed" and name in self.honest and claim in self._made:
            at, maker = self._made[claim]
            if maker in self.honest:
                self._delays.append((trio.current_time() - at) / ROUND_S)

    # The end of a round

    def look(self, number: int, everybody: Sequence[Peer]) -> None:
        """Take down how the honest nodes that are present fare."""
        honest = [
            (peer, peer.mesh) for peer in everybody if peer.honest and peer.present and peer.mesh is not None
        ]
        false = rows = claims = 0
        for _, mesh in honest:
            ids = mesh.front.confirmed_claims()
            false += sum(self._false(mesh, id_) for id_ in ids)
            claims += len(ids)
            rows += len(mesh.front.confirmed_rows())
        self._false_claims += false
        self._claims += claims
        volumes = []
        if number % self._every == 0 or number == self.setup.rounds:
            for peer, mesh in honest:
                volume = self._reach(mesh)
                volumes.append(volume)
                if volume >= GOAL and self._reference is not None:
                    self._reached.setdefault(peer.name, peer.evaluations)
        sizes = self._sizes(honest)
        for name, size in sizes.items():
            self._largest[name] = max(size, self._largest.get(name, 0))
        self._moments.append(
            Moment(
                round=number,
                present=len(honest),
                evaluations=_mean([peer.evaluations for peer, _ in honest]),
                false_share=_rounded(false / rows if rows else 0.0),
                checks_share=_rounded(self._checks_since([peer for peer in everybody if peer.honest])),
                confirmed_claims=_rounded(claims / len(honest) if honest else 0.0),
                hypervolume=_rounded(_mean(volumes)) if volumes else None,
                sizes=sizes,
            )
        )

    def _false(self, mesh: Mesh, id_: str) -> bool:
        if id_ not in self._truth:
            self._truth[id_] = not self.true(mesh.books.claims[id_], mesh)
        return self._truth[id_]

    def true(self, claim: Claim, mesh: Mesh) -> bool:
        """Whether an honest training under the claim's seed gives the objectives that are claimed."""
        body = mesh.books.genome(claim.genome.hex())
        assert body is not None, "a claim that is confirmed has a genome"
        self._nature.meet(Genome.decode(body))
        seed = claim_seed(claim.genome, claim.peer, claim.task, claim.epoch)
        return dict(self._nature.objectives(claim.genome.hex(), seed)) == claim.objectives

    def _reach(self, mesh: Mesh) -> float:
        """Hypervolume of a node's confirmed front, by what is true of its genomes whatever the seed."""
        genomes = mesh.front.genomes()
        if genomes not in self._volumes:
            points = [self._genome_point(mesh, genome) for genome in sorted(genomes)]
            self._volumes[genomes] = self._volume(points) / (self._reference or 1.0)
        return self._volumes[genomes]

    def _genome_point(self, mesh: Mesh, genome: str) -> tuple[float, ...]:
        if genome not in self._points:
            body = mesh.books.genome(genome)
            assert body is not None, "a row of a front has a genome"
            self._nature.meet(Genome.decode(body))
            expected = getattr(self._nature.task, "expected", None)
            row = (
                self._nature.objectives(genome, 0)
                if expected is None
                else expected(self._nature.values(genome))
            )
            self._points[genome] = self._point(row)
        return self._points[genome]

    def _point(self, row: Mapping[str, float]) -> tuple[float, ...]:
        return unit_point(self._nature.task.objectives, dict(row))

    @staticmethod
    def _volume(points: Sequence[tuple[float, ...]]) -> float:
        # A point that another one is nowhere worse than adds nothing, and costs much.
        kept: list[tuple[float, ...]] = []
        for point in sorted(set(points)):
            if not any(all(a <= b for a, b in zip(other, point, strict=True)) for other in kept):
                kept.append(point)
        return hypervolume(kept)

    def _checks_since(self, peers: Sequence[Peer]) -> float:
        checked = sum(peer.bench.spent.checked_s for peer in peers)
        trained = sum(peer.bench.spent.trained_s for peer in peers)
        before, self._spent = self._spent, (checked, trained)
        done = trained - before[1]
        return (checked - before[0]) / done if done > 0 else 0.0

    @staticmethod
    def _sizes(honest: Sequence[tuple[Peer, Mesh]]) -> dict[str, int]:
        """The largest of each table, queue and file of any honest node."""
        found: dict[str, int] = {}
        for peer, mesh in honest:
            sizes = {**mesh.sizes(), "blobs": len(peer.vault), "store_kb": peer.path.stat().st_size // 1024}
            for name, size in sizes.items():
                found[name] = max(size, found.get(name, 0))
        return found

    # The end of all

    def findings(self, peers: Sequence[Peer]) -> Findings:
        """What it all came to."""
        honest = [peer for peer in peers if peer.honest]
        liars = [peer for peer in peers if isinstance(peer, Liar)]
        shares = [moment.false_share for moment in self._moments]
        spent = [(peer.bench.spent.checked_s, peer.bench.spent.trained_s) for peer in honest]
        present = [peer.mesh for peer in honest if peer.present and peer.mesh is not None]
        volumes = [self._reach(mesh) for mesh in present]
        traffic = [peer.traffic for peer in honest]
        reached = [float(evaluations) for evaluations in self._reached.values()]
        return Findings(
            setup=self.setup,
            false_share=FalseShare(
                mean=_rounded(_mean(shares)),
                max=max(shares),
                end=shares[-1],
                of_claims=_rounded(self._false_claims / self._claims if self._claims else 0.0),
            ),
            checks=Checks(
                mean=_rounded(sum(one for one, _ in spent) / max(1e-9, sum(other for _, other in spent))),
                max=max(moment.checks_share for moment in self._moments),
                busiest_node=_rounded(max(one / other if other else 0.0 for one, other in spent)),
            ),
            rounds_to_ban=self._bans(honest, liars),
            liar_identities=len(liars),
            wrong_bans=_rounded(self._wrong_bans(honest)),
            rounds_to_confirmation=_median(self._delays),
            claims=len(self._made),
            confirmations=len(self._delays),
            evaluations=_mean([peer.evaluations for peer in honest]),
            hypervolume_end=_rounded(_mean(volumes)),
            hypervolume_least=_rounded(min(volumes, default=0.0)),
            reference=self._reference is not None,
            to_99=Reach(
                # Those who did not get there count as late: with few of them the median is right, else it is None.
                median=_median_of(reached, len(honest)),
                reached=len(reached),
                of=len(honest),
            ),
            agreement=_rounded(_agreement([mesh.front.genomes() for mesh in present])),
            traffic=Traffic(
                messages=_mean([one.messages for one in traffic]),
                bytes=_mean([one.bytes for one in traffic]),
                most_messages=max(one.messages for one in traffic),
                most_bytes=max(one.bytes for one in traffic),
            ),
            largest=self._largest,
            moments=tuple(self._moments),
        )

    def _bans(self, honest: Sequence[Peer], liars: Sequence[Liar]) -> RoundsToBan:
        waits: dict[bool, list[float]] = {False: [], True: []}
        firsts: list[float] = []
        never = 0
        for liar in liars:
            if liar.first_lie_s is None:
                continue
            found = [_banned_s(peer, liar.peer) for peer in honest]
            after = [(at - liar.first_lie_s) / ROUND_S for at in found if at is not None]
            never += len(found) - len(after)
            waits[liar.sleeper] += after + [float(self.setup.rounds)] * (len(found) - len(after))
            if after:
                firsts.append(min(after))
        pairs = sum(map(len, waits.values()))
        return RoundsToBan(
            median=_median(waits[False]),
            sleepers=_median(waits[True]),
            first=_median(firsts),
            never=_rounded(never / pairs if pairs else 0.0),
        )

    @staticmethod
    def _wrong_bans(honest: Sequence[Peer]) -> float:
        pairs = len(honest) * (len(honest) - 1)
        wrong = sum(
            _banned_s(one, other.peer) is not None for one in honest for other in honest if one is not other
        )
        return wrong / pairs if pairs else 0.0


def _banned_s(peer: Peer, other: str) -> float | None:
    """When a peer first banned another, in virtual seconds; None if it never did."""
    bans = peer.mesh.ledger.bans.get(other, ()) if peer.mesh is not None else ()
    return bans[0].since - EPOCH_START if bans else None


def _agreement(fronts: Sequence[frozenset[str]]) -> float:
    """Mean over pairs of fronts of what they share: genomes in both over genomes in either."""
    shares = [
        len(one & other) / len(one | other)
        for number, one in enumerate(fronts)
        for other in fronts[number + 1 :]
        if one | other
    ]
    return _mean(shares) if shares else 1.0


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0


def _median(values: Sequence[float]) -> float | None:
    return _rounded(statistics.median(values)) if values else None


def _median_of(values: Sequence[float], count: int) -> float | None:
    """The median of `count` values of which only these are finite; None where it is not finite."""
    ordered = sorted([*values, *[float("inf")] * (count - len(values))])
    middle = statistics.median(ordered) if ordered else float("inf")
    return None if middle == float("inf") else middle


def _rounded(value: float) -> float:
    return round(value, 6)

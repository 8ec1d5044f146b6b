"""A whole network in one process and one thread, under a virtual clock: equal setups give equal findings."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from evaluator.tasks import FunctionTask, Task, resolve
from node.errors import SettingsError
from node.protocol import dht
from node.simulate.bench import Nature
from node.simulate.clock import run_seeded
from node.simulate.liars import Liar, Ring
from node.simulate.memo import remembering
from node.simulate.peer import EPOCH_START, Peer, World, judge_of
from node.simulate.setup import ROUND_S, Setup
from node.simulate.watch import Findings, Watch
from node.transports.base import Limits
from node.transports.memory import MemoryNetwork, Weather

__all__ = ["simulate"]

_SYNTHETIC = "node.simulate.synthetic:SYNTHETIC"
_LATEST_START_S = 60.0
_LOOK_S = 90.0
"""How long after the end of a round the nodes are looked at: by then all of them have ended it."""
_SETTLED = 5 / 6
"""Share of the rounds after which nobody leaves any more."""

Progress = Callable[[int, int], None]


def simulate(setup: Setup, *, progress: Progress = lambda _done, _of: None) -> Findings:
    """Run a network of real nodes on virtual time; `progress` hears of each round.

    Stores lie in a temporary folder, which is gone afterwards. Raises SettingsError for a task that trains networks,
    and EqmeshError for one that cannot be found.
    """
    name = _SYNTHETIC if setup.task == "synthetic" else setup.task
    task = resolve(name)
    if not isinstance(task, FunctionTask):
        raise SettingsError(
            f"--task expects a function, such as 'synthetic'; {setup.task!r} trains networks. "
            "Simulated nodes train nothing."
        )
    with tempfile.TemporaryDirectory(prefix="eqmesh-simulate-") as folder, remembering():
        box = Box(setup, name, task, Path(folder), progress)
        return run_seeded(setup.seed, box.run)


class Box:
    """One simulation: makes the nodes, lets them come and go, and looks at them after each round."""

    def __init__(self, setup: Setup, name: str, task: Task, folder: Path, progress: Progress) -> None:
        assert isinstance(task, FunctionTask)
        nature = Nature(task)

        def now() -> float:
            return EPOCH_START + trio.current_time()

        self.watch = Watch(setup, nature)
        self.world = World(
            setup=setup,
            nature=nature,
            judge=judge_of(nature),
            network=MemoryNetwork(
                setup.seed,
                weather=Weather(loss=setup.loss),
                limits=Limits(),
                validator=dht.validator(now),
                selector=dht.selector(now),
            ),
            folder=folder,
            task=name,
            told=self.watch.told,
        )
        self.setup = setup
        self.peers: list[Peer] = []
        self._ring = Ring()
        self._progress = progress
        self._rng = self.world.stream("box")
        self._away: list[Peer] = []

    async def run(self) -> Findings:
        """All of it, from the first node's start to what came of it."""
        setup = self.setup
        async with trio.open_nursery() as nursery:
            for number in range(setup.nodes):
                self._add(nursery, honest=number >= setup.liar_count, born=0)
            for number in range(1, setup.rounds + 1):
                await trio.sleep_until(number * ROUND_S + _LOOK_S)
                self.watch.look(number, self.peers)
                self._progress(number, setup.rounds)
                self._divide(number)
                if setup.attack == "all":
                    self._return(nursery, number)
                if setup.churn and number % setup.away_rounds == 0:
                    self._change(nursery, number)
            found = self.watch.findings(self.peers)
            nursery.cancel_scope.cancel()
        return found

    def _add(self, nursery: trio.Nursery, *, honest: bool, born: int) -> None:
        number = len(self.peers)
        peer: Peer
        if honest:
            peer = Peer(self.world, f"node-{number}")
            self.watch.honest.add(peer.name)
        else:
            peer = Liar(self.world, f"liar-{number}", self.setup.attack, self._ring, born=born)
        self.peers.append(peer)
        nursery.start_soon(self._start, peer)

    async def _start(self, peer: Peer) -> None:
        await trio.sleep(self.world.stream(peer.name, "start").uniform(0.0, _LATEST_START_S))
        await peer.live()

    def _divide(self, number: int) -> None:
        """Cut half of the nodes off, or let them back."""
        begins, ends = self.setup.split
        if begins < ends and number == begins:
            self.world.network.divide([[peer.peer for peer in self.peers[::2]]])
        elif begins < ends and number == ends:
            self.world.network.heal()

    def _return(self, nursery: trio.Nursery, number: int) -> None:
        """Let liars whom most honest nodes have banned come back under new names."""
        now = self.world.now()
        judges = [peer.mesh.ledger for peer in self.peers if peer.honest and peer.mesh is not None]
        for liar in [peer for peer in self.peers if isinstance(peer, Liar) and peer.present]:
            if sum(ledger.ban(liar.peer, now) is not None for ledger in judges) > len(judges) / 2:
                liar.leave()
                self._add(nursery, honest=False, born=number)

    def _change(self, nursery: trio.Nursery, number: int) -> None:
        """Let those who were away come back, and others leave; towards the end all come back and stay."""
        for peer in self._away:
            nursery.start_soon(partial(self._start, peer))
        self._away = []
        if number < _SETTLED * self.setup.rounds:
            here = [peer for peer in self.peers if peer.present]
            count = min(len(here), round(self.setup.churn * self.setup.nodes))
            self._away = self._rng.sample(here, count)
            for peer in self._away:
                peer.leave()

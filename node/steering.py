"""What the owner may order a running search to do, carried out between two evaluations of it."""

from collections.abc import Awaitable, Callable

import trio

from evaluator.spaces import class_admits
from genome import Birth, Genome, Proposal, SearchSpace
from node import control
from node.errors import NotFoundError, SearchError, leaves
from node.orders import (
    Answer,
    Ban,
    Done,
    NodeState,
    Order,
    Pause,
    Queue,
    Resume,
    Status,
    Stop,
    Unban,
    Verify,
)
from node.output import say
from node.schedule import Schedule
from node.search import UNLIMITED, Disk, SearchLoop, SearchState
from node.settings import identity_path
from node.store.records import Reader
from node.store.writer import Writer
from node.text import short

__all__ = ["IMPORTED", "MeshOrders", "Steering", "still_queued"]

IMPORTED = Birth(parents=(), operator="import/1", seed=0)
"""The birth of a genome that its owner gives."""

MeshOrders = Callable[[Ban | Unban | Verify], Awaitable[Answer]]
"""Carries out the orders that concern peers and their claims."""


_MOST_AGAIN = 64


class Steering:
    """Takes orders at the store's socket. `stop` ends the search; `mesh_orders` is None for a search without peers."""

    def __init__(
        self,
        *,
        writer: Writer,
        disk: Disk,
        space: SearchSpace,
        state: SearchState,
        schedule: Schedule,
        loop: SearchLoop,
        stop: Callable[[], None],
        mesh_orders: MeshOrders | None,
    ) -> None:
        self._writer = writer
        self._disk = disk
        self._space = space
        self._state = state
        self._schedule = schedule
        self._loop = loop
        self._stop = stop
        self._mesh_orders = mesh_orders
        self._again, self._waiting = trio.open_memory_channel[Genome](_MOST_AGAIN)
        self._scored = trio.Event()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take orders until cancelled. A search whose socket cannot be made goes on without, and says so."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._score_again)
            try:
                path = control.control_path(self._writer.path, identity_path().parent)
                await nursery.start(control.serve, path, self.obey)
            except* control.ControlError as group:
                say(f"this search takes no orders: {'; '.join(str(error) for error in leaves(group))}")
            task_status.started()

    async def obey(self, order: Order) -> Answer:
        """Carry out one order. Raises EqmeshError with the reason where it cannot be."""
        match order:
            case Status():
                return self.status()
            case Pause() | Resume():
                return await self._hold(on=isinstance(order, Pause))
            case Stop():
                self._state.stopped = "stopped by its owner"
                self._stop()
                return Done(said="The search ends; the same command goes on from there.")
            case Queue():
                return await self._queue(order)
            case Verify():
                return await self._verify(order)
            case Ban() | Unban():
                return await self._of_mesh(order)

    def status(self) -> NodeState:
        """What the search is doing."""
        loop, limit = self._loop, self._state.limit
        return NodeState(
            doing="paused" if loop.paused else loop.stage,
            run=self._state.run,
            task=self._state.spec.task,
            evaluations=self._state.evaluations,
            limit=None if limit == UNLIMITED else limit,
            training=loop.training,
            queued=self._schedule.queued,
            mesh=self._mesh_orders is not None,
        )

    async def _hold(self, *, on: bool) -> Answer:
        if self._loop.paused == on:
            return Done(said="The search is paused already." if on else "The search is not paused.")
        self._loop.hold(on=on)
        await self._write("run.paused" if on else "run.unpaused", {"run": self._state.run})
        under_way = f"; {self._loop.training} under way go on" if on and self._loop.training else ""
        return Done(said=f"The search is paused{under_way}." if on else "The search goes on.")

    async def _queue(self, order: Queue) -> Answer:
        genome = _genome_of(order.genome)
        self._space.check(genome)
        spec = self._state.spec
        if not class_admits(spec.arithmetic, genome):
            raise SearchError(
                f"the arithmetic class {spec.arithmetic} of this run expects genomes that it can train, got one of "
                "another class. Choose genes that it admits."
            )
        if spec.look_behind is not None:
            raise SearchError(
                "a run with --reproducible follows from its seed alone, so nothing can be queued in it. Train the "
                "genome with `eqmesh evaluate`, or import it for another run."
            )
        if self._loop.stage != "running" or self._schedule.asked >= self._state.limit:
            raise SearchError(
                "the search has asked for all its evaluations. Go on with a larger --evaluations, then queue."
            )
        self._schedule.queue(Proposal(genome=genome, birth=IMPORTED))
        await self._write("genome.queued", {"run": self._state.run, "genome": genome.id}, genome)
        self._loop.nudge()
        return Done(said=f"{short(genome.id)} is trained next.")

    async def _verify(self, order: Verify) -> Answer:
        target = order.target.lower()
        found = [genome for id_, genome in self._state.genomes.items() if id_.startswith(target)]
        if len(found) > 1:
            raise NotFoundError(f"several genomes of this run start with {target!r}. Give more digits.")
        if not found:
            if self._mesh_orders is None:
                raise NotFoundError(
                    f"no genome of this run starts with {target!r}. `eqmesh front` shows ids."
                )
            return await self._mesh_orders(order)
        (genome,) = found
        try:
            self._again.send_nowait(genome)
        except trio.WouldBlock as error:
            raise SearchError(f"{_MOST_AGAIN} genomes wait to be scored again. Wait for some.") from error
        except trio.ClosedResourceError as error:
            raise SearchError("the search ends just now. Start it again, then verify.") from error
        return Done(said=f"{short(genome.id)} is trained on one more fresh seed.")

    async def _of_mesh(self, order: Ban | Unban) -> Answer:
        if self._mesh_orders is None:
            raise SearchError(
                "this search has no peers, so none can be banned. Order it of a node of a mesh."
            )
        return await self._mesh_orders(order)

    async def finish(self) -> None:
        """Wait until all that was ordered to be scored again is on record; nothing more of it is taken."""
        await self._again.aclose()
        await self._scored.wait()

    async def _score_again(self) -> None:
        async for genome in self._waiting:
            await self._loop.score_once_more(genome)
        self._scored.set()

    async def _write(self, kind: str, body: dict[str, object], genome: Genome | None = None) -> None:
        def act() -> None:
            if genome is not None:
                self._writer.import_genome(genome, IMPORTED)
            self._writer.event(kind, body)

        await self._disk(act)


def _genome_of(document: dict[str, object]) -> Genome:
    """The genome of a document as `eqmesh genome export` writes it. Raises GenomeError, SearchError."""
    stated = document.get("genome")
    genome = Genome.from_json({name: value for name, value in document.items() if name != "genome"})
    if stated is not None and stated != genome.id:
        raise SearchError(
            f"the genome's JSON states the id {str(stated)[:80]!r}, its genes have {genome.id!r}. Export it again."
        )
    return genome


def still_queued(reader: Reader, run: int, space: SearchSpace) -> list[Proposal]:
    """Genomes that were queued in a run and not trained before it ended, in their order."""
    genomes = [reader.genome(name) for name in reader.queued(run)]
    for genome in genomes:
        space.check(genome)  # one run, one space: it was checked when it was queued
    return [Proposal(genome=genome, birth=IMPORTED) for genome in genomes]

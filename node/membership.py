"""What makes a search a node of the mesh: an identity, a transport, and how often its state is told."""

import platform
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from node.control import event_of
from node.errors import leaves
from node.logs import Log
from node.mesh import FolderVault, Judge, Mesh, MeshSettings, Trainings, Workbench
from node.orders import Answer, Ban, Done, Unban, Verify
from node.protocol import dht
from node.protocol.identity import Identity
from node.protocol.trust import TrustSettings
from node.schedule import Schedule
from node.search import Disk
from node.settings import Settings
from node.store.beliefs import BeliefWriter
from node.store.records import Reader
from node.store.writer import Writer
from node.transports.base import Selector, Status, Transport, TransportError, Validator
from node.transports.watching import watch

__all__ = ["Membership", "vault_of"]

MakeTransport = Callable[[Validator, Selector], Transport]


def vault_of(store: Path) -> FolderVault:
    """Where a store's node keeps the evidence of its claims."""
    return FolderVault(store.with_name(f"{store.name}.evidence"))


@dataclass(frozen=True, kw_only=True)
class Membership:
    """How a node takes part. `told` is called with the transport's state at each change, and at the end."""

    identity: Identity
    make_transport: MakeTransport
    now: Callable[[], float]
    told: Callable[[Status, Transport], None]
    log: Log

    def mesh(
        self,
        settings: Settings,
        judge: Judge,
        workbench: Workbench,
        *,
        writer: Writer,
        reader: Reader,
        disk: Disk,
        spool: Path,
        schedule: Schedule,
    ) -> Mesh:
        """The node's part in the mesh of the settings' task; nothing is opened yet."""
        vault = vault_of(writer.path)
        evidence = vault.folder.with_name(f"{vault.folder.name}.index")
        mesh = Mesh(
            identity=self.identity,
            transport=self.make_transport(dht.validator(self.now), dht.selector(self.now)),
            judge=judge,
            workbench=workbench,
            vault=vault,
            writer=BeliefWriter(writer),
            reader=reader,
            disk=disk,
            settings=MeshSettings(
                trust=TrustSettings(check_share=settings.check_share),
                claim_share=settings.claim_share,
                evidence_bytes=settings.evidence_disk * 2**20,
            ),
            rng=random.Random(random.SystemRandom().getrandbits(64)),
            now=self.now,
            trainings=Trainings(
                judge, task=settings.task, space=settings.space, deadline_s=settings.deadline
            ),
            spool=spool,
            evidence_file=evidence,
            device=f"{platform.machine()} {platform.system()}",
            welcome=schedule.host,
            shun=schedule.shun,
            log=self.log,
        )
        # What an interrupted check left behind belongs to nobody.
        for name in vault.names() - mesh.evidence.blobs():
            vault.drop(name)
        return mesh

    async def serve(
        self,
        mesh: Mesh,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled.

        Raises TransportError where the transport cannot start at all.
        """

        async with trio.open_nursery() as nursery:

            async def ready() -> None:
                nursery.start_soon(self._watch, mesh)
                task_status.started()

            try:
                await mesh.run(ready)
            except* TransportError as group:
                mesh.books.log("mesh.failed", why="; ".join(str(error) for error in leaves(group)))
                await mesh.books.flush()
                raise
            finally:
                self.told(mesh.transport.status(), mesh.transport)

    async def _watch(self, mesh: Mesh) -> None:
        """Tell of the transport's state whenever it changes, and record how the node is reached and what is wrong."""
        recorded: tuple[str, str] | None = None

        def told(status: Status) -> None:
            nonlocal recorded
            self.told(status, mesh.transport)
            if (status.reachability, status.trouble) != recorded:
                recorded = (status.reachability, status.trouble)
                mesh.books.log(
                    "mesh.status",
                    reachability=status.reachability,
                    trouble=status.trouble,
                    addresses=list(status.addresses),
                )

        await watch(mesh.transport, told, partial(self.log, "transport.contained"))

    async def obey(self, mesh: Mesh, order: Ban | Unban | Verify) -> Answer:
        """Do what the owner says of peers and their claims. Raises EqmeshError with the reason where it cannot be."""
        if isinstance(order, Verify):
            return Done(said=mesh.urge(order.target.lower()))
        await mesh.sanction(event_of(order, self.now()))
        return Done()

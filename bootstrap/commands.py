"""`eqmesh node run`, `eqmesh join` and `eqmesh bootstrap`: being a peer among others."""

import os
import random
import signal
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import trio
from cyclopts import Parameter

from bootstrap import seed as seeds
from bootstrap.addresses import check_own, first_calls, save
from node import output
from node.commands.peers import me
from node.commands.search import SearchFlags
from node.errors import NodeError
from node.keyfile import load_or_make
from node.logs import node_log
from node.membership import Membership
from node.protocol import dht
from node.search import UNLIMITED, SearchState
from node.service import run_search, wall_clock
from node.settings import Settings, identity_path, resolve
from node.transports.base import Selector, Status, Transport, Validator
from node.watch import LineWatcher

__all__ = ["bootstrap", "join", "run"]

Join = Annotated[
    list[str] | None,
    Parameter(
        name="--join",
        negative="",
        help="Address of a peer to call first, ending in /p2p/ID; may be repeated.",
    ),
]
Listen = Annotated[
    list[str] | None,
    Parameter(
        name="--listen",
        negative="",
        help="Address to listen at, such as /ip4/0.0.0.0/tcp/4001. [default: /ip4/0.0.0.0/tcp/0, any free port]",
    ),
]
Advertise = Annotated[
    list[str] | None,
    Parameter(
        name="--advertise", negative="", help="Address to tell others instead, behind a forwarded port."
    ),
]
BuiltIn = Annotated[
    bool | None,
    Parameter(name="--built-in", help="Call the addresses that come with the program. [default: yes]"),
]
Lan = Annotated[
    bool | None,
    Parameter(name="--lan", help="Find peers on the local network, and be found there. [default: no]"),
]
CheckShare = Annotated[
    float | None,
    Parameter(
        name="--check-share", help="Share of the compute that checks may take, .05 to .25. [default: 0.15]"
    ),
]
ClaimShare = Annotated[
    float | None,
    Parameter(
        name="--claim-share", help="Share of the trainings that are run again as claims. [default: 0.25]"
    ),
]
EvidenceDisk = Annotated[
    int | None,
    Parameter(name="--evidence-disk", help="MiB on disk for the evidence of own claims. [default: 2048]"),
]


def run(
    *,
    join: Join = None,
    listen: Listen = None,
    advertise: Advertise = None,
    built_in: BuiltIn = None,
    lan: Lan = None,
    check_share: CheckShare = None,
    claim_share: ClaimShare = None,
    evidence_disk: EvidenceDisk = None,
    flags: SearchFlags | None = None,
) -> int:
    """Search as a peer of the mesh: tell others what is found, check what they tell, and search on from both.

    It goes on until Ctrl-C, or --minutes are over; without --evaluations it never stops searching. Standard error
    carries the log. `eqmesh front` and `eqmesh peers list` look at the store meanwhile.

    Example: eqmesh node run --task digits --join /ip4/192.0.2.1/tcp/4001/p2p/12D3Koo...
    """
    given = asdict(flags) if flags else {}
    given |= {
        "join": join,
        "listen": listen,
        "advertise": advertise,
        "built_in": built_in,
        "lan": lan,
        "check_share": check_share,
        "claim_share": claim_share,
        "evidence_disk": evidence_disk,
    }
    settled = resolve(given, folder=Path.cwd(), environ=os.environ)
    settings = settled.settings
    if settled.origins["evaluations"] == "default":
        settings = msgspec.structs.replace(settings, evaluations=UNLIMITED)
    if settings.reproducible:
        raise NodeError(
            "a node hears from others at no fixed time, so --reproducible has no meaning here. Leave it out, or use "
            "`eqmesh search`."
        )
    state = _run(settings)
    return 130 if state.stopped and state.stopped.startswith("stopped") else 0


def join(
    address: Annotated[str, Parameter(help="Address of a peer, such as `eqmesh bootstrap` prints it.")],
    /,
    *,
    lan: Lan = None,
    listen: Listen = None,
    flags: SearchFlags | None = None,
) -> int:
    """Join a mesh by the address of one of its peers, and search as a peer of it: `eqmesh node run --join ADDRESS`.

    Example: eqmesh join /ip4/192.0.2.1/tcp/4001/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp
    """
    return run(join=[address], listen=listen, lan=lan, flags=flags)


def bootstrap(
    *,
    listen: Listen = None,
    join: Join = None,
    advertise: Advertise = None,
    built_in: BuiltIn = None,
    lan: Lan = None,
) -> int:
    """Introduce peers to each other: a node without search, which the others name in `eqmesh join`.

    Prints its addresses, one a line, as soon as it can be reached. Runs until Ctrl-C.

    Example: eqmesh bootstrap --listen /ip4/0.0.0.0/tcp/4001
    """
    given = {"join": join, "listen": listen, "advertise": advertise, "built_in": built_in, "lan": lan}
    settings = resolve(given, folder=Path.cwd(), environ=os.environ).settings
    stopped = trio.run(_bootstrap, settings)
    return 130 if stopped else 0


def _run(settings: Settings) -> SearchState:
    known = first_calls(settings, me(), random.Random(random.SystemRandom().getrandbits(64)))
    check_own(settings)
    identity = load_or_make(identity_path())
    log = node_log()
    store = Path(settings.store)

    def make(validator: Validator, selector: Selector) -> Transport:
        return _transport(settings, identity.seed, known, validator, selector)

    def told(status: Status, transport: Transport) -> None:
        log(
            "mesh.status",
            reachability=status.reachability,
            peers=len(status.peers),
            addresses=" ".join(_full(status.addresses, transport.me)),
            trouble=status.trouble,
        )
        try:
            save(store, transport.known())
        except OSError as error:
            log("peers.unsaved", error=error.strerror)  # a node goes on without the list

    log("node.starts", peer=identity.peer, store=str(store), task=settings.task, calls=len(known))
    membership = Membership(identity=identity, make_transport=make, now=wall_clock, told=told, log=log)
    with LineWatcher() as watcher:
        return trio.run(run_search, settings, watcher, membership)


async def _bootstrap(settings: Settings) -> bool:
    known = first_calls(settings, me(), random.Random(random.SystemRandom().getrandbits(64)))
    check_own(settings)
    identity = load_or_make(identity_path())
    transport = _transport(
        settings, identity.seed, known, dht.validator(wall_clock), dht.selector(wall_clock)
    )
    log = node_log()
    shown: set[str] = set()

    def told(status: Status) -> None:
        fresh = [address for address in _full(status.addresses, identity.peer) if address not in shown]
        if fresh:
            shown.update(fresh)
            output.write("\n".join(fresh))
        log("mesh.status", reachability=status.reachability, peers=len(status.peers), trouble=status.trouble)

    async with trio.open_nursery() as nursery:
        stopped = False

        async def wait_for_signal() -> None:
            nonlocal stopped
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    stopped = True
                    nursery.cancel_scope.cancel()

        nursery.start_soon(wait_for_signal)
        nursery.start_soon(seeds.serve, transport, told, partial(log, "transport.contained"))
    return stopped


def _transport(
    settings: Settings, seed: bytes, known: Sequence[str], validator: Validator, selector: Selector
) -> Transport:
    try:
        # Two seconds and 87 MB: only where a mesh is asked for.
        from node.transports.p2p.transport import Libp2p  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise NodeError(
            f"a mesh needs the extra `mesh` (package {error.name} is not installed). Install it with "
            "`pip install 'eqmesh[mesh]'`, or `make live` in a clone; it is built with gcc, python3-dev, libgmp-dev. "
            "`eqmesh search` needs none of it."
        ) from error
    return Libp2p(
        seed,
        settings.listen,
        validator=validator,
        selector=selector,
        rng=random.Random(random.SystemRandom().getrandbits(64)),
        known=known,
        advertised=settings.advertise,
        lan=settings.lan,
    )


def _full(addresses: Sequence[str], peer: str) -> list[str]:
    return [address if "/p2p/" in address else f"{address}/p2p/{peer}" for address in addresses]

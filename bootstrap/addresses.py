"""Where a node's list of met peers is kept, beside its store, whom a node calls first, and where it can be called."""

import random
from collections.abc import Iterable
from pathlib import Path

from bootstrap.peers import AddressError, choose, merge, parse, peer_of, reachable, read, starting, write
from node.commands.doctor import bind_refusal
from node.settings import Settings

__all__ = ["book_of", "check_own", "first_calls", "save"]

_MOST_SAVED = 256
_MOST_CALLED = 64


def book_of(store: Path) -> Path:
    """The file beside a store that lists the peers its node has met."""
    return store.with_name(f"{store.name}.peers")


def check_own(settings: Settings) -> None:
    """Raise AddressError where a node could not listen, or others could not call it, at the addresses of the settings.

    Asked before anything is opened, so that a port in use leaves nothing behind.
    """
    for address in settings.listen:
        why = bind_refusal(address)
        if why:
            raise AddressError(
                f"cannot listen at {address}: {why} Name another --listen, or stop who holds it."
            )
    for address in settings.advertise:
        try:
            reachable(address)
        except AddressError as error:
            raise AddressError(f"--advertise: {error}") from error


def first_calls(settings: Settings, me: str | None, rng: random.Random) -> tuple[str, ...]:
    """Whom to call first: named by the user, met before, and, unless switched off, those that come with the program.

    Of a long list of those met before it is a varied few. `me` is the own peer id, if there is one yet. Raises
    AddressError for an address that is none, or is this node's.
    """
    wanted = merge([parse(address) for address in settings.join])
    for address in wanted:
        if peer_of(address) == me:
            raise AddressError(
                f"a peer other than this node was expected, got {address}: its key is this node's own. Two nodes must "
                "not share one: give each an EQMESH_STATE_DIR."
            )
    book = book_of(Path(settings.store))
    try:
        saved = read(book.read_text(encoding="utf-8")) if book.exists() else ()
    except (AddressError, UnicodeDecodeError) as error:
        raise AddressError(
            f"{book} must hold addresses of peers, one a line: {error} Correct or delete it."
        ) from error
    # Two nodes that shared a key once have saved each other.
    saved = tuple(address for address in saved if peer_of(address) != me)
    # Of networks as different as can be: whoever has flooded the list from one gets its turns, not the whole of it.
    varied = saved if len(saved) <= _MOST_CALLED else choose(saved, _MOST_CALLED, rng, taken=wanted)
    return starting(wanted, varied, built_in=settings.built_in)


def save(store: Path, known: Iterable[str]) -> None:
    """Write the peers that were met, the latest known first, for the next start; what cannot be called is left out."""
    found = []
    for address in known:
        try:
            found.append(parse(address))
        except AddressError:
            continue
    book = book_of(store)
    partial = book.with_name(f"{book.name}.partial")
    partial.write_text(write(found[:_MOST_SAVED]), encoding="utf-8")
    partial.replace(book)

"""Where a node's list of met peers is kept, beside its store, and whom a node calls first."""

from collections.abc import Iterable
from pathlib import Path

from bootstrap.peers import AddressError, merge, parse, read, starting, write
from node.settings import Settings

__all__ = ["book_of", "first_calls", "save"]

_MOST_SAVED = 256


def book_of(store: Path) -> Path:
    """The file beside a store that lists the peers its node has met."""
    return store.with_name(f"{store.name}.peers")


def first_calls(settings: Settings, named: Iterable[str] = ()) -> tuple[str, ...]:
    """Whom to call first: named by the user, met before, and, unless switched off, those that come with the program.

    Raises AddressError for an address that is none.
    """
    wanted = merge([parse(address) for address in (*named, *settings.join)])
    book = book_of(Path(settings.store))
    try:
        saved = read(book.read_text(encoding="utf-8")) if book.exists() else ()
    except (AddressError, UnicodeDecodeError) as error:
        raise AddressError(
            f"{book} must hold addresses of peers, one a line: {error} Correct or delete it."
        ) from error
    return starting(wanted, saved, built_in=settings.built_in)


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

"""One file over HTTP from one mirror, bounded in size and in time."""

import io
import time
from typing import IO

from evaluator.errors import DataError
from evaluator.tasks.data.catalogue import DataFile
from evaluator.tasks.data.contents import plain_bytes

__all__ = ["TIMEOUT_S", "download"]

TIMEOUT_S = 10.0
SLOWEST_BYTES_PER_S = 16 * 1024


class Bounded(io.RawIOBase):
    """A sink that gives up on a mirror which sends too much, or too slowly to be waited for."""

    def __init__(self, into: IO[bytes], limit_bytes: int, timeout_s: float) -> None:
        self.into, self.limit_bytes = into, limit_bytes
        self.deadline = time.monotonic() + timeout_s + limit_bytes / SLOWEST_BYTES_PER_S
        self.got = 0

    def write(self, chunk: bytes) -> int:  # type: ignore[override] # pooch writes bytes, nothing else
        """Take one chunk; raises DataError past the limit or the deadline."""
        self.got += len(chunk)
        if self.got > self.limit_bytes:
            raise DataError(f"expected at most {self.limit_bytes} bytes, got more.")
        if time.monotonic() > self.deadline:
            raise DataError(f"expected at least {SLOWEST_BYTES_PER_S} bytes/s, got {self.got} bytes in all.")
        return self.into.write(chunk)


def download(file: DataFile, mirror: str, *, timeout_s: float = TIMEOUT_S) -> bytes:
    """Fetch NAME.gz from under `mirror` and give its checked, decompressed bytes.

    `timeout_s` is the longest silence, for the connection and for each read. Raises DataError with the reason.
    """
    import pooch  # noqa: PLC0415 - only a download needs it, and the HTTP client below it

    url = f"{mirror}{file.name}.gz"
    sink = io.BytesIO()
    # A server may send the file gzipped, or say that it is gzipped in transit, and then it arrives plain.
    bounded = Bounded(sink, file.size_bytes + 4096, timeout_s)
    try:
        pooch.HTTPDownloader(timeout=timeout_s, chunk_size=1 << 16)(url, bounded, None)
    except OSError as error:  # the ancestor of everything that requests raises
        raise DataError(f"{url}: {brief(error)}") from error
    except DataError as error:
        raise DataError(f"{url}: {error}") from error
    return plain_bytes(file, sink.getvalue(), url)


def brief(error: OSError) -> str:
    """Give the last cause's own words: the first ones of a failed connection are nested five deep."""
    deepest: BaseException = error
    while (below := deepest.__cause__ or deepest.__context__) is not None:
        deepest = below
    text = str(deepest) or type(deepest).__name__
    return text if len(text) <= 200 else text[:197] + "..."

"""One file over HTTP from one mirror, bounded in size and in time."""

import time

from evaluator.errors import DataError
from evaluator.tasks.data.catalogue import DataFile
from evaluator.tasks.data.contents import plain_bytes

__all__ = ["TIMEOUT_S", "download"]

TIMEOUT_S = 10.0
SLOWEST_BYTES_PER_S = 16 * 1024
CHUNK_BYTES = 64 * 1024


class Bounded:
    """Collects chunks, and gives up on a mirror which sends too much, or too slowly to be waited for."""

    def __init__(self, limit_bytes: int, timeout_s: float) -> None:
        self.body = bytearray()
        self.limit_bytes = limit_bytes
        self.deadline = time.monotonic() + timeout_s + limit_bytes / SLOWEST_BYTES_PER_S

    def take(self, chunk: bytes) -> None:
        """Take one chunk; raises DataError past the limit or the deadline."""
        self.body += chunk
        if len(self.body) > self.limit_bytes:
            raise DataError(f"expected at most {self.limit_bytes} bytes, got more.")
        if time.monotonic() > self.deadline:
            raise DataError(
                f"expected at least {SLOWEST_BYTES_PER_S} bytes/s, got {len(self.body)} bytes in all."
            )


def download(file: DataFile, mirror: str, *, timeout_s: float = TIMEOUT_S) -> bytes:
    """Fetch NAME.gz from under `mirror` and give its checked, decompressed bytes.

    `timeout_s` is the longest silence, for the connection and for each read. Raises DataError with the reason.
    """
    # Here, not above: only a download needs the client.
    import requests  # noqa: PLC0415
    import urllib3  # noqa: PLC0415

    url = f"{mirror}{file.name}.gz"
    bounded = Bounded(file.size_bytes + 4096, timeout_s)
    try:
        with requests.get(url, stream=True, timeout=timeout_s) as response:
            response.raise_for_status()
            # What has come, not a whole chunk: a mirror that sends a byte at a time must not outlast the deadline.
            # A server may send the file gzipped, or say that it is gzipped in transit, and then it arrives plain.
            while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
                bounded.take(chunk)
    except (OSError, urllib3.exceptions.HTTPError) as error:  # requests' errors are OSErrors
        raise DataError(f"{url}: {brief(error)}") from error
    except DataError as error:
        raise DataError(f"{url}: {error}") from error
    return plain_bytes(file, bytes(bounded.body), url)


def brief(error: Exception) -> str:
    """Give the last cause's own words: the first ones of a failed connection are nested five deep."""
    deepest: BaseException = error
    while (below := deepest.__cause__ or deepest.__context__) is not None:
        deepest = below
    text = str(deepest) or type(deepest).__name__
    return text if len(text) <= 200 else text[:197] + "..."

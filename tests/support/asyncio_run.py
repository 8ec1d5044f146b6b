"""Running asyncio code in a test."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["run_asyncio"]

T = TypeVar("T")


def run_asyncio(act: Callable[[], Awaitable[T]], *, most_s: float = 120.0) -> T:
    """What `act` gives, within `most_s` seconds.

    In a thread of its own, for Playwright leaves a loop running in this one.
    """

    async def bounded() -> T:
        async with asyncio.timeout(most_s):
            return await act()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(bounded())).result()

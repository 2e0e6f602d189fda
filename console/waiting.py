"""Waiting for something that cannot be awaited: a file, a row, another process. The one place that polls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from tonewatch.clock import SYSTEM, Clock

Found = TypeVar("Found")


async def until(
    look: Callable[[], Awaitable[Found | None]], seconds: float, *, every: float = 0.25, clock: Clock = SYSTEM
) -> Found | None:
    """Look every `every` seconds until there is something (true), at most `seconds`; None when the time is over."""
    deadline = clock.monotonic() + seconds
    while True:
        found = await look()
        if found:
            return found
        left = deadline - clock.monotonic()
        if left <= 0:
            return None
        await asyncio.sleep(min(every, left))


async def ticking(seconds: float) -> AsyncIterator[None]:
    """For ever, once every so many seconds: for what is drawn anew whether or not something happened."""
    while True:
        yield
        await asyncio.sleep(seconds)

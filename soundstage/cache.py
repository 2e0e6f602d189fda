"""A cache in front of something slow, where any number of equal requests at once make one request upstream."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")
Fetch = Callable[[str], Awaitable[Value]]


class SingleFlight(Generic[Value]):
    """Least-recently-used cache with a lifetime per value.

    `fetch` gets a value from upstream (its errors reach everyone who waits and are not kept); `lifetime` says for how
    many seconds a value may be served, 0 for not at all; `monotonic` tells the time in seconds.
    """

    def __init__(
        self,
        fetch: Fetch[Value],
        lifetime: Callable[[str, Value], float],
        monotonic: Callable[[], float],
        capacity: int = 512,
    ) -> None:
        self._fetch = fetch
        self._lifetime = lifetime
        self._monotonic = monotonic
        self._capacity = capacity
        self._kept: OrderedDict[str, tuple[float, Value]] = OrderedDict()
        self._flights: dict[str, asyncio.Task[Value]] = {}

    async def get(self, key: str) -> tuple[Value, bool]:
        """The value and whether it was at hand. A caller who gives up does not end the flight of the others."""
        kept = self._kept.get(key)
        if kept is not None and self._monotonic() < kept[0]:
            self._kept.move_to_end(key)
            return kept[1], True
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._fly(key))
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return await asyncio.shield(flight), False

    async def _fly(self, key: str) -> Value:
        value = await self._fetch(key)
        lifetime = self._lifetime(key, value)
        if lifetime > 0:
            self._kept[key] = (self._monotonic() + lifetime, value)
            self._kept.move_to_end(key)
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return value

from __future__ import annotations

import asyncio

import pytest

from soundstage.cache import SingleFlight


class Upstream:
    """Counts the requests and answers when it is let."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.gate = asyncio.Event()
        self.now = 0.0

    async def fetch(self, key: str) -> str:
        self.requests.append(key)
        await self.gate.wait()
        if key == "broken":
            raise OSError("away")
        return f"{key} {len(self.requests)}"

    def cache(self, lifetime: float = 1.0, capacity: int = 10) -> SingleFlight[str]:
        return SingleFlight(self.fetch, lambda key, value: lifetime, lambda: self.now, capacity)


async def test_fifty_requests_at_once_make_one_upstream() -> None:
    upstream = Upstream()
    cache = upstream.cache()
    callers = [asyncio.create_task(cache.get("a")) for _ in range(50)]
    await asyncio.sleep(0)
    upstream.gate.set()
    answers = await asyncio.gather(*callers)
    assert upstream.requests == ["a"]
    assert {value for value, _ in answers} == {"a 1"}


async def test_value_is_served_until_its_lifetime_is_over() -> None:
    upstream = Upstream()
    upstream.gate.set()
    cache = upstream.cache(lifetime=1.0)
    assert await cache.get("a") == ("a 1", False)
    upstream.now = 0.99
    assert await cache.get("a") == ("a 1", True)
    upstream.now = 1.0
    assert await cache.get("a") == ("a 2", False)


async def test_caller_who_gives_up_does_not_end_the_flight_of_the_others() -> None:
    upstream = Upstream()
    cache = upstream.cache()
    first, second = asyncio.create_task(cache.get("a")), asyncio.create_task(cache.get("a"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    upstream.gate.set()
    assert await second == ("a 1", False)
    assert upstream.requests == ["a"]


async def test_error_reaches_everyone_who_waits_and_is_not_kept() -> None:
    upstream = Upstream()
    upstream.gate.set()
    cache = upstream.cache()
    results = await asyncio.gather(cache.get("broken"), cache.get("broken"), return_exceptions=True)
    assert all(isinstance(result, OSError) for result in results)
    with pytest.raises(OSError, match="away"):
        await cache.get("broken")
    assert upstream.requests == ["broken", "broken"]


async def test_value_without_a_lifetime_is_not_kept_and_the_oldest_go_first() -> None:
    upstream = Upstream()
    upstream.gate.set()
    fleeting = upstream.cache(lifetime=0.0)
    await fleeting.get("a")
    assert (await fleeting.get("a"))[1] is False
    small = upstream.cache(lifetime=9.0, capacity=2)
    for key in "abc":
        await small.get(key)
    assert (await small.get("c"))[1] is True
    assert (await small.get("a"))[1] is False

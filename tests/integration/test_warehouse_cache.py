"""The cache with a real Redis, and without one."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from console.stack import processes, redis
from tonewatch.clock import ManualClock
from warehouse.cache import PAUSE_S, Cache

PASSWORD = "word"
START = datetime(2026, 1, 1, tzinfo=UTC)


class Server:
    """A redis-server that can be stopped, frozen and started again."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = redis.socket_url(self.socket, PASSWORD)
        self._folder = folder
        self._configuration = redis.write_configuration(folder, self.socket, PASSWORD)

    async def start(self) -> None:
        self.process = processes.spawn(
            [redis.program(), self._configuration], environment={}, log=self._folder / "log", folder=self._folder
        )
        async with asyncio.timeout(20):
            while not await redis.answers(self.socket, PASSWORD):
                await asyncio.sleep(0.02)

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@pytest.fixture
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    made = Server(tmp_path_factory.mktemp("redis"))
    await made.start()
    yield made
    made.end()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
async def cache(server: Server, clock: ManualClock) -> AsyncIterator[Cache]:
    made = Cache(server.url, clock)
    yield made
    await made.close()


async def test_the_live_picture_is_the_last_one_put_for_that_tenant(cache: Cache) -> None:
    assert await cache.live("demo") is None
    await cache.put_live("demo", {"tick": 1})
    await cache.put_live("demo", {"tick": 2, "time": START, "score": float("nan"), "text": "é"})
    assert await cache.live("demo") == {"tick": 2, "time": START.isoformat(), "score": "nan", "text": "é"}
    assert await cache.live("another") is None


async def test_a_limit_lets_so_many_through_per_window_tenant_and_name(cache: Cache) -> None:
    assert [await cache.allow("demo", "beacons", 3, 60) for _ in range(5)] == [True, True, True, False, False]
    assert await cache.allow("another", "beacons", 3, 60)
    assert await cache.allow("demo", "live", 3, 60)


async def test_a_limit_begins_anew_with_each_window(cache: Cache) -> None:
    async with asyncio.timeout(10):
        assert await cache.allow("demo", "beacons", 1, 0.2)
        while not await cache.allow("demo", "beacons", 1, 0.2):
            await asyncio.sleep(0.02)


async def test_with_redis_away_nothing_is_raised_and_every_limit_allows(
    server: Server, cache: Cache, clock: ManualClock
) -> None:
    await cache.put_live("demo", {"tick": 1})
    server.end()
    await cache.put_live("demo", {"tick": 2})
    assert await cache.live("demo") is None
    assert [await cache.allow("demo", "beacons", 1, 60) for _ in range(3)] == [True] * 3
    clock.advance(PAUSE_S)
    assert await cache.live("demo") is None
    await server.start()
    clock.advance(PAUSE_S)
    await cache.put_live("demo", {"tick": 3})
    assert await cache.live("demo") == {"tick": 3}


async def test_a_frozen_redis_costs_one_short_wait_and_then_none(
    server: Server, cache: Cache, clock: ManualClock
) -> None:
    await cache.put_live("demo", {"tick": 1})
    server.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    assert [await cache.allow("demo", "beacons", 1, 60) for _ in range(1000)] == [True] * 1000
    assert time.monotonic() - started < 2
    server.process.send_signal(signal.SIGCONT)
    clock.advance(PAUSE_S)
    assert await cache.live("demo") == {"tick": 1}


async def test_something_else_in_the_pictures_place_is_no_picture(cache: Cache) -> None:
    assert cache._redis is not None  # to write what put_live never would
    for rubbish in ("[]", "{", "1", ""):
        await cache._redis.set("tonewatch:live:demo", rubbish)
        assert await cache.live("demo") is None


@pytest.mark.parametrize("url", [None, "redis://:word@127.0.0.1:1/0", "unix://:word@/nowhere/redis.sock"])
async def test_a_cache_without_redis_answers_as_one_that_is_away(url: str | None) -> None:
    cache = Cache(url)
    await cache.put_live("demo", {"tick": 1})
    assert await cache.live("demo") is None
    assert await cache.allow("demo", "beacons", 0, 60)
    await cache.close()

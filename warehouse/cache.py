"""The cache: live pictures, rate limits and features in Redis. Nothing is only here: Redis may be away at any time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE
from redis.exceptions import RedisError

from tonewatch.clock import SYSTEM, Clock
from warehouse.rows import document

TIMEOUT_S = 0.25
#: After a failure nobody asks for so long: a door that waited for a dead cache with each beacon would be shut.
PAUSE_S = 1.0
#: A picture older than this is not live.
PICTURE_S = 60

# Counts and starts the window in one step; the window begins with the first call in it.
ALLOW = """
local count = redis.call('incr', KEYS[1])
if count == 1 then redis.call('pexpire', KEYS[1], ARGV[1]) end
return count
"""


class Cache:
    """A Redis that may be away: then there is no live picture, and every limit allows. No method raises for that."""

    def __init__(self, redis_url: str | None, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._quiet_until = float("-inf")
        self._redis = None if redis_url is None else _client(redis_url)

    async def close(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()

    async def put_live(self, tenant: str, picture: Mapping[str, Any]) -> None:
        """Keep the live picture of a tenant for a minute."""
        await self._ask("SET", f"tonewatch:live:{tenant}", document(picture), "EX", PICTURE_S)

    async def live(self, tenant: str) -> dict[str, Any] | None:
        """The live picture of a tenant; None: there is none, it is stale, or Redis is away."""
        found = await self._ask("GET", f"tonewatch:live:{tenant}")
        try:
            picture = json.loads(found) if found else None
        except ValueError:
            return None
        return picture if isinstance(picture, dict) else None

    async def put_features(self, tenant: str, view: int, packed: bytes, seconds: int, *, if_lost: bool = False) -> None:
        """Keep the newest rows of a tenant's view, all of them in one piece, for so long.

        if_lost: unless there is something by now, which then is newer.
        """
        await self._ask("SET", _features(tenant, view), packed, "EX", seconds, *(["NX"] if if_lost else []))

    async def features(self, tenant: str, view: int) -> bytes | None:
        """What `put_features` kept last; None: it has ended, was lost, or Redis is away (see `away`)."""
        found = await self._ask("GET", _features(tenant, view), raw=True)
        return found if isinstance(found, bytes) else None

    @property
    def away(self) -> bool:
        """Whether Redis did not answer just now, or there is none."""
        return self._redis is None or self._clock.monotonic() < self._quiet_until

    async def allow(self, tenant: str, name: str, limit: int, per_seconds: float) -> bool:
        """Whether this call is among the first `limit` of its window of `per_seconds`; True when Redis is away."""
        window_ms = max(1, round(per_seconds * 1000))
        count = await self._ask("EVAL", ALLOW, 1, f"tonewatch:limit:{tenant}:{name}", window_ms)
        return not isinstance(count, int) or count <= limit

    async def forget(self, tenant: str) -> None:
        """Drop everything of the tenant; what Redis cannot be told now ends by itself, features within hours."""
        await self._ask("DEL", f"tonewatch:live:{tenant}")
        for kind in ("limit", "features"):
            await self._drop(f"tonewatch:{kind}:{tenant}:*")

    async def _drop(self, pattern: str) -> None:
        cursor: Any = "0"
        while True:
            answer = await self._ask("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            if not answer:
                return
            cursor, found = answer
            if found:
                await self._ask("DEL", *found)
            if str(cursor) == "0":
                return

    async def _ask(self, *words: str | int | bytes, raw: bool = False) -> Any:
        """Redis's answer, as bytes where it is `raw`; None when there is no Redis or it does not answer in time."""
        if self._redis is None or self._clock.monotonic() < self._quiet_until:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                how = {NEVER_DECODE: True} if raw else {}
                answer: Any = await self._redis.execute_command(*words, **how)  # type: ignore[no-untyped-call]
                return answer
        except (RedisError, OSError, TimeoutError):
            self._quiet_until = self._clock.monotonic() + PAUSE_S
            return None


def _features(tenant: str, view: int) -> str:
    return f"tonewatch:features:{tenant}:{view}"


def _client(url: str) -> Redis:
    # No retries: the next tick or beacon comes soon enough.
    return Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )

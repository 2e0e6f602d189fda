"""An edge: answers players from a single-flight cache in front of the origin."""

from __future__ import annotations

import time

import httpx
from prometheus_client import Counter, Histogram

from soundstage import web
from soundstage.cache import SingleFlight
from soundstage.origin import BUCKETS, MediaServer
from soundstage.plain import plain_client
from soundstage.plan import RENDITIONS, Part, Plan
from soundstage.process import start

KEPT_PER_RENDITION = 20  # what the origin still has, and no more: memory must not grow for minutes after a start
UPSTREAM_TIMEOUT_S = 1.8  # below the players' time-out, so that they hear of a slow origin from us


class Edge(MediaServer):
    """Passes 404 on, answers 502 when the origin is away and 504 when it is slow."""

    def __init__(self, plan: Plan, part: Part) -> None:
        super().__init__(plan, part)
        capacity = KEPT_PER_RENDITION * len(plan.channels) * len(RENDITIONS)
        self._cache: SingleFlight[web.Response] = SingleFlight(self._fetch, self._lifetime, time.monotonic, capacity)
        self._hits = Counter("edge_cache_hits", "Answered from the cache", registry=self.registry)
        self._misses = Counter("edge_cache_misses", "Had to wait for the origin", registry=self.registry)
        self._errors = Counter("edge_upstream_errors", "The origin failed", registry=self.registry)
        self._seconds_up = Histogram("edge_upstream_seconds", "Origin's time", registry=self.registry, buckets=BUCKETS)
        self._client: httpx.AsyncClient | None = None

    async def work(self) -> None:
        base_url = f"http://127.0.0.1:{self.part.data_port}"  # the link to the origin
        async with plain_client(base_url=base_url, timeout=UPSTREAM_TIMEOUT_S) as client:
            self._client = client
            await self.run_until_cancelled()

    async def media(self, path: str) -> web.Response:
        response, at_hand = await self._cache.get(path)
        (self._hits if at_hand else self._misses).inc()
        return response

    def ready(self) -> bool:
        return self._client is not None

    def _lifetime(self, path: str, response: web.Response) -> float:
        """Seconds for which an answer may be served again; only good ones are kept."""
        if response.status != 200:
            return 0.0
        return self.setting("playlist_lifetime" if path.endswith(".m3u8") else "segment_lifetime")

    async def _fetch(self, path: str) -> web.Response:
        if self._client is None:
            return web.Response(503, b"starting\n")
        began = time.perf_counter()
        try:
            answer = await self._client.get(path)
        except httpx.TimeoutException:
            return self._failed(504, path, "timed out")
        except httpx.HTTPError as error:
            return self._failed(502, path, str(error))
        finally:
            self._seconds_up.observe(time.perf_counter() - began)
        if answer.status_code >= 500:
            return self._failed(502, path, f"status {answer.status_code}")
        kind = answer.headers.get("content-type", "application/octet-stream")
        return web.Response(answer.status_code, answer.content, kind)

    def _failed(self, status: int, path: str, reason: str) -> web.Response:
        self._errors.inc()
        self.log.alarm("upstream_failed", path=path, status=status, reason=reason)
        return web.Response(status, f"origin: {reason}\n".encode())


if __name__ == "__main__":
    start(Edge)

"""The origin: serves what the packager wrote."""

from __future__ import annotations

import re
import time

from prometheus_client import Counter, Histogram

from soundstage import web
from soundstage.plan import Part, Plan
from soundstage.process import Process, start

_PATH = re.compile(r"/[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)?/[A-Za-z0-9_-]+\.(m3u8|aac|m4s|mp4)")
_TYPES = {"m3u8": "application/vnd.apple.mpegurl", "aac": "audio/aac", "m4s": "audio/mp4", "mp4": "audio/mp4"}
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class MediaServer(Process):
    """What origin and edges share: a count and a duration for every media request."""

    def __init__(self, plan: Plan, part: Part) -> None:
        super().__init__(plan, part)
        self._requests = Counter("http_requests", "Media requests answered", ["code"], registry=self.registry)
        self._seconds = Histogram("http_request_seconds", "Time to answer", registry=self.registry, buckets=BUCKETS)

    async def respond(self, request: web.Request) -> web.Response:
        began = time.perf_counter()
        if request.method not in ("GET", "HEAD"):
            response = web.Response(405, b"GET or HEAD\n")
        elif not _PATH.fullmatch(request.path):
            response = web.Response(404, b"not here\n")
        else:
            response = await self.media(request.path)
        self._seconds.observe(time.perf_counter() - began)
        self._requests.labels(str(response.status)).inc()
        return response

    async def media(self, path: str) -> web.Response:
        """The file at `path`, which names a playlist or a segment."""
        raise NotImplementedError


class Origin(MediaServer):
    """Reads a file per request; the folder is in memory or in the page cache."""

    async def media(self, path: str) -> web.Response:
        suffix = path.rpartition(".")[2]
        try:
            body = (self.plan.media / path[1:]).read_bytes()
        except FileNotFoundError:
            self.log.warning("not_found", path=path)
            return web.Response(404, b"not here\n")
        except OSError as error:
            self.log.alarm("read_failed", path=path, reason=str(error))
            return web.Response(500, b"cannot read\n")
        lasting = self.setting("playlist_max_age" if suffix == "m3u8" else "segment_max_age")
        return web.Response(200, body, _TYPES[suffix], {"Cache-Control": f"max-age={round(lasting)}"})

    async def work(self) -> None:
        await self.run_until_cancelled()


if __name__ == "__main__":
    start(Origin)

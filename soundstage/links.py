"""The network between the origin and each edge: a TCP proxy per edge, with latency, bandwidth and resets to be set.

It stands for what no operator of the platform can restart, so it is no component. One process for all links: a process
for each would cost 25 MiB and carry a few requests a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from dataclasses import asdict, dataclass
from typing import Any

from soundstage import framing, web
from soundstage.errors import Malformed, Refused
from soundstage.plan import Part, Plan
from soundstage.process import Process, start

CHUNK_BYTES = 16 * 1024
_LINGER_NOT = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Toxics:
    """What is wrong with a link. latency: seconds that each request is held back; bandwidth: bytes/s of the answers of
    one connection, None for as fast as it goes; resets: the share of connections that break when they are used.
    """

    latency: float = 0.0
    bandwidth: float | None = None
    resets: float = 0.0

    @classmethod
    def of(cls, values: Any) -> Toxics:
        """Read from JSON; what is left out is not wrong. Raises Malformed."""
        if not isinstance(values, dict) or not set(values) <= {"latency", "bandwidth", "resets"}:
            raise Malformed("toxics are a JSON object with latency, bandwidth and resets, each optional")
        numbers = [value for value in values.values() if value is not None]
        if any(isinstance(n, bool) or not isinstance(n, int | float) or not 0 <= n < 1e9 for n in numbers):
            raise Malformed("toxics must be numbers from 0")
        latency, resets = (float(values.get(name) or 0) for name in ("latency", "resets"))
        toxics = cls(latency, values.get("bandwidth") or None, resets)
        if toxics.resets > 1:
            raise Malformed("resets is a share, from 0 to 1")
        return toxics


class Link:
    """The way from one edge to the origin."""

    def __init__(self, origin_port: int, rng: random.Random) -> None:
        self._origin_port = origin_port
        self._rng = rng
        self.toxics = Toxics()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection of an edge; where the origin does not listen, the edge sees it broken off."""
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._origin_port)
        except OSError:
            _reset(writer)
            return
        ways = [
            asyncio.create_task(self._requests(reader, writer, far_writer)),
            asyncio.create_task(self._answers(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            far_writer.close()
            await asyncio.gather(*ways, return_exceptions=True)  # either side may go away at any byte

    async def _requests(
        self, reader: asyncio.StreamReader, near: asyncio.StreamWriter, far: asyncio.StreamWriter
    ) -> None:
        drawn_for: Toxics | None = None
        doomed = False
        while chunk := await reader.read(CHUNK_BYTES):
            toxics = self.toxics
            if toxics is not drawn_for:  # connections that are kept open get their share of resets too
                drawn_for, doomed = toxics, self._rng.random() < toxics.resets
            if doomed:
                _reset(near)
                return
            if toxics.latency:
                await asyncio.sleep(toxics.latency)
            far.write(chunk)
            await far.drain()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            if self.toxics.bandwidth:
                await asyncio.sleep(len(chunk) / self.toxics.bandwidth)
            writer.write(chunk)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST rather than FIN."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    writer.transport.abort()


class Links(Process):
    """GET /links tells every link's toxics, POST /links/EDGE sets them (with the supervisor's credentials)."""

    def __init__(self, plan: Plan, part: Part) -> None:
        super().__init__(plan, part)
        origin = plan.part("origin").http_port
        self._links = {edge.name: Link(origin, random.Random(f"{plan.seed}/{edge.name}")) for edge in plan.edges}  # noqa: S311 - a repeatable choice

    async def work(self) -> None:
        for edge in self.plan.edges:
            await framing.accept(self._links[edge.name].carry, edge.data_port)
        await self.run_until_cancelled()

    async def respond(self, request: web.Request) -> web.Response:
        edge = request.path.removeprefix("/links").removeprefix("/")
        if request.method == "POST" and edge in self._links:
            self.demand_credentials(request)
            self._links[edge].toxics = Toxics.of(request.json())
        elif request.path != "/links" or request.method != "GET":
            raise Refused(404, "GET /links or POST /links/EDGE")
        return web.json_answer({name: asdict(link.toxics) for name, link in self._links.items()})


if __name__ == "__main__":
    start(Links)

"""A channel's ingest: hears both sources, passes one of them on to the transcoder."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from prometheus_client import Counter, Gauge

from soundstage import framing, web
from soundstage.errors import Malformed
from soundstage.plan import INPUTS, Part, Plan
from soundstage.process import Process, start

RECONNECT_S = 0.25
SEND_LIMIT_BYTES = 2 * 1024 * 1024


class Ingest(Process):
    """Takes the primary source until it is told otherwise: POST /input/backup, with the supervisor's credentials."""

    def __init__(self, plan: Plan, part: Part) -> None:
        super().__init__(plan, part)
        self._active = INPUTS[0]
        self._newest = 0
        self._heard = time.monotonic()
        self._listeners: set[asyncio.StreamWriter] = set()
        self._bytes = Counter("ingest_bytes", "Audio bytes taken from the active input", registry=self.registry)
        connected = Gauge("ingest_input_connected", "1: connected", ["input"], registry=self.registry)
        self._connected = {name: connected.labels(name) for name in INPUTS}
        gap = Gauge("ingest_input_gap_seconds", "Time since the active input's last audio", registry=self.registry)
        gap.set_function(lambda: time.monotonic() - self._heard)

    async def work(self) -> None:
        await framing.accept(self._listen, self.part.data_port)
        await asyncio.gather(*(self._follow(name) for name in INPUTS))

    async def respond(self, request: web.Request) -> web.Response:
        if request.path == "/input" and request.method == "GET":
            return web.Response(200, self._active.encode())
        name = request.path.removeprefix("/input/")
        if request.method != "POST" or name not in INPUTS:
            return web.Response(404, b"GET /input, POST /input/primary or POST /input/backup\n")
        self.demand_credentials(request)
        self.log.info("input_switched", before=self._active, after=name)
        self._active, self._heard = name, time.monotonic()
        return web.Response(200, name.encode())

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.log.info("transcoder_connected")
        self._listeners.add(writer)
        try:
            await reader.read()  # ends when the other side goes away
        finally:
            self._listeners.discard(writer)
            self.log.warning("transcoder_gone")

    async def _follow(self, name: str) -> None:
        """Hear one source, over and over: it may come later, go, and come back."""
        channel = (self.part.channel or "").partition(":")[2]
        port = self.plan.part(f"source-{channel}-{name}").data_port
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    await self._hear(name, reader)
                finally:
                    self._connected[name].set(0)
                    writer.close()
            await asyncio.sleep(RECONNECT_S)

    async def _hear(self, name: str, reader: asyncio.StreamReader) -> None:
        self._connected[name].set(1)
        self.log.info("input_connected", input=name)
        with contextlib.suppress(EOFError, ConnectionError, Malformed):
            while True:
                header, audio = await framing.read(reader)
                self._pass_on(name, header, audio)
        level = self.log.alarm if name == self._active else self.log.warning
        level("input_lost", input=name, active=self._active)

    def _pass_on(self, name: str, header: dict[str, Any], audio: bytes) -> None:
        # Both sources stamp the same grid of chunks, so that a switch neither repeats a chunk nor misses one.
        if name != self._active or header["t"] <= self._newest:
            return
        self._newest, self._heard = header["t"], time.monotonic()
        self._bytes.inc(len(audio))
        message = framing.encode(header, audio)
        for writer in self._listeners:
            if writer.transport.get_write_buffer_size() < SEND_LIMIT_BYTES:
                writer.write(message)
            else:
                self.log.warning("transcoder_slow")


if __name__ == "__main__":
    start(Ingest)

"""A live source: the channel's programme as PCM, paced by the clock, to whoever connects."""

from __future__ import annotations

import asyncio
import math
import time

import numpy as np
from prometheus_client import Counter, Gauge

from soundstage import framing, web
from soundstage.errors import Malformed
from soundstage.plan import RATE, Part, Plan
from soundstage.process import Process, start
from soundstage.programme import Programme, Samples

CHUNK_SAMPLES = RATE // 4
CHUNK_S = CHUNK_SAMPLES / RATE
BEHIND_LIMIT_S = 1.0
SEND_LIMIT_BYTES = 2 * 1024 * 1024


def to_pcm(samples: Samples) -> bytes:
    """Float samples in [-1, 1] as interleaved little-endian 16-bit PCM."""
    return (samples * 32_767.0).astype("<i2").tobytes()


def dbfs(samples: Samples) -> float:
    """RMS level in dB below full scale; -120 for digital silence."""
    power = float(np.mean(np.square(samples)))
    return max(-120.0, 10 * math.log10(power)) if power > 0 else -120.0


class Source(Process):
    """Sends chunk i once it is over, stamped with the capture time of its first sample (Unix microseconds)."""

    def __init__(self, plan: Plan, part: Part) -> None:
        super().__init__(plan, part)
        number = plan.channels.index((part.channel or "").partition(":")[2])
        self._programme = Programme(plan.seed * 1_000 + number)
        self._listeners: set[asyncio.StreamWriter] = set()
        self._samples = Counter("source_samples", "Samples made", registry=self.registry)
        self._level = Gauge("source_level_dbfs", "RMS level of the newest chunk", registry=self.registry)
        self._silence = plan.silent_path(part.name)
        self._silent = self._silence.exists()

    async def work(self) -> None:
        await framing.accept(self._connected, self.part.data_port)
        index = self._due()
        while True:
            index = await self._wait_for(index)
            self._send(index)
            index += 1

    async def respond(self, request: web.Request) -> web.Response:
        deed = {"/line/silent": self._mute, "/line/sound": self._unmute, "/passage": self._quieten}.get(request.path)
        if request.method != "POST" or deed is None:
            return web.Response(404, b"POST /line/silent, /line/sound or /passage\n")
        self.demand_credentials(request)
        deed(request)
        return web.Response(200, b"done\n")

    # A studio line that carries silence looks alive to every process behind it. It is silent where the studio is, so
    # a restart of this process changes nothing: that is why there is a file.
    def _mute(self, _: web.Request) -> None:
        self._silence.parent.mkdir(parents=True, exist_ok=True)
        self._silence.touch()
        self._silent = True

    def _unmute(self, _: web.Request) -> None:
        self._silence.unlink(missing_ok=True)
        self._silent = False

    def _quieten(self, request: web.Request) -> None:
        try:
            moments = [float(request.json()[name]) for name in ("from", "until")]
        except (KeyError, TypeError, ValueError) as error:
            raise Malformed('a passage is {"from": UNIX_SECONDS, "until": UNIX_SECONDS}') from error
        begin, end = (round((moment - self.plan.epoch) * RATE) for moment in moments)
        self._programme.quieten(begin, end)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.log.info("listener_connected")
        self._listeners.add(writer)
        try:
            await reader.read()  # ends when the other side goes away
        finally:
            self._listeners.discard(writer)
            self.log.info("listener_gone")

    def _due(self) -> int:
        return int((time.time() - self.plan.epoch) / CHUNK_S)

    async def _wait_for(self, index: int) -> int:
        """Wait until chunk `index` is over; after a long sleep of the whole process, the live edge's chunk instead."""
        wait = self.plan.epoch + (index + 1) * CHUNK_S - time.time()
        if wait < -BEHIND_LIMIT_S:
            self.log.alarm("programme_lost", seconds=round(-wait, 3))
            return self._due()
        await asyncio.sleep(max(0.0, wait))
        return index

    def _send(self, index: int) -> None:
        samples = self._programme.render(index * CHUNK_SAMPLES, CHUNK_SAMPLES)
        if self._silent:
            samples = np.zeros_like(samples)
        self._samples.inc(CHUNK_SAMPLES)
        self._level.set(dbfs(samples))
        captured = round((self.plan.epoch + index * CHUNK_S) * 1_000_000)
        message = framing.encode({"t": captured, "n": CHUNK_SAMPLES}, to_pcm(samples))
        for writer in self._listeners:
            if writer.transport.get_write_buffer_size() < SEND_LIMIT_BYTES:
                writer.write(message)
            else:
                self.log.warning("listener_slow")


if __name__ == "__main__":
    start(Source)

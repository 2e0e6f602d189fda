"""A live source: the channel's programme as PCM, paced by the clock, to whoever connects."""

from __future__ import annotations

import asyncio
import math
import signal
import time

import numpy as np
from prometheus_client import Counter, Gauge

from soundstage import framing
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
        self._muted = False

    async def work(self) -> None:
        # A studio line that carries silence looks alive to every process behind it: faults switch it by signal.
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._mute, True)
        loop.add_signal_handler(signal.SIGUSR2, self._mute, False)
        await framing.accept(self._connected, self.part.data_port)
        index = self._due()
        while True:
            index = await self._wait_for(index)
            self._send(index)
            index += 1

    def _mute(self, muted: bool) -> None:
        self._muted = muted

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
        if self._muted:
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

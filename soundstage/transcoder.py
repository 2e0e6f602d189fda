"""A channel's transcoder: takes the ingest's PCM, makes every rendition, hands whole segments to the packager."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Any

from prometheus_client import Counter, Gauge

from soundstage import framing
from soundstage.encoding import Encoder, Segment
from soundstage.errors import Malformed
from soundstage.plan import RATE, RENDITIONS, Part, Plan
from soundstage.process import Process, start

RECONNECT_S = 0.25
SILENT_INPUT_S = 1.0
GAP_US = 50_000
KEPT_SEGMENTS = 5 * len(RENDITIONS)


class Outbox:
    """Segments that the packager has not acknowledged yet; the oldest are given up when it stays away."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._filled = asyncio.Event()

    def put(self, message: bytes) -> bool:
        """Add one; False if an old one had to go for it."""
        self._waiting.append(message)
        self._filled.set()
        if len(self._waiting) <= KEPT_SEGMENTS:
            return True
        self._waiting.popleft()
        return False

    async def send_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send one after the other, each kept until it is acknowledged; ends with an error when the line breaks."""
        while True:
            while self._waiting:
                message = self._waiting[0]
                writer.write(message)
                await framing.read(reader)
                if self._waiting and self._waiting[0] is message:
                    self._waiting.popleft()
            self._filled.clear()
            await self._filled.wait()


class Transcoder(Process):
    """Encodes in the event loop: a quarter of a second of audio takes a few milliseconds."""

    def __init__(self, plan: Plan, part: Part) -> None:
        super().__init__(plan, part)
        self._channel = (part.channel or "").partition(":")[2]
        self._encoders: list[Encoder] = []
        self._expected_us = 0
        self._epoch = ""
        self._outbox = Outbox()
        frames = Counter("transcode_frames", "Packets encoded", ["rendition"], registry=self.registry)
        segments = Counter("transcode_segments", "Segments made", ["rendition"], registry=self.registry)
        size = Gauge("transcode_segment_bytes", "Size of the newest segment", ["rendition"], registry=self.registry)
        names = [rendition.name for rendition in RENDITIONS]
        self._frames = {name: frames.labels(f"{self._channel}/{name}") for name in names}
        self._segments = {name: segments.labels(f"{self._channel}/{name}") for name in names}
        self._size = {name: size.labels(f"{self._channel}/{name}") for name in names}
        self._lag = Gauge("transcode_lag_seconds", "Encoded after capture, newest chunk", registry=self.registry)

    async def work(self) -> None:
        await asyncio.gather(self._take(), self._deliver())

    async def _take(self) -> None:
        port = self.plan.part(f"ingest-{self._channel}").data_port
        while True:
            with contextlib.suppress(OSError, EOFError, Malformed):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                self.log.info("input_connected")
                try:
                    await self._encode_from(reader)
                finally:
                    writer.close()
                    self.log.warning("input_lost")
            self._finish()
            await asyncio.sleep(RECONNECT_S)

    async def _encode_from(self, reader: asyncio.StreamReader) -> None:
        reading = asyncio.ensure_future(framing.read(reader))
        try:
            while True:
                done, _ = await asyncio.wait([reading], timeout=SILENT_INPUT_S)
                if not done:
                    self._finish()  # listeners get what there is before the audio stopped
                    continue
                header, audio = reading.result()
                self._encode(header, audio)
                reading = asyncio.ensure_future(framing.read(reader))
        finally:
            reading.cancel()

    def _encode(self, header: dict[str, Any], audio: bytes) -> None:
        if self._encoders and abs(header["t"] - self._expected_us) > GAP_US:
            self.log.warning("input_gap", seconds=(header["t"] - self._expected_us) / 1e6)
            self._finish()
        if not self._encoders:
            self._epoch = str(time.time_ns())
            self._encoders = [Encoder(rendition, header["t"]) for rendition in RENDITIONS]
        self._expected_us = header["t"] + round(header["n"] * 1_000_000 / RATE)
        for encoder in self._encoders:
            made, segments = encoder.feed(audio)
            self._frames[encoder.rendition.name].inc(made)
            self._hand_over(encoder, segments)
        self._lag.set(time.time() - self._expected_us / 1e6)

    def _finish(self) -> None:
        for encoder in self._encoders:
            self._hand_over(encoder, encoder.flush())
        self._encoders = []

    def _hand_over(self, encoder: Encoder, segments: list[Segment]) -> None:
        for segment in segments:
            body = b"".join(segment.packets)
            self._segments[segment.rendition].inc()
            self._size[segment.rendition].set(len(body))
            header = {
                "channel": self._channel,
                "rendition": segment.rendition,
                "epoch": self._epoch,
                "start_us": segment.start_us,
                "samples": segment.samples,
                "frame_samples": segment.frame_samples,
                "sizes": [len(packet) for packet in segment.packets],
                "config": encoder.config.hex(),
            }
            if not self._outbox.put(framing.encode(header, body)):
                self.log.alarm("segment_given_up", reason="the packager does not take segments")

    async def _deliver(self) -> None:
        port = self.plan.part("packager").data_port
        while True:
            with contextlib.suppress(OSError, EOFError, Malformed):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    await self._outbox.send_all(reader, writer)
                finally:
                    writer.close()
                    self.log.warning("packager_lost")
            await asyncio.sleep(RECONNECT_S)


if __name__ == "__main__":
    start(Transcoder)

"""Real little broadcasters for the tests: live HLS by the clock, and plain streams with ICY metadata, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from fractions import Fraction
from functools import cache

import av
import numpy as np

RATE = 48_000
Answer = tuple[int, str, bytes]
Sender = Callable[[str, dict[str, str], asyncio.StreamWriter], Awaitable[None]]


def tone(seconds: float, dbfs: float = -20.0) -> np.ndarray:
    """A stereo sine, shape (frames, 2)."""
    at = np.arange(round(seconds * RATE)) / RATE
    return np.repeat((10 ** (dbfs / 20) * np.sin(2 * np.pi * 440 * at))[:, None], 2, axis=1).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros((round(seconds * RATE), 2), dtype=np.float32)


def encode(sound: np.ndarray, codec: str = "aac", container: str = "adts", rate: int = RATE, **options: str) -> bytes:
    """`sound` (frames, channels) in one piece."""
    target = io.BytesIO()
    with av.open(target, "w", format=container, options=options) as output:
        layout = "stereo" if sound.shape[1] == 2 else "mono"
        stream = output.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 96_000
        for frame in _frames(sound, rate, layout):
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return target.getvalue()


def _frames(sound: np.ndarray, rate: int, layout: str):
    for start in range(0, len(sound), 1024):
        block = np.ascontiguousarray(sound[start : start + 1024].T)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield frame


def adts_frames(data: bytes) -> list[bytes]:
    frames = []
    while len(data) >= 7:
        length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
        frames.append(data[:length])
        data = data[length:]
    return frames


@cache
def segments(plan: tuple[tuple[str, float], ...], segment_s: float) -> tuple[tuple[float, bytes], ...]:
    """(duration, ADTS bytes) of each segment of the planned programme."""
    sound = np.concatenate([tone(seconds) if kind == "tone" else silence(seconds) for kind, seconds in plan])
    frames = adts_frames(encode(sound))
    per_second, cut, found = RATE / 1024, 0, []
    for number in range(1, int(len(frames) / per_second / segment_s) + 1):
        end = round(number * segment_s * per_second)
        found.append(((end - cut) / per_second, b"".join(frames[cut:end])))
        cut = end
    return tuple(found)


class LiveChannel:
    """A live channel: a segment appears when its time has come. `stop_after`: no more of them after so many seconds."""

    def __init__(
        self,
        plan: tuple[tuple[str, float], ...],
        *,
        segment_s: float = 1.0,
        lead_s: float = 6.0,
        stop_after: float | None = None,
        ended: bool = False,
    ) -> None:
        self.segments = segments(plan, segment_s)
        self.segment_s, self.stop_after, self.ended = segment_s, stop_after, ended
        self.started = time.time() - lead_s  # so that the window is full from the first moment on
        self.replaced: dict[str, Answer] = {}
        self.delay_s: dict[str, float] = {}
        self.lost: range = range(0)  # segments that are left out of the playlist, a discontinuity in their place
        self.asked: list[str] = []

    def ends(self) -> list[float]:
        return list(np.cumsum([duration for duration, _ in self.segments]))

    def published(self) -> int:
        if self.ended:
            return len(self.segments)
        played = time.time() - self.started
        if self.stop_after is not None:
            played = min(played, self.stop_after)
        return sum(end <= played for end in self.ends())

    def media_playlist(self) -> str:
        count = self.published()
        first = 0 if self.ended else max(0, count - 6)
        lines = ["#EXTM3U", "#EXT-X-VERSION:6", f"#EXT-X-TARGETDURATION:{round(self.segment_s)}"]
        lines += [f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        for number in range(first, count):
            if number in self.lost:
                continue
            if number - 1 in self.lost:
                lines.append("#EXT-X-DISCONTINUITY")
            begin = self.started + self.ends()[number] - self.segments[number][0]
            stamp = datetime.fromtimestamp(begin, UTC).isoformat(timespec="milliseconds")
            lines += [f"#EXT-X-PROGRAM-DATE-TIME:{stamp}", f"#EXTINF:{self.segments[number][0]:.5f},", f"{number}.aac"]
        return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if self.ended else []), ""])

    async def answer(self, path: str) -> Answer:
        name = path.rsplit("/", 1)[-1]
        self.asked.append(name)
        await asyncio.sleep(self.delay_s.get(name, 0.0))
        if name in self.replaced:
            return self.replaced[name]
        if name == "master.m3u8":
            text = (
                "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=64000\nlow.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=128000\nindex.m3u8\n"
            )
            return 200, "application/vnd.apple.mpegurl", text.encode()
        if name == "index.m3u8":
            return 200, "application/vnd.apple.mpegurl", self.media_playlist().encode()
        number = name.removesuffix(".aac")
        if number.isdecimal() and int(number) < self.published():
            return 200, "audio/aac", self.segments[int(number)][1]
        return 404, "text/plain", b"no such thing"


@asynccontextmanager
async def serving(answer: Callable[[str], Awaitable[Answer]]) -> AsyncIterator[str]:
    """Serve GETs by `answer(path)`; yields the base address."""

    async def send(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        status, media_type, body = await answer(path)
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    async with sending(send) as base:
        yield base


@asynccontextmanager
async def sending(send: Sender) -> AsyncIterator[str]:
    """A bare HTTP/1.1 server: each GET is handed to `send(path, headers, writer)`."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        tasks.add(task)
        # Cancelled at the end of the test; asyncio's callback would report that as an error.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                await send(first.split(" ")[1], headers, writer)
                if writer.is_closing():
                    break
        writer.close()
        tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

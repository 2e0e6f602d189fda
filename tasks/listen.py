"""Listen to one address, HLS or a plain stream: how it sounds, how it arrives, whether that is good enough."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from feature_store.loudness import FLOOR, LoudnessMeter
from feature_store.sound import ClippingMeter, SilenceMeter, balance_db, correlation
from gateway.hosts import Hosts
from gateway.http import Session, client
from gateway.sources.decode import Pcm
from gateway.sources.hls import HlsProbe, Reading, media_playlist_of
from gateway.sources.playlist import MediaPlaylist
from gateway.sources.stream import SILENT_S, StreamProbe, first_bytes
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import SourceError

#: Without a target duration (a plain stream) sound may be absent for so long.
STREAM_OVERDUE_S = 3.0
#: Integrated loudness is judged when so much was heard (seconds).
LOUDNESS_AFTER_S = 10.0
RECONNECT_S = 1.0
_POINTER = re.compile(rb"https?://[^\s\"'<>]+")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is good enough; None: not judged. Loudness is the integrated one."""

    max_silence_s: float | None = 10.0
    max_overdue_s: float | None = None  # None: one target duration; 3 s for a plain stream
    min_lufs: float | None = None
    max_lufs: float | None = None
    max_true_peak_dbtp: float | None = None
    max_latency_s: float | None = None
    max_decode_errors: int | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that happened at one moment: a playlist fault, a broken connection."""

    time: datetime
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Status:
    """Where listening stands. Loudness in LUFS, range in LU, peak in dBTP, durations in seconds; None: not known."""

    time: datetime
    kind: str  # hls, stream
    heard_s: float = 0.0
    momentary_lufs: float = FLOOR
    short_term_lufs: float = FLOOR
    integrated_lufs: float = FLOOR
    range_lu: float = 0.0
    true_peak_dbtp: float = FLOOR
    silence_s: float = 0.0
    longest_silence_s: float = 0.0
    clipped_runs: int = 0
    balance_db: float | None = None
    correlation: float | None = None
    latency_s: float | None = None
    overdue_s: float = 0.0
    playlist_age_s: float | None = None
    buffer_s: float | None = None
    segment_fetch_s: float | None = None
    sequence: int | None = None
    target_duration_s: float | None = None
    decode_errors: int = 0
    codec: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Notice, ...] = ()  # since the status before
    broken: tuple[str, ...] = ()  # thresholds that are broken now


def broken(status: Status, limits: Thresholds) -> tuple[str, ...]:
    """The names of the thresholds that `status` breaks."""
    overdue = limits.max_overdue_s or status.target_duration_s or STREAM_OVERDUE_S
    judged = status.heard_s >= LOUDNESS_AFTER_S
    checks = {
        "silence": _over(status.silence_s, limits.max_silence_s, or_equal=True),
        "overdue": _over(status.overdue_s, overdue, or_equal=True),
        "loudness-low": judged and limits.min_lufs is not None and status.integrated_lufs < limits.min_lufs,
        "loudness-high": judged and _over(status.integrated_lufs, limits.max_lufs),
        "true-peak": _over(status.true_peak_dbtp, limits.max_true_peak_dbtp),
        "latency": _over(status.latency_s, limits.max_latency_s),
        "decode-errors": _over(status.decode_errors, limits.max_decode_errors),
    }
    return tuple(name for name, is_broken in checks.items() if is_broken)


def _over(value: float | None, limit: float | None, *, or_equal: bool = False) -> bool:
    if value is None or limit is None:
        return False
    return value >= limit if or_equal else value > limit


class _Meters:
    """What the sound heard so far measures."""

    def __init__(self) -> None:
        self.silence = SilenceMeter()
        self.clipping = ClippingMeter()
        self.loudness: LoudnessMeter | None = None
        self.heard_s = 0.0
        self._measured: Mapping[str, Any] = {}

    def push(self, started: float, pcm: Pcm) -> None:
        shape = (pcm.rate, pcm.samples.shape[1])
        if self.loudness is None or (self.loudness.rate, self.loudness.channels) != shape:
            self.loudness = LoudnessMeter(*shape, true_peak=True)
        self.loudness.push(pcm.samples)
        self.silence.push(started, pcm.samples, pcm.rate)
        self.clipping.push(pcm.samples)
        self.heard_s += pcm.seconds
        # Sound is measured in a thread: what is shown is replaced at once, so that no half-measured block is seen.
        self._measured = {
            "heard_s": self.heard_s,
            "momentary_lufs": self.loudness.momentary,
            "short_term_lufs": self.loudness.short_term,
            "integrated_lufs": self.loudness.integrated,
            "range_lu": self.loudness.range,
            "true_peak_dbtp": self.loudness.true_peak,
            "silence_s": self.silence.seconds,
            "longest_silence_s": self.silence.longest,
            "clipped_runs": self.clipping.runs,
            "balance_db": balance_db(pcm.samples),
            "correlation": correlation(pcm.samples),
        }

    def onto(self, status: Status) -> Status:
        return replace(status, **self._measured)


class _HlsSource:
    """An HLS rendition heard as its segments appear, and a player that plays it three target durations behind."""

    kind = "hls"

    def __init__(self, url: str, session: Session, clock: Clock, timeout_s: float) -> None:
        self._probe = HlsProbe(url, session, clock=clock, timeout_s=timeout_s, start_segments=3)
        self._clock = clock
        self._reading: Reading | None = None
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._playhead: datetime | None = None  # media time that the player plays
        self._played_at = 0.0  # monotonic, when the playhead was last moved
        self._errors, self._codec, self._metadata = 0, "", dict[str, str]()
        self._fetch_s: float | None = None

    async def run(self, meters: _Meters, notices: list[Notice], changed: asyncio.Event) -> None:
        """Poll until the playlist has ended and was heard; what happens lands in `meters` and `notices`.

        Raises SourceError when the rendition cannot be read the first time.
        """
        while not self._probe.finished:
            self._reading = reading = await self._probe.poll()
            if reading.playlist is None:
                raise SourceError("; ".join(fault.message for fault in reading.faults))
            for heard in reading.heard:
                self._errors += heard.decode_errors
                self._fetch_s = heard.fetch_s
                if heard.decoded is not None and heard.decoded.pcm is not None:
                    await asyncio.to_thread(meters.push, heard.started.timestamp(), heard.decoded.pcm)
                    self._codec = heard.decoded.codec
                    self._metadata |= _texts(heard.decoded.metadata)
            notices += self._news(reading)
            changed.set()
            await asyncio.sleep(self._probe.next_poll_s)

    def _news(self, reading: Reading) -> list[Notice]:
        """Faults that were not there at the poll before: what lasts is told once."""
        keys = [(str(fault.kind), "" if fault.kind == "stale" else fault.message) for fault in reading.faults]
        news = [
            Notice(reading.time, str(fault.kind), fault.message)
            for key, fault in zip(keys, reading.faults, strict=True)
            if key not in self._told
        ]
        self._told = frozenset(keys)
        return news

    def onto(self, status: Status) -> Status:
        reading = self._reading
        if reading is None:
            return status
        playlist, newest = reading.playlist, reading.playlist.newest if reading.playlist else None
        return replace(
            status,
            latency_s=self._latency(status.time, reading),
            overdue_s=self._probe.overdue_s,
            playlist_age_s=_since(newest.ended if newest and playlist and not playlist.ended else None, status.time),
            segment_fetch_s=self._fetch_s,
            sequence=newest.sequence if newest else None,
            target_duration_s=playlist.target_duration if playlist else None,
            decode_errors=self._errors,
            codec=self._codec,
            metadata=dict(self._metadata),
        )

    def _latency(self, now: datetime, reading: Reading) -> float | None:
        """Wall clock minus what the player plays."""
        if reading.latency_s is None or reading.playlist is None:
            return None
        moment = self._clock.monotonic()
        if self._playhead is None:
            self._playhead = reading.time - timedelta(seconds=reading.latency_s)
        else:
            self._playhead += timedelta(seconds=moment - self._played_at)
        self._playhead, self._played_at = _within(reading.playlist, self._playhead), moment
        return (now - self._playhead).total_seconds()


class _StreamSource:
    """A plain stream, opened again when a live one breaks off."""

    kind = "stream"

    def __init__(self, url: str, session: Session, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._probe = StreamProbe(url, session, clock=clock, timeout_s=timeout_s)

    async def run(self, meters: _Meters, notices: list[Notice], changed: asyncio.Event) -> None:
        """Hear the stream to its end, and a live one again and again. Raises SourceError when it never gave sound."""
        began = self._clock.now().timestamp()
        while True:
            message = "the stream ended"
            try:
                async for pcm in self._probe.sound():
                    started = began + self._probe.received_s - pcm.seconds
                    await asyncio.to_thread(meters.push, started, pcm)
                    changed.set()
            except SourceError as error:
                if not meters.heard_s:
                    raise
                message = str(error)
            else:
                if not self._probe.live:
                    return
            notices.append(Notice(self._clock.now(), "retrieval", message))
            changed.set()
            await asyncio.sleep(RECONNECT_S)

    def onto(self, status: Status) -> Status:
        buffered = self._probe.buffer_s
        return replace(
            status,
            overdue_s=max(0.0, -buffered),
            buffer_s=max(0.0, buffered),
            decode_errors=self._probe.errors,
            codec=self._probe.codec,
            metadata=dict(self._probe.metadata),
        )


class Listener:
    """Listens to one address; `statuses()` says once a second, and at once when a threshold breaks, how it is."""

    def __init__(
        self,
        url: str,
        *,
        limits: Thresholds | None = None,
        clock: Clock = SYSTEM,
        timeout_s: float = 5.0,
        hosts: Hosts | None = None,
    ) -> None:
        self.url = url
        self._limits, self._clock, self._timeout_s = limits or Thresholds(), clock, timeout_s
        # A playlist of somebody else's must not make this machine ask itself.
        self._session = client(timeout_s=max(timeout_s, SILENT_S), hosts=hosts or Hosts(url, others=True))
        self._meters = _Meters()
        self._notices: list[Notice] = []
        self._changed = asyncio.Event()
        self.broken: dict[str, datetime] = {}  # threshold -> when it first broke
        self._breaking: tuple[str, ...] = ()  # those that are broken now
        self.faults: dict[str, int] = {}  # kind -> how often

    async def statuses(self, *, seconds: float | None = None, every_s: float = 1.0) -> AsyncGenerator[Status, None]:
        """Statuses until the sound ends or `seconds` have passed. Raises SourceError: unreachable, or no sound."""
        try:
            source = await self._open()
            ends = None if seconds is None else self._clock.monotonic() + seconds
            run = asyncio.create_task(source.run(self._meters, self._notices, self._changed))
            try:
                async for status in self._watched(source, run, ends, every_s):
                    yield status
            finally:
                run.cancel()
                await asyncio.gather(run, return_exceptions=True)
        finally:
            await self._session.aclose()

    async def _watched(
        self, source: _HlsSource | _StreamSource, run: asyncio.Task[None], ends: float | None, every_s: float
    ) -> AsyncGenerator[Status, None]:
        due = self._clock.monotonic() + every_s
        while True:
            over = run.done() or (ends is not None and self._clock.monotonic() >= ends)
            status, is_news = self._status(source)
            if over or is_news or self._clock.monotonic() >= due:
                due = max(due, self._clock.monotonic() - every_s) + every_s
                yield status
            if over:
                await _raise_failure(run)
                return
            wake = due if ends is None else min(due, ends)
            await self._wait(run, wake - self._clock.monotonic())

    async def _wait(self, run: asyncio.Task[None], seconds: float) -> None:
        """Until something changed, the source is done, or `seconds` have passed."""
        changed = asyncio.create_task(self._changed.wait())
        await asyncio.wait({run, changed}, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()
        self._changed.clear()

    def _status(self, source: _HlsSource | _StreamSource) -> tuple[Status, bool]:
        """The present status, and whether it must be told at once."""
        now = self._clock.now()
        status = source.onto(self._meters.onto(Status(now, source.kind)))
        names = broken(status, self._limits)
        new = [name for name in names if name not in self._breaking]
        self.broken = dict.fromkeys(new, now) | self.broken
        self._breaking = names
        if "silence" in new:
            self._notices.append(Notice(now, "silence", f"there has been no sound for {status.silence_s:.1f} s"))
        if new or self._notices:
            status = replace(status, faults=self._take_notices())
        return replace(status, broken=names), bool(new or status.faults)

    def _take_notices(self) -> tuple[Notice, ...]:
        taken, self._notices[:] = tuple(self._notices), []
        for notice in taken:
            self.faults[notice.kind] = self.faults.get(notice.kind, 0) + 1
        return taken

    async def _open(self) -> _HlsSource | _StreamSource:
        """What is at the address; a .pls or .m3u file that only points elsewhere is followed once."""
        url = self.url
        media_type, begin = await first_bytes(self._session, url, timeout_s=self._timeout_s)
        if _points_elsewhere(media_type, begin) and (found := _POINTER.search(begin)):
            url = found[0].decode("ascii", errors="replace")
            media_type, begin = await first_bytes(self._session, url, timeout_s=self._timeout_s)
        if begin.lstrip(b"\xef\xbb\xbf").startswith(b"#EXTM3U") or "mpegurl" in media_type:
            rendition = await media_playlist_of(self._session, url, timeout_s=self._timeout_s)
            return _HlsSource(rendition, self._session, self._clock, min(2.0, self._timeout_s))
        return _StreamSource(url, self._session, self._clock, self._timeout_s)


async def _raise_failure(run: asyncio.Task[None]) -> None:
    if run.done() and not run.cancelled():
        await run


def _points_elsewhere(media_type: str, begin: bytes) -> bool:
    if begin.startswith(b"[playlist]") or media_type == "audio/x-scpls":
        return True
    return b"#EXT-X-" not in begin and (begin.startswith(b"#EXTM3U") or media_type == "audio/x-mpegurl")


def _within(playlist: MediaPlaylist, playhead: datetime) -> datetime:
    """Where a player is that wants to be at `playhead`: it jumps over what is missing and waits at the end."""
    end = playhead
    for segment in playlist.segments:
        if segment.started is None or segment.ended is None:
            continue
        if segment.ended > playhead:
            return max(playhead, segment.started)
        end = segment.ended
    return end


def _texts(metadata: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in metadata.items() if name.lower() in {"title", "artist", "album"}}


def _since(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else (now - moment).total_seconds()

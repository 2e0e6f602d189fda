"""One HLS rendition, probed: its playlist is polled, each new segment is fetched once and decoded in a thread.

A poll gives a Reading whatever happens; only a programming error leaves it as an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx

from gateway.http import Fetched, fetch
from gateway.sources.decode import Decoded, SegmentDecoder
from gateway.sources.playlist import MAX_BYTES, MasterPlaylist, MediaPlaylist, Segment, parse
from gateway.sources.playlist_faults import PlaylistFault, PlaylistFaultKind, check
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import SourceError

#: A playlist is stale when its next segment is overdue for so many target durations. RFC 8216 6.2.1 gives a server 0.5.
STALE_AFTER = 1.0
MAX_SEGMENT_BYTES = 16 * 1024 * 1024
#: After a long pause no more than the newest so many segments are heard.
MAX_BACKLOG = 10
#: Decoded sound may differ from EXTINF by an encoder's priming and one frame (seconds).
DURATION_TOLERANCE = 0.1
#: A player begins so many target durations behind the end (RFC 8216 6.3.3).
HOLD_BACK = 3


@dataclass(frozen=True, slots=True)
class Heard:
    """One segment as it was found. `started`: media time of its first sample; `decoded`: None when it was not heard."""

    segment: Segment
    started: datetime
    fetch_s: float | None = None
    size: int = 0
    decoded: Decoded | None = None
    error: str = ""  # why it could not be fetched or decoded

    @property
    def decode_errors(self) -> int:
        """Packets that could not be decoded; 1 for a segment of which nothing could."""
        return self.decoded.errors if self.decoded is not None else int(bool(self.error))

    @property
    def missing_s(self) -> float:
        """Seconds of sound that EXTINF promised and decoding did not give (0 within the tolerance)."""
        if self.decoded is None:
            return self.segment.duration if self.error else 0.0
        missing = self.segment.duration - self.decoded.seconds
        return missing if missing > DURATION_TOLERANCE else 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What one poll found. Ages, delays and latency in seconds; None where it cannot be known."""

    time: datetime
    url: str
    playlist: MediaPlaylist | None
    playlist_age_s: float | None  # now minus the end of the newest segment, by programme date-time
    overdue_s: float  # how long the next segment has been due and absent
    stale: bool
    latency_s: float | None  # of a player that begins now, three target durations behind the end
    fetch_s: float | None
    faults: tuple[PlaylistFault, ...]
    heard: tuple[Heard, ...]

    @property
    def answered(self) -> bool:
        """Whether the playlist was read this time; an ended one is read once."""
        return self.fetch_s is not None


class HlsProbe:
    """Probes the rendition at `url` (a media playlist).

    `start_segments`: how many of the segments present at first are heard; `decode_every`: one of so many is decoded
    (all while `attentive`); `timeout_s` bounds each fetch. An ended playlist is read no faster than it plays.
    """

    def __init__(
        self,
        url: str,
        session: httpx.AsyncClient,
        *,
        clock: Clock = SYSTEM,
        timeout_s: float = 2.0,
        start_segments: int = 1,
        decode_every: int = 1,
    ) -> None:
        self.url = url
        self.attentive = False
        self._session, self._clock, self._timeout_s = session, clock, timeout_s
        self._start_segments, self._decode_every = start_segments, max(1, decode_every)
        self._playlist: MediaPlaylist | None = None
        self._newest: tuple[int, str] | None = None
        self._newest_seen: float | None = None  # monotonic
        self._next: int | None = None  # sequence of the next segment to hear
        self._began = 0.0  # monotonic, when the first segment was heard
        self._position = 0.0  # seconds of media passed since then
        self._media_time: datetime | None = None  # where the next segment begins if it has no date-time
        self._count = 0
        self._inits: dict[str, bytes] = {}
        self._decoder = SegmentDecoder()
        self._decoded: int | None = None  # sequence of the segment decoded last

    async def poll(self) -> Reading:
        """Fetch the playlist, hear what is new in it, and say how all that went."""
        faults: list[PlaylistFault] = []
        ended = self._playlist is not None and self._playlist.ended
        fetched = None if ended else await self._fetch_playlist(faults)
        heard = await self._hear_new() if ended or fetched is not None else []
        faults += [fault for one in heard for fault in _segment_faults(one)]
        return self._reading(fetched, faults, heard)

    @property
    def next_poll_s(self) -> float:
        """How long to wait before the next poll so that a new segment is found promptly: often only when one is due."""
        if self._playlist is None or self._newest_seen is None:
            return 0.5
        target = self._playlist.target_duration
        eager = min(0.5, target / 4)
        until_due = self._newest_seen + 0.9 * target - self._clock.monotonic()
        return max(eager, min(until_due, target))

    @property
    def finished(self) -> bool:
        """Whether the playlist has ended and all of it was heard."""
        playlist, newest = self._playlist, self._playlist.newest if self._playlist else None
        return bool(playlist and playlist.ended and (newest is None or (self._next or 0) > newest.sequence))

    async def _fetch_playlist(self, faults: list[PlaylistFault]) -> Fetched | None:
        try:
            fetched = await fetch(
                self._session, self.url, deadline_s=self._timeout_s, max_bytes=MAX_BYTES, clock=self._clock
            )
            playlist = parse(fetched.text, fetched.url)
            if isinstance(playlist, MasterPlaylist):
                raise SourceError(f"{self.url} is a master playlist where a media playlist was before")
        except SourceError as error:
            faults.append(PlaylistFault(PlaylistFaultKind.RETRIEVAL, str(error)))
            return None
        faults += check(self._playlist, playlist)
        self._note(playlist)
        return fetched

    def _note(self, playlist: MediaPlaylist) -> None:
        self._playlist = playlist
        newest = (playlist.newest.sequence, playlist.newest.uri) if playlist.newest else None
        if self._newest_seen is None or newest != self._newest:
            if self._newest is not None and newest is not None and newest[0] < self._newest[0]:
                self._next = None  # the numbering began anew
            self._newest, self._newest_seen = newest, self._clock.monotonic()

    def _reading(self, fetched: Fetched | None, faults: list[PlaylistFault], heard: list[Heard]) -> Reading:
        now, playlist = self._clock.now(), self._playlist
        overdue = self.overdue_s
        stale = playlist is not None and overdue >= STALE_AFTER * playlist.target_duration
        if stale:
            message = f"no new segment, though one has been due for {overdue:.1f} s"
            faults.append(PlaylistFault(PlaylistFaultKind.STALE, message, self._newest[0] if self._newest else None))
        newest = playlist.newest if playlist is not None and not playlist.ended else None
        return Reading(
            time=now,
            url=self.url,
            playlist=playlist,
            playlist_age_s=_seconds_since(newest.ended if newest else None, now),
            overdue_s=overdue,
            stale=stale,
            latency_s=_seconds_since(_join_point(playlist), now),
            fetch_s=fetched.seconds if fetched is not None else None,
            faults=tuple(faults),
            heard=tuple(heard),
        )

    @property
    def overdue_s(self) -> float:
        """For how long the next segment has been due and absent, now."""
        playlist = self._playlist
        if playlist is None or playlist.ended or self._newest_seen is None:
            return 0.0
        return max(0.0, self._clock.monotonic() - self._newest_seen - playlist.target_duration)

    async def _hear_new(self) -> list[Heard]:
        playlist = self._playlist
        if playlist is None or not playlist.segments:
            return []
        return [await self._hear(playlist, segment) for segment in self._due(playlist)]

    def _due(self, playlist: MediaPlaylist) -> Sequence[Segment]:
        """The segments to hear now, oldest first; of an ended playlist no more than has been played, and one ahead."""
        if self._next is None:
            newest = playlist.segments[-1].sequence
            first = playlist.sequence if playlist.ended else max(playlist.sequence, newest + 1 - self._start_segments)
            self._next, self._began = first, self._clock.monotonic()
        due = [segment for segment in playlist.segments if segment.sequence >= self._next]
        return self._paced(due) if playlist.ended else due[-MAX_BACKLOG:]

    def _paced(self, due: Sequence[Segment]) -> Sequence[Segment]:
        played, position, paced = self._clock.monotonic() - self._began, self._position, []
        for segment in due:
            if position > played:
                break
            paced.append(segment)
            position += segment.duration
        return paced

    async def _hear(self, playlist: MediaPlaylist, segment: Segment) -> Heard:
        started = segment.started or self._media_time or self._guessed_start(playlist, segment)
        self._next, self._media_time = segment.sequence + 1, started + timedelta(seconds=segment.duration)
        self._position += segment.duration
        self._count += 1
        skipped = self._count % self._decode_every != 1 % self._decode_every and not self.attentive
        if segment.gap or skipped:
            return Heard(segment, started)
        if segment.encrypted:
            return Heard(segment, started, error="the segment is encrypted and cannot be heard")
        return await self._fetch_and_decode(segment, started)

    def _guessed_start(self, playlist: MediaPlaylist, segment: Segment) -> datetime:
        """Without a date-time: the newest segment ends about now."""
        after = sum(other.duration for other in playlist.segments if other.sequence >= segment.sequence)
        return self._clock.now() - timedelta(seconds=after)

    async def _fetch_and_decode(self, segment: Segment, started: datetime) -> Heard:
        fetched: Fetched | None = None
        try:
            init = await self._init(segment.init_uri)
            fetched = await self._get(segment.uri, segment.byte_range)
            follows = self._decoded == segment.sequence - 1 and not segment.discontinuity
            self._decoded = segment.sequence
            decoded = await asyncio.to_thread(self._decoder.decode, fetched.content, init, follows=follows)
        except SourceError as error:
            seconds, size = (fetched.seconds, len(fetched.content)) if fetched is not None else (None, 0)
            return Heard(segment, started, seconds, size, error=str(error))
        return Heard(segment, started, fetched.seconds, len(fetched.content), decoded)

    async def _init(self, uri: str | None) -> bytes:
        if uri is None:
            return b""
        if uri not in self._inits:
            self._inits = {uri: (await self._get(uri, None)).content}
        return self._inits[uri]

    async def _get(self, uri: str, byte_range: tuple[int, int] | None) -> Fetched:
        headers = {} if byte_range is None else {"range": f"bytes={byte_range[0]}-{byte_range[1]}"}
        return await fetch(
            self._session,
            uri,
            deadline_s=self._timeout_s,
            max_bytes=MAX_SEGMENT_BYTES,
            headers=headers,
            clock=self._clock,
        )


async def media_playlist_of(session: httpx.AsyncClient, url: str, *, timeout_s: float = 5.0) -> str:
    """The address of the rendition to hear: of a master playlist the best one. Raises SourceError."""
    fetched = await fetch(session, url, deadline_s=timeout_s, max_bytes=MAX_BYTES)
    playlist = parse(fetched.text, fetched.url)
    return playlist.best.uri if isinstance(playlist, MasterPlaylist) else url


def _segment_faults(heard: Heard) -> list[PlaylistFault]:
    number = heard.segment.sequence
    if heard.error:
        return [PlaylistFault(PlaylistFaultKind.SEGMENT, f"segment {number}: {heard.error}", number)]
    if heard.decode_errors or heard.missing_s:
        message = (
            f"segment {number}: {heard.decode_errors} packets could not be decoded, "
            f"{heard.missing_s:.2f} of {heard.segment.duration:.2f} s are missing"
        )
        return [PlaylistFault(PlaylistFaultKind.SEGMENT, message, number)]
    return []


def _join_point(playlist: MediaPlaylist | None) -> datetime | None:
    if playlist is None or playlist.ended:
        return None
    segment = playlist.behind(HOLD_BACK * playlist.target_duration)
    return segment.started if segment is not None else None


def _seconds_since(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else (now - moment).total_seconds()

"""One listener: loads playlists and segments from an edge, another edge when that one fails, and reports by beacon."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from soundstage.beacons import Token, Value, line
from soundstage.errors import Malformed, Unreachable
from soundstage.plan import SEGMENT_SECONDS, Rendition
from soundstage.playlist import Playlist, parse, parse_master
from soundstage.playout import Piece, Playout

REQUEST_TIMEOUT_S = 2.0
HOLD_BACK_SEGMENTS = 3
BEHIND_LIMIT_S = 12.0
LOW_BUFFER_S = 2.5
REPORT_EVERY_S = 4.0
RETRY_S = 0.4
_STATES = {"starting": "s", "playing": "p", "stalled": "r"}


@dataclass(frozen=True)
class Edge:
    """An edge as a player knows it."""

    name: str
    base_url: str


Observe = Callable[[str, str, float], None]


class Player:
    """A session. `observe(edge, outcome, seconds)` is told of every request as the client saw it."""

    def __init__(
        self,
        number: int,
        channel: str,
        rendition: Rendition,
        edges: tuple[Edge, ...],
        client: httpx.AsyncClient,
        observe: Observe,
    ) -> None:
        self.number = number
        self.channel = channel
        self.session = str(uuid.uuid4())
        self._rendition = rendition
        self._edges = edges
        self._edge_index = number // 2 % len(edges)
        self._client = client
        self._observe = observe
        self.playout = Playout(time.monotonic())
        self._newest: int | None = None
        self._throughput_kbps = 0
        self._sequence = 0
        self._reported_absent_s = 0.0
        self._reported_state = ""
        self._reported_at = time.monotonic()
        self._startup_reported = False

    @property
    def edge(self) -> Edge:
        """The edge in use."""
        return self._edges[self._edge_index]

    def latency_s(self) -> float | None:
        """Wall clock minus the programme's date at the play head; None while there is no sound."""
        position = self.playout.position
        return None if position is None or self.playout.state != "playing" else time.time() - position

    async def listen(self) -> None:
        """Listen until cancelled."""
        playlist_path: str | None = None
        while True:
            try:
                if playlist_path is None:
                    playlist_path = await self._choose()
                began = time.monotonic()
                changed = await self._load(playlist_path)
                delay = self._reload_after(changed=changed) - (time.monotonic() - began)
            except (Unreachable, Malformed):
                self._edge_index = (self._edge_index + 1) % len(self._edges)
                delay = RETRY_S
            await asyncio.sleep(max(0.05, delay))

    def _reload_after(self, *, changed: bool) -> float:
        """Seconds between loads: the target duration after a change, half of it without (RFC 8216, 6.3.4)."""
        if changed:
            return float(SEGMENT_SECONDS)
        return SEGMENT_SECONDS / 2 if self.playout.buffered_s > LOW_BUFFER_S else SEGMENT_SECONDS / 4

    async def _choose(self) -> str:
        """The path of our rendition's playlist, from the master playlist."""
        text = (await self._get(f"/{self.channel}/master.m3u8")).decode()
        for path in parse_master(text):
            if path.startswith(f"{self._rendition.name}/"):
                return f"/{self.channel}/{path}"
        raise Malformed(f"the master playlist does not list {self._rendition.name}")

    async def _load(self, path: str) -> bool:
        """Load the playlist and what is new in it; whether there was anything new."""
        playlist = parse((await self._get(path)).decode())
        first = self._first_wanted(playlist)
        folder = path.rpartition("/")[0]
        if self._newest is None and playlist.map_uri:
            await self._get(f"{folder}/{playlist.map_uri}")
        for sequence in range(first, playlist.next_sequence):
            entry = playlist.entries[sequence - playlist.media_sequence]
            await self._get(f"{folder}/{entry.uri}", segment=True)
            self._newest = sequence
            self.playout.add(Piece(entry.start_us / 1e6, entry.duration), time.monotonic())
        return first < playlist.next_sequence

    def _first_wanted(self, playlist: Playlist) -> int:
        """The number of the first segment to get: the next, or the live one where the next is gone or too old."""
        live = max(playlist.media_sequence, playlist.next_sequence - HOLD_BACK_SEGMENTS)
        if self._newest is None:
            return live
        wanted = self._newest + 1
        if wanted < playlist.media_sequence:
            self.playout.drop()
            return live
        if self.playout.state == "stalled" and wanted < live:
            begins = playlist.entries[wanted - playlist.media_sequence].start_us / 1e6
            if time.time() - begins > BEHIND_LIMIT_S:
                self.playout.drop()
                return live
        return wanted

    async def _get(self, path: str, *, segment: bool = False) -> bytes:
        """A body from the edge in use; raises Unreachable when it fails or takes longer than REQUEST_TIMEOUT_S."""
        edge, began = self.edge, time.monotonic()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                answer = await self._client.get(edge.base_url + path)
        except (TimeoutError, httpx.TimeoutException) as error:
            self._observe(edge.name, "timeout", time.monotonic() - began)
            raise Unreachable(f"{edge.name} took too long for {path}") from error
        except httpx.HTTPError as error:
            self._observe(edge.name, "broken", time.monotonic() - began)
            raise Unreachable(f"{edge.name}: {error}") from error
        self._observe(edge.name, str(answer.status_code), time.monotonic() - began)
        if answer.status_code != 200:
            raise Unreachable(f"{edge.name} answered {answer.status_code} for {path}")
        if segment:
            self._throughput_kbps = round(len(answer.content) * 0.08 / max(1e-3, time.monotonic() - began)) * 100
        return answer.content

    def beacon(self, *, force: bool = False, ended: bool = False) -> str | None:
        """The CMCD line that is due: on a change of state, every REPORT_EVERY_S, or at the end; None if none is."""
        now = time.monotonic()
        state = "e" if ended else _STATES[self.playout.state]
        changed = state != self._reported_state
        if not (changed or force or now - self._reported_at >= REPORT_EVERY_S):
            return None
        absent = self.playout.absent_s(now)
        values: dict[str, Value] = {
            "v": 2,
            "e": Token("ps" if changed else "t"),
            "ts": round(time.time() * 1000),
            "sid": self.session,
            "cid": self.channel,
            "cdn": self.edge.name,
            "sta": Token(state),
            "sn": self._sequence,
            "bsd": round((absent - self._reported_absent_s) * 1000),
            "bl": round(self.playout.buffered_s * 10) * 100,
            "br": self._rendition.bitrate_bps // 1000,
            "sf": Token("h"),
            "st": Token("l"),
        }
        values.update(self._optional())
        self._sequence += 1
        self._reported_absent_s, self._reported_state, self._reported_at = absent, state, now
        return line(values)

    def _optional(self) -> dict[str, Value]:
        values: dict[str, Value] = {}
        latency = self.latency_s()
        if latency is not None:
            values["ltc"] = round(max(0.0, latency) * 1000)
        if self._throughput_kbps:
            values["mtp"] = self._throughput_kbps
        if self.playout.startup_s is not None and not self._startup_reported:
            values["msd"] = round(self.playout.startup_s * 1000)
            self._startup_reported = True
        return values

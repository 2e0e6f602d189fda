"""One listener: loads playlists and segments from an edge, another edge when that one fails, and reports by beacon."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from soundstage.beacons import Token, Value, line
from soundstage.errors import Malformed, Unreachable
from soundstage.hearing import silent_spans
from soundstage.plan import SEGMENT_SECONDS, Rendition
from soundstage.playlist import Playlist, parse, parse_master
from soundstage.playout import Piece, Playout

REQUEST_TIMEOUT_S = 2.0
HOLD_BACK_SEGMENTS = 3
BEHIND_LIMIT_S = 12.0
LOW_BUFFER_S = 2.5
REPORT_EVERY_S = 4.0
RETRY_S = 0.4
RETURN_AFTER_S = 30.0
RETURN_WITH_S = 3.0  # more than a time-out: whoever returns too early must not fall silent for it
_STATES = {"starting": "s", "playing": "p", "stalled": "r"}


@dataclass(frozen=True)
class Edge:
    """An edge as a player knows it."""

    name: str
    base_url: str


class _Steered(Unreachable):
    """The edge was drained while something was asked of it."""


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
        self._home = number // 2 % len(edges)
        self._edge_index = self._home
        self._drained: frozenset[str] = frozenset()
        self._away_since = -math.inf
        self._limit: asyncio.Timeout | None = None
        self._client = client
        self._observe = observe
        self.playout = Playout(time.monotonic())
        self._newest: int | None = None
        self._target_s = float(SEGMENT_SECONDS)
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

    @property
    def choice(self) -> tuple[str, Rendition]:
        """What it listens to."""
        return self.channel, self._rendition

    def steer(self, drained: frozenset[str]) -> None:
        """Keep off the edges named in `drained`, from now on; what is asked of one of them is asked of another."""
        if drained == self._drained:
            return
        self._drained = drained
        here, home = self.edge.name, self._edges[self._home].name
        if here not in drained and (here == home or home in drained):
            return
        if here in drained:
            self._turn_to_another()
        else:
            self._edge_index = self._home  # ours is open again
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())

    def _turn_to_another(self) -> None:
        """Take the next edge that is not drained; the same if there is no other."""
        count = len(self._edges)
        for step in range(1, count):
            index = (self._edge_index + step) % count
            if self._edges[index].name not in self._drained:
                self._edge_index, self._away_since = index, time.monotonic()
                return

    def _come_home(self) -> None:
        """Back to the edge that was given to us, some time after it failed, if we can afford that it still does."""
        rested = time.monotonic() - self._away_since > RETURN_AFTER_S
        if rested and self._edges[self._home].name not in self._drained and self.playout.buffered_s > RETURN_WITH_S:
            self._edge_index = self._home

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
                self._come_home()
                began = time.monotonic()
                changed = await self._load(playlist_path)
                delay = self._reload_after(changed=changed) - (time.monotonic() - began)
            except _Steered:
                delay = 0.0
            except (Unreachable, Malformed):
                self._turn_to_another()
                delay = RETRY_S
            await asyncio.sleep(max(0.05, delay))

    def _reload_after(self, *, changed: bool) -> float:
        """Seconds between loads: the target duration after a change, half of it without (RFC 8216, 6.3.4)."""
        if changed:
            return self._target_s
        return self._target_s / 2 if self.playout.buffered_s > LOW_BUFFER_S else self._target_s / 4

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
        self._target_s = float(playlist.target_duration)
        first = self._first_wanted(playlist)
        folder = path.rpartition("/")[0]
        if self._newest is None and playlist.map_uri:
            await self._get(f"{folder}/{playlist.map_uri}")
        for sequence in range(first, playlist.next_sequence):
            entry = playlist.entries[sequence - playlist.media_sequence]
            body = await self._get(f"{folder}/{entry.uri}", segment=True)
            self._newest = sequence
            silent = silent_spans(body, self._rendition.codec, entry.duration)
            self.playout.add(Piece(entry.start_us / 1e6, entry.duration, silent), time.monotonic())
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
        """A body from the edge in use.

        Raises Unreachable when it fails or takes longer than REQUEST_TIMEOUT_S, _Steered when we leave it meanwhile.
        """
        edge, began = self.edge, time.monotonic()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S) as self._limit:
                answer = await self._client.get(edge.base_url + path)
        except (TimeoutError, httpx.TimeoutException) as error:
            if self.edge is not edge:
                raise _Steered(f"{edge.name} was drained") from error
            self._observe(edge.name, "timeout", time.monotonic() - began)
            raise Unreachable(f"{edge.name} took too long for {path}") from error
        except httpx.HTTPError as error:
            self._observe(edge.name, "broken", time.monotonic() - began)
            raise Unreachable(f"{edge.name}: {error}") from error
        finally:
            self._limit = None
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

"""The listeners: as many players as the director asks for, each with sessions of its own, long and gently changing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import time
from collections import deque
from dataclasses import dataclass

import httpx
from prometheus_client import Counter, Gauge, Histogram

from soundstage import records, web
from soundstage.beacons import Sender
from soundstage.errors import Unreachable
from soundstage.favourite import choice
from soundstage.origin import BUCKETS
from soundstage.plain import plain_client
from soundstage.plan import Part, Plan, Rendition
from soundstage.player import Edge, Player
from soundstage.playout import Absence
from soundstage.process import Process, start

TICK_S = 0.25
AUDIENCE_EVERY_S = 1.0
CHANGE_EVERY_S = 0.5


@dataclass(frozen=True)
class _Seat:
    player: Player
    task: asyncio.Task[None]


class Players(Process):
    """Up to N players. Those who have listened longest leave first; their places are taken again later."""

    def __init__(self, plan: Plan, part: Part) -> None:
        super().__init__(plan, part)
        self._seats: deque[_Seat] = deque()
        self._free: deque[int] = deque(range(plan.seats))
        self._wanted = 0
        self._drained: frozenset[str] = frozenset()
        self._favourite: tuple[str, str, float] | None = None
        self._edges = tuple(Edge(edge.name, edge.base_url) for edge in plan.edges)
        records.close_left_open(plan.records_path)
        self._records = plan.records_path.open("a", buffering=1)
        self._wall_offset = time.time() - time.monotonic()
        self._sender: Sender | None = None
        if plan.beacon_url:
            self._sender = Sender(plan.beacon_url, plan.beacon_key_file, self.log, self.registry)
        self._make_metrics()

    def _make_metrics(self) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, registry=self.registry)

        self._sessions = gauge("player_sessions", "Sessions at this moment")
        self._stalled = gauge("player_stalled", "Sessions with sound due and absent")
        self._silent = gauge("player_silent", "Sessions that play digital silence, which no beacon tells")
        self._latency = gauge("player_latency_seconds", "Median of wall clock minus programme date at the play head")
        self._buffer = gauge("player_buffer_seconds", "Median of sound at hand")
        self._stalls = Counter("player_stalls", "Stalls", registry=self.registry)
        self._starved = Counter("player_starved_seconds", "Sound due and absent, ended", registry=self.registry)
        self._requests = Counter("player_requests", "Requests", ["edge", "outcome"], registry=self.registry)
        self._seconds = Histogram(
            "player_request_seconds", "As clients saw it", registry=self.registry, buckets=BUCKETS
        )

    def ready(self) -> bool:
        return any(seat.player.playout.state == "playing" for seat in self._seats)

    async def work(self) -> None:
        # No limit to connections, since one player's hanging requests must not make another wait.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        async with plain_client(timeout=3.0, limits=limits) as client:
            steps = [self._follow_director(), self._change_audience(client), self._tick()]
            if self._sender:
                steps.append(self._sender.run(client))
            try:
                await asyncio.gather(*steps)
            finally:
                for seat in list(self._seats):
                    await self._leave(seat)

    async def _follow_director(self) -> None:
        url = f"{self.plan.part('director').base_url}/audience"
        while True:
            with contextlib.suppress(Unreachable, ValueError, KeyError):
                told = json.loads((await web.get(url)).body)
                self._wanted, self._drained = int(told["listening"]), frozenset(told["drained"])
                self._favourite = tuple(told["favourite"]) if told["favourite"] else None
            for seat in self._seats:
                seat.player.steer(self._drained)
            await asyncio.sleep(AUDIENCE_EVERY_S)

    async def _change_audience(self, client: httpx.AsyncClient) -> None:
        while True:
            for seat in [seat for seat in self._seats if seat.task.done()]:
                await self._leave(seat)  # it broke, which is logged; another listener takes the place
            if len(self._seats) < self._wanted and self._free:
                self._join(client)
            elif len(self._seats) > self._wanted:
                await self._leave(self._seats[0])
            elif (bored := self._bored()) is not None:
                await self._leave(bored)  # and comes again at once, to hear what it likes now
                self._free.rotate(1)
                self._join(client)
            await asyncio.sleep(CHANGE_EVERY_S)

    def _join(self, client: httpx.AsyncClient) -> None:
        number = self._free.popleft()
        channel, rendition = choice(number, self.plan, self._favourite)
        player = Player(number, channel, rendition, self._edges, client, self._observe)
        player.steer(self._drained)
        task = asyncio.create_task(player.listen())
        task.add_done_callback(self._ended)
        self._seats.append(_Seat(player, task))
        self._report(player)

    def _bored(self) -> _Seat | None:
        """Who has listened longest to something else than it would choose now."""
        return next((seat for seat in self._seats if seat.player.choice != self._choice(seat)), None)

    def _choice(self, seat: _Seat) -> tuple[str, Rendition]:
        return choice(seat.player.number, self.plan, self._favourite)

    async def _leave(self, seat: _Seat) -> None:
        self._seats.remove(seat)
        self._free.append(seat.player.number)
        seat.task.cancel()
        await asyncio.gather(seat.task, return_exceptions=True)
        seat.player.playout.leave(time.monotonic())
        self._record(seat.player)
        self._report(seat.player, ended=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.log.alarm("player_broke", reason=repr(error))

    def _observe(self, edge: str, outcome: str, seconds: float) -> None:
        self._requests.labels(edge, outcome).inc()
        self._seconds.observe(seconds)
        if outcome != "200":
            self.log.warning("request_failed", edge=edge, outcome=outcome, seconds=round(seconds, 3))

    async def _tick(self) -> None:
        while True:
            now = time.monotonic()
            for seat in self._seats:
                seat.player.playout.advance(now)
                self._record(seat.player)
                self._report(seat.player)
            self._measure()
            await asyncio.sleep(TICK_S)

    def _measure(self) -> None:
        players = [seat.player for seat in self._seats]
        latencies = [latency for player in players if (latency := player.latency_s()) is not None]
        self._sessions.set(len(players))
        self._stalled.set(sum(player.playout.starved for player in players))
        self._silent.set(sum(player.playout.silent for player in players))
        self._latency.set(statistics.median(latencies) if latencies else 0.0)
        self._buffer.set(statistics.median(player.playout.buffered_s for player in players) if players else 0.0)

    def _report(self, player: Player, *, ended: bool = False) -> None:
        if self._sender and (text := player.beacon(ended=ended)):
            self._sender.put(text)

    def _record(self, player: Player) -> None:
        changes, player.playout.changed = player.playout.changed, []
        for absence in changes:
            self._records.write(self._stretch(player, absence).line())
            if absence.end is None:
                self._stalls.inc(absence.kind == "stall")
            elif absence.kind != "silence":
                self._starved.inc(absence.end - absence.start)

    def _stretch(self, player: Player, absence: Absence) -> records.Stretch:
        end = None if absence.end is None else records.moment(absence.end + self._wall_offset)
        return records.Stretch(
            id=absence.id,
            player=player.number,
            session=player.session,
            channel=f"channel:{player.channel}",
            edge=f"edge:{player.edge.name}",
            kind=absence.kind,
            start=records.moment(absence.start + self._wall_offset),
            end=end,
        )


if __name__ == "__main__":
    start(Players)

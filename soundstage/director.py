"""The director: says what the platform consists of, whether it is well, and how many are to listen at this hour."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from soundstage import web
from soundstage.errors import Malformed, Refused, Unreachable
from soundstage.favourite import HOURS, Habit, check
from soundstage.plan import Part, Plan, inventory, write_atomically
from soundstage.playlist import parse
from soundstage.process import Process, start

LOWEST_SHARE = 0.5
STALE_S = 8.0
OPENING_SEGMENTS = 3
CHECK_EVERY_S = 0.5


def audience(players: int, day_s: float, elapsed_s: float) -> int:
    """How many of `players` listen `elapsed_s` after the day's start: a smooth day, from LOWEST_SHARE up to all."""
    middle, swing = (1 + LOWEST_SHARE) / 2, (1 - LOWEST_SHARE) / 2
    share = middle - swing * math.cos(2 * math.pi * elapsed_s / day_s)
    return max(1, round(players * share))


class Routing:
    """Which edges are drained: no listener is sent there. Kept in `path`, so that a restart changes nothing."""

    def __init__(self, path: Path, edges: tuple[str, ...]) -> None:
        self._path = path
        self._edges = edges
        self.drained: frozenset[str] = frozenset()
        with contextlib.suppress(FileNotFoundError):
            self.drained = frozenset(json.loads(path.read_text()))

    def told(self) -> dict[str, list[str]]:
        """What GET /routing answers: entity ids."""
        return {"drained": [f"edge:{edge}" for edge in sorted(self.drained)]}

    def drain(self, edge: str) -> None:
        """Send nobody to `edge` any more; raises Refused for one that is not there or is the last."""
        if not set(self._edges) - self.drained - {self._known(edge)}:
            raise Refused(409, f"{edge} is the last edge that takes listeners; admit another one first")
        self._set(self.drained | {edge})

    def admit(self, edge: str) -> None:
        """Send listeners to `edge` again; raises Refused for one that is not there."""
        self._set(self.drained - {self._known(edge)})

    def _known(self, edge: str) -> str:
        if edge not in self._edges:
            raise Refused(404, f"no edge {edge}; known are: {', '.join(self._edges)}")
        return edge

    def _set(self, drained: frozenset[str]) -> None:
        self.drained = drained
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps(sorted(drained)).encode())


class Director(Process):
    """Lets nobody in before every rendition can be heard."""

    def __init__(self, plan: Plan, part: Part) -> None:
        super().__init__(plan, part)
        self._open = False
        self._inventory = inventory(plan)
        self._routing = Routing(plan.routing_path, tuple(edge.name for edge in plan.edges))
        self._habit = Habit(plan.habit_path)
        self._rush_share = 0.0
        self._rush_until = 0.0

    async def work(self) -> None:
        while not self._open:
            self._open = all(segments >= OPENING_SEGMENTS for segments, _ in (await self._playlists()).values())
            await asyncio.sleep(CHECK_EVERY_S)
        self.log.info("doors_opened")
        await self.run_until_cancelled()

    async def respond(self, request: web.Request) -> web.Response:
        if request.path == "/inventory":
            return web.json_answer(self._inventory)
        if request.path == "/audience":
            if request.method == "POST":
                self.demand_credentials(request)
                self._rush(request.json())
            return web.json_answer(self._audience())
        if request.path == "/audience/favourite" and request.method == "POST":
            self.demand_credentials(request)
            self._habit.take(check(request.json(), self.plan))
            self.log.info("favourite_changed", **asdict(self._habit.favourite) if self._habit.favourite else {})
            return web.json_answer(self._audience())
        if request.path == "/routing" or request.path.startswith("/routing/"):
            return self._route(request)
        return web.Response(404, b"GET /inventory, /audience, /routing, /health or /metrics\n")

    def _audience(self) -> dict[str, Any]:
        """What GET /audience answers: how many are to listen now, where none is sent, and what most of them take."""
        hour = HOURS * ((time.time() - self.plan.epoch) / self.plan.day_s % 1)
        return {
            "listening": self._listening(),
            "drained": sorted(self._routing.drained),
            "favourite": self._habit.told(hour),
        }

    def _route(self, request: web.Request) -> web.Response:
        """GET /routing, POST /routing/drain/EDGE, POST /routing/admit/EDGE."""
        deed, _, edge = request.path.removeprefix("/routing").removeprefix("/").partition("/")
        deeds = {"drain": self._routing.drain, "admit": self._routing.admit}
        if request.method == "POST" and deed in deeds:
            self.demand_credentials(request)
            deeds[deed](edge)
            self.log.info("routing_changed", deed=deed, edge=edge)
        elif request.method != "GET" or deed:
            raise Refused(404, "GET /routing, POST /routing/drain/EDGE or POST /routing/admit/EDGE")
        return web.json_answer(self._routing.told())

    def _rush(self, asked: Any) -> None:
        """Want at least `share` of the players for `seconds`; raises Malformed."""
        try:
            share, seconds = float(asked["share"]), float(asked["seconds"])
        except (KeyError, TypeError, ValueError) as error:
            raise Malformed('a rush is {"share": NUMBER, "seconds": NUMBER}') from error
        self._rush_share, self._rush_until = share, time.monotonic() + seconds
        self.log.info("rush_asked_for", share=share, seconds=seconds)

    async def health(self) -> web.Response:
        unwell = await self._unwell()
        return web.json_answer({"healthy": not unwell, "unwell": unwell}, 503 if unwell else 200)

    def _listening(self) -> int:
        if not self._open:
            return 0
        usual = audience(self.plan.players, self.plan.day_s, time.time() - self.plan.epoch)
        if time.monotonic() >= self._rush_until:
            return usual
        return max(usual, min(self.plan.seats, round(self.plan.players * self._rush_share)))

    async def _playlists(self) -> dict[str, tuple[int, float]]:
        """Per rendition: how many segments the first edge lists, and how old the newest is in seconds."""
        paths = [r["playlist"] for channel in self._inventory["channels"] for r in channel["renditions"]]
        return dict(zip(paths, await asyncio.gather(*(self._playlist(path) for path in paths)), strict=True))

    async def _playlist(self, path: str) -> tuple[int, float]:
        for edge in self.plan.edges:
            try:
                playlist = parse((await web.get(edge.base_url + path)).body.decode())
            except (Unreachable, Malformed, UnicodeDecodeError):
                continue
            if playlist.entries:
                return len(playlist.entries), time.time() - playlist.entries[-1].end_us / 1e6
        return 0, math.inf

    async def _unwell(self) -> list[str]:
        """What is not as it should be, in words; empty when all is well."""
        others = [part for part in self.plan.parts if part.name != self.part.name]
        answers = await asyncio.gather(*(self._check(part) for part in others))
        words = [answer for answer in answers if answer]
        for path, (segments, age) in (await self._playlists()).items():
            if segments == 0:
                words.append(f"{path} lists nothing")
            elif age > STALE_S:
                words.append(f"{path} is {age:.0f} s old")
        return words

    async def _check(self, part: Part) -> str | None:
        try:
            answer = await web.get(f"{part.base_url}/health")
        except Unreachable:
            return f"{part.name} does not answer"
        return None if answer.status == 200 else f"{part.name} is not ready"


if __name__ == "__main__":
    start(Director)

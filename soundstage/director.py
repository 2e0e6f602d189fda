"""The director: says what the platform consists of, whether it is well, and how many are to listen at this hour."""

from __future__ import annotations

import asyncio
import json
import math
import time

from soundstage import web
from soundstage.errors import Malformed, Unreachable
from soundstage.plan import Part, Plan, inventory
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


def _json(status: int, value: object) -> web.Response:
    return web.Response(status, json.dumps(value).encode(), "application/json")


class Director(Process):
    """Lets nobody in before every rendition can be heard."""

    def __init__(self, plan: Plan, part: Part) -> None:
        super().__init__(plan, part)
        self._open = False
        self._inventory = inventory(plan)

    async def work(self) -> None:
        while not self._open:
            self._open = all(segments >= OPENING_SEGMENTS for segments, _ in (await self._playlists()).values())
            await asyncio.sleep(CHECK_EVERY_S)
        self.log.info("doors_opened")
        await self.run_until_cancelled()

    async def respond(self, request: web.Request) -> web.Response:
        if request.path == "/inventory":
            return _json(200, self._inventory)
        if request.path == "/audience":
            return _json(200, {"listening": self._listening()})
        return web.Response(404, b"GET /inventory, /audience, /health or /metrics\n")

    async def health(self) -> web.Response:
        unwell = await self._unwell()
        return _json(503 if unwell else 200, {"healthy": not unwell, "unwell": unwell})

    def _listening(self) -> int:
        if not self._open:
            return 0
        return audience(self.plan.players, self.plan.day_s, time.time() - self.plan.epoch)

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

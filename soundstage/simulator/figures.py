"""What each line of a platform is, in columns: its level, its noise, and what else moves it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from soundstage.simulator.parts import Platform
from soundstage.simulator.wish import Wish

Floats = npt.NDArray[np.float64]
#: Common noise: standard deviation in the logarithm where a kind takes up 1 of it.
LOAD_SD, HOST_SD = 0.06, 0.05
#: How far a channel's day is shifted, and a line's season scaled, at random.
SHIFTED_S, SCALED = 3_600.0, 0.15
#: A fault moves a rare event's rate by factors of its magnitude, in no larger steps than this power of e.
WIDEST = 1.0
#: Below this level a whole number is drawn anew at each reading, above it is the rounded figure.
FEW = 20.0


class Figures:
    """What each line is, in columns."""

    def __init__(self, wish: Wish, of: Platform) -> None:
        chance = np.random.default_rng([wish.seed, 14])
        kinds = [line.kind for line in of.lines]
        count = len(kinds)

        def column(name: str) -> Floats:
            return np.array([getattr(kind, name) for kind in kinds], np.float64)

        low, high = np.array([kind.level for kind in kinds], np.float64).T
        self.level = low + (high - low) * chance.random(count)
        self.sd, self.tail, self.memory_s = column("sd"), column("tail"), column("memory_s")
        # Every part differs a little from its like, also in how long it remembers.
        self.memory_s = self.memory_s * np.exp(chance.uniform(-0.7, 0.7, count))
        self.sd = self.sd * np.exp(chance.uniform(-0.3, 0.3, count))
        self.season = column("season") * (1 + chance.uniform(-SCALED, SCALED, count))
        self.grows = (column("season") >= 1).astype(np.float64)
        self.load = column("load") * LOAD_SD
        self.host = column("host") * HOST_SD
        self.part = np.array([line.part for line in of.lines])
        hosts = np.array([part.host for part in of.parts])[self.part]
        self.on_host = np.where(hosts >= 0, hosts, 0)  # what runs nowhere takes no part, or follows the first host
        self.counter = np.array([kind.counter for kind in kinds])
        self.links = {link: np.flatnonzero([kind.link == link for kind in kinds]) for link in ("log", "level", "share")}
        self.channel = np.array([_channel(of.parts[line.part].id, of.parts[line.part].labels) for line in of.lines])
        self.shifts_s = np.concatenate([[0.0], chance.uniform(-SHIFTED_S, SHIFTED_S, of.channels)])
        per_step = np.where(self.counter, self.level * wish.every_s, self.level)
        whole = np.array([kind.whole for kind in kinds])
        self.drawn = np.flatnonzero(whole & (self.counter | (self.level < FEW)))
        self.rounded = np.flatnonzero(whole & ~self.counter & (self.level >= FEW))
        noise = self.sd**2 + self.load**2 + self.host**2
        noise[self.drawn] += 1 / per_step[self.drawn]
        #: A fault's magnitude is told in these: of all that moves the figure but its season.
        self.spread = np.sqrt(noise)
        self.spread[self.links["log"]] = np.minimum(self.spread[self.links["log"]], WIDEST)
        self.per = _siblings(of)
        self.up = np.array([kind.metric == "up" for kind in kinds])


def _channel(entity: str, labels: dict[str, str]) -> int:
    """Number of the channel that a part serves alone, 0 for none."""
    channel = entity if entity.startswith("channel:") else labels.get("channel", "")
    return int(channel.rpartition("ch")[2] or 0)


def _siblings(of: Platform) -> list[tuple[int, int]]:
    """(line, the counter by whose steps it grows); one whose counter is not told grows by itself."""
    place = {(line.part, line.kind.metric): number for number, line in enumerate(of.lines)}
    pairs = ((number, (line.part, line.kind.per)) for number, line in enumerate(of.lines) if line.kind.per)
    return [(number, place[key]) for number, key in pairs if key in place]

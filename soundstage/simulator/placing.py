"""When which fault happens to which series: drawn by the seed, and the ground truth that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soundstage.simulator.catalogue import Fault
from soundstage.simulator.happenings import Happenings
from soundstage.simulator.kinds import Kind
from soundstage.simulator.parts import Platform
from soundstage.simulator.wish import DAY_S, Wish

#: Two faults of one series, and a fault and planned work on its part, are at least so long apart.
APART_S = 3_600.0
TRIES = 60
#: A part downstream feels less than this of a fault's magnitude: it does not feel it.
FELT = 0.2
FARTHEST_HOPS = 4
#: A figure that takes up so much of the season follows the audience.
FOLLOWS = 0.5


@dataclass(frozen=True, slots=True)
class Hit:
    """A series that a fault moves from step `first` to before `until`, by `by` standard deviations at its worst."""

    line: int
    first: int
    until: int
    by: float


@dataclass(frozen=True, slots=True)
class Placed:
    """A fault that happens. The part is where it begins."""

    fault: Fault
    part: int
    hits: tuple[Hit, ...]

    @property
    def first(self) -> int:
        """The step of its onset."""
        return min(hit.first for hit in self.hits)

    @property
    def until(self) -> int:
        """The first step that it no longer touches."""
        return max(hit.until for hit in self.hits)

    def truth(self, wish: Wish, platform: Platform) -> dict[str, Any]:
        """What is really the matter, for the file of ground truth."""
        names = [platform.name(hit.line) for hit in self.hits]
        return {
            "fault": self.fault.name,
            "shape": self.fault.shape,
            "reach": self.fault.reach,
            "onset": wish.time(self.first).isoformat(),
            "end": wish.time(self.until).isoformat(),
            "entity": platform.parts[self.part].id,
            "entities": sorted({name["entity"] for name in names}),
            "series": [
                {
                    "number": hit.line,
                    "entity": name["entity"],
                    "metric": name["metric"],
                    "labels": name["labels"],
                    "onset": wish.time(hit.first).isoformat(),
                    "end": wish.time(hit.until).isoformat(),
                    "magnitude": round(hit.by, 3),
                }
                for hit, name in zip(self.hits, names, strict=True)
            ],
            "followers": self._followers(platform),
            "magnitude": round(max(abs(hit.by) for hit in self.hits), 3),
        }

    def _followers(self, platform: Platform) -> list[int]:
        """Numbers of series that move too, since they grow by the steps of one that is hit: seconds by requests."""
        if self.fault.shape in ("stuck", "dropout"):  # only what is told of it is wrong
            return []
        hit = {(platform.lines[hit.line].part, platform.lines[hit.line].kind.metric) for hit in self.hits}
        lines = enumerate(platform.lines)
        return [number for number, line in lines if (line.part, line.kind.per) in hit]


def placed(wish: Wish, platform: Platform, faults: Sequence[Fault], usual: Happenings) -> list[Placed]:
    """The faults that happen, by their onset: as many as `per_week` says, each of `faults` in its turn.

    One for which no room is found is left out.
    """
    if not faults:
        return []
    chance = np.random.default_rng([wish.seed, 12])
    weeks = (wish.steps - wish.first_faulty_step) * wish.every_s / DAY_S / 7
    count = int(chance.poisson(wish.per_week * weeks)) or 1
    order = list(faults)
    found: list[Placed] = []
    planner = _Planner(wish, platform, usual, chance)
    for number in range(count):
        if number % len(order) == 0:
            chance.shuffle(order)
        one = planner.place(order[number % len(order)])
        if one is not None:
            found.append(one)
    return sorted(found, key=lambda each: (each.first, each.fault.name))


class _Planner:
    def __init__(self, wish: Wish, platform: Platform, usual: Happenings, chance: np.random.Generator) -> None:
        self._wish, self._platform, self._chance = wish, platform, chance
        self._apart = round(APART_S / wish.every_s)
        self._lines: dict[int, list[int]] = {}
        for number, line in enumerate(platform.lines):
            if line.kind.moves:
                self._lines.setdefault(line.part, []).append(number)
        self._taken: dict[int, list[tuple[int, int]]] = {}
        for gap in usual.gaps:
            for told in self._lines.get(gap.part, []):
                self._taken.setdefault(told, []).append((gap.first, gap.until))

    def place(self, fault: Fault) -> Placed | None:
        """Somewhere, some time, where it meets nothing else."""
        parts = [part for part in self._lines if self._hittable(fault, part, origin=True)]
        if not parts:
            return None
        for _ in range(TRIES):
            one = self._try(fault, int(self._chance.choice(parts)))
            if one is not None:
                for hit in one.hits:
                    self._taken.setdefault(hit.line, []).append((hit.first, hit.until))
                return one
        return None

    def _try(self, fault: Fault, part: int) -> Placed | None:
        chance, every = self._chance, self._wish.every_s
        length = max(1, round(chance.uniform(*fault.minutes) * 60 / every))
        latest = self._wish.steps - length
        if latest <= self._wish.first_faulty_step:
            return None
        first = int(chance.integers(self._wish.first_faulty_step, latest))
        magnitude = float(chance.uniform(*fault.magnitude))
        hits: list[Hit] = []
        for place, hops in self._reached(fault, part):
            weaker = magnitude * fault.fading**hops
            if hops and fault.fading**hops < FELT:
                continue
            begun = first + round(hops * fault.hop_minutes * 60 / every)
            hits += [
                Hit(line, begun, first + length, self._signed(fault, line, weaker))
                for line in self._chosen(fault, place, origin=place == part)
                if begun < first + length
            ]
        return Placed(fault, part, tuple(hits)) if self._free(hits) else None

    def _reached(self, fault: Fault, part: int) -> list[tuple[int, int]]:
        if fault.reach != "path":
            return [(part, 0)]
        return [(place, hops) for place, hops in self._platform.downstream(part) if hops <= FARTHEST_HOPS]

    def _hittable(self, fault: Fault, part: int, *, origin: bool) -> list[int]:
        """Lines of a part that the fault may move. Stages say where it begins, not how far it goes."""
        if origin and fault.stages and self._platform.parts[part].stage not in fault.stages:
            return []
        kinds = ((line, self._platform.lines[line].kind) for line in self._lines.get(part, []))
        return [
            line
            for line, kind in kinds
            if (not fault.metrics or kind.metric in fault.metrics) and self._visible(fault.shape, kind)
        ]

    def _visible(self, shape: str, kind: Kind) -> bool:
        """Whether such a fault can be seen in such a figure: a truth that nobody could find measures nothing."""
        if shape == "season":
            return kind.season >= FOLLOWS
        if shape == "variance":
            return not kind.whole  # numbers around a mean tremble by themselves, whatever their mean does
        return shape != "stuck" or not kind.rare(self._wish.every_s)

    def _chosen(self, fault: Fault, part: int, *, origin: bool) -> list[int]:
        lines = self._hittable(fault, part, origin=origin)
        most = 1 if fault.reach == "series" else fault.lines
        if len(lines) <= most:
            return lines
        return sorted(self._chance.choice(lines, most, replace=False).tolist())

    def _signed(self, fault: Fault, line: int, magnitude: float) -> float:
        if fault.shape in ("variance", "stuck", "dropout", "season"):
            return magnitude
        kind = self._platform.lines[line].kind
        if kind.rare(self._wish.every_s):
            return magnitude
        worse = -1.0 if kind.good else 1.0
        sign = {"up": 1.0, "down": -1.0, "worse": worse}.get(fault.direction)
        return magnitude * (sign if sign is not None else float(self._chance.choice((-1.0, 1.0))))

    def _free(self, hits: Sequence[Hit]) -> bool:
        return bool(hits) and not any(
            first - self._apart < hit.until and hit.first < until + self._apart
            for hit in hits
            for first, until in self._taken.get(hit.line, ())
        )

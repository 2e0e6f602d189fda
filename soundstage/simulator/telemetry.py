"""The figures themselves, block by block: season, common noise, each line's own, what happens to them, and faults."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from soundstage.simulator.calendar import DAY_S, Calendar
from soundstage.simulator.catalogue import chosen
from soundstage.simulator.events import events
from soundstage.simulator.figures import Figures
from soundstage.simulator.happenings import MISSED, happenings
from soundstage.simulator.parts import Platform, platform
from soundstage.simulator.placing import Hit, Placed, placed
from soundstage.simulator.wandering import Wandering, coefficients
from soundstage.simulator.wish import Wish

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.int64]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Samples made at once.
BLOCK = 1_000_000
#: The common noise's memory; that of hosts has heavy tails.
LOAD_MEMORY_S, HOST_MEMORY_S, HOST_TAIL = 1_800.0, 240.0, 5.0
#: No figure lies farther from its level than this power of e.
FARTHEST = 8.0


@dataclass(frozen=True, slots=True)
class Block:
    """Steps `first` to before `first + len(values)`. values: (steps, lines); NaN where no sample came."""

    first: int
    values: Floats


class Simulation:
    """A platform's telemetry. Raises FaultError: an unknown fault, or a file of faults that cannot be used."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.platform: Platform = platform(wish.series)
        self.usual = happenings(wish, self.platform)
        self.faults: list[Placed] = placed(wish, self.platform, chosen(wish.faults, wish.faults_from), self.usual)
        chance, evening = np.random.default_rng([wish.seed, 13]), (wish.evening, wish.evening_from)
        self.calendar = Calendar(wish.start, wish.days, wish.growth, chance, evening)
        self.figures = Figures(wish, self.platform)

    @property
    def changes(self) -> list[dict[str, Any]]:
        """What was announced, as POST /v1/changes takes it."""
        return self.usual.changes

    def truth(self) -> dict[str, Any]:
        """What really happened, fault or not; for a file that nobody who judges the recording may read."""
        wish, parts = self.wish, self.platform.parts
        midnight = wish.start.replace(hour=0, minute=0, second=0, microsecond=0)
        days = [midnight + timedelta(days=day) for day in sorted(self.calendar.holidays)]
        return {
            "seed": wish.seed,
            "series": wish.series,
            "start": wish.start.isoformat(),
            "end": wish.end.isoformat(),
            "every_seconds": wish.every_s,
            "calm_until": wish.time(min(wish.first_faulty_step, wish.steps)).isoformat(),
            "faults": [each.truth(wish, self.platform) for each in self.faults],
            "no_faults": {
                "evenings": {"height": wish.evening, "from_day": wish.evening_from},
                "holidays": [f"{day:%Y-%m-%d}" for day in days if day < wish.end],
                "releases": [
                    {"time": wish.time(step).isoformat(), "number": line, "magnitude": round(by, 3)}
                    for step, line, by in self.usual.shifts
                ],
                "restarts": [
                    {"time": wish.time(step).isoformat(), "entity": parts[part].id}
                    for step, part in self.usual.resets
                    if step < wish.steps
                ],
                "missing": [
                    {
                        "entity": parts[gap.part].id,
                        "start": wish.time(gap.first).isoformat(),
                        "end": wish.time(gap.until).isoformat(),
                        "down": gap.down,
                    }
                    for gap in self.usual.gaps
                    if gap.first < wish.steps
                ],
            },
        }

    def times(self, block: Block) -> Indexes:
        """Microseconds since 1970 of a block's steps."""
        first = (self.wish.start - EPOCH) // timedelta(microseconds=1)
        steps = np.arange(block.first, block.first + len(block.values), dtype=np.float64)
        return first + np.rint(steps * (self.wish.every_s * 1e6)).astype(np.int64)

    def blocks(self) -> Iterator[Block]:
        """All steps, in order. Begin anew for another round: the same comes again."""
        run = _Run(self)
        longest = max(1, BLOCK // len(self.platform.lines))
        for first in range(0, self.wish.steps, longest):
            yield Block(first, run.draw(first, min(longest, self.wish.steps - first)))


class _Run:
    """One walk through all steps: what goes on from a block into the next."""

    def __init__(self, of: Simulation) -> None:
        self._of, self._figures = of, of.figures
        wish, figures = of.wish, of.figures
        seed = wish.seed
        own = coefficients(figures.memory_s, wish.every_s)
        self._own = Wandering(own, figures.tail, [seed, 1])
        self._load = Wandering(coefficients(np.array([LOAD_MEMORY_S]), wish.every_s), np.zeros(1), [seed, 2])
        hosts = of.platform.hosts
        self._hosts = Wandering(
            coefficients(np.full(hosts, HOST_MEMORY_S), wish.every_s), np.full(hosts, HOST_TAIL), [seed, 3]
        )
        self._counts = np.random.default_rng([seed, 4])
        self._missed = np.random.default_rng([seed, 5])
        self._totals = np.zeros(len(figures.level))
        self._released = np.zeros(len(figures.level))
        # Of each line that will be stuck: what it told last, should that happen where a block begins.
        self._last = {hit.line: math.nan for each in of.faults if each.fault.shape == "stuck" for hit in each.hits}
        self._stuck: dict[int, float] = {}

    def draw(self, first: int, steps: int) -> Floats:
        """The block's values."""
        moved = self._moved(first, steps)
        values = self._linked(moved)
        self._count(values, first)
        self._drop(values, first)
        self._hold(values, first)
        return values

    def _moved(self, first: int, steps: int) -> Floats:
        """How far each line lies from its level, in its link's domain: (steps, lines)."""
        figures, of = self._figures, self._of
        seconds: Floats = np.arange(first, first + steps, dtype=np.float64) * of.wish.every_s
        own = self._own.draw(steps)
        for hit, rows in self._hits(first, steps, "variance"):
            own[rows, hit.line] *= hit.by
        own *= figures.sd
        own += self._load.draw(steps) * figures.load
        own += self._hosts.draw(steps)[:, figures.on_host] * figures.host
        season = np.stack([of.calendar.season(seconds + shift) for shift in figures.shifts_s], axis=1)
        own += season[:, figures.channel] * figures.season
        own += of.calendar.growth(seconds)[:, None] * figures.grows
        self._release(own, first)
        for shape in ("spike", "shift"):
            for hit, rows in self._hits(first, steps, shape):
                own[rows, hit.line] += hit.by * figures.spread[hit.line]
        for hit, rows in self._hits(first, steps, "drift"):
            risen = (np.arange(rows.start, rows.stop) + first - hit.first + 1) / (hit.until - hit.first)
            own[rows, hit.line] += hit.by * figures.spread[hit.line] * risen
        for hit, rows in self._hits(first, steps, "season"):
            at = seconds[rows] + figures.shifts_s[figures.channel[hit.line]]
            wrong = of.calendar.season(at + DAY_S / 2) - of.calendar.season(at)
            own[rows, hit.line] += wrong * figures.season[hit.line]
        return own

    def _hits(self, first: int, steps: int, shape: str) -> Iterator[tuple[Hit, slice]]:
        """What faults of this shape do to this block."""
        for fault in self._of.faults:
            if fault.fault.shape != shape or fault.first >= first + steps or fault.until <= first:
                continue
            for hit in fault.hits:
                begin, end = max(hit.first - first, 0), min(hit.until - first, steps)
                if begin < end:
                    yield hit, slice(begin, end)

    def _release(self, own: Floats, first: int) -> None:
        """Releases change levels for good."""
        own += self._released
        for step, line, by in self._of.usual.shifts:
            if first <= step < first + len(own):
                shift = by * self._figures.spread[line]
                own[step - first :, line] += shift
                self._released[line] += shift

    def _linked(self, moved: Floats) -> Floats:
        figures = self._figures
        log, level, share = (figures.links[link] for link in ("log", "level", "share"))
        values = np.empty_like(moved)
        values[:, log] = figures.level[log] * np.exp(np.clip(moved[:, log], -FARTHEST, FARTHEST))
        values[:, level] = figures.level[level] + moved[:, level]
        odds = np.log(figures.level[share] / (1 - figures.level[share])) + moved[:, share]
        values[:, share] = 1 / (1 + np.exp(-odds))
        return values

    def _count(self, values: Floats, first: int) -> None:
        """Whole numbers, and counters that add up until their process begins anew."""
        figures = self._figures
        values[:, figures.rounded] = np.rint(values[:, figures.rounded])
        means = values[:, figures.drawn] * np.where(figures.counter[figures.drawn], self._of.wish.every_s, 1.0)
        values[:, figures.drawn] = events(means, self._counts.standard_normal(means.shape))
        paired = {line for line, _ in figures.per}
        plain = figures.counter.copy()
        plain[figures.drawn] = False
        plain[list(paired)] = False
        values[:, plain] *= self._of.wish.every_s
        for line, sibling in figures.per:
            values[:, line] *= values[:, sibling]
        counters = np.flatnonzero(figures.counter)
        steps = values[:, counters]
        carried = np.concatenate([self._totals[None, counters], steps])
        totals = np.cumsum(carried, axis=0)[1:]
        for step, part in self._of.usual.resets:
            if first <= step < first + len(values):
                own = np.flatnonzero(figures.part[counters] == part)
                totals[step - first :, own] = np.cumsum(steps[step - first :, own], axis=0)
        self._totals[counters] = totals[-1]
        values[:, counters] = totals

    def _drop(self, values: Floats, first: int) -> None:
        """What does not come: single scrapes, gaps of a part, and what a fault holds back."""
        figures, count = self._figures, len(self._of.platform.parts)
        missed = self._missed.random((len(values), count)) < MISSED
        gaps = [
            (gap, slice(max(gap.first - first, 0), min(gap.until - first, len(values))))
            for gap in self._of.usual.gaps
            if gap.first < first + len(values) and gap.until > first
        ]
        for gap, rows in gaps:
            missed[rows, gap.part] = True
        values[missed[:, figures.part]] = np.nan
        for gap, rows in gaps:
            if gap.down:  # what is stopped tells nothing, and that it is down
                values[rows, figures.up & (figures.part == gap.part)] = 0.0
        for hit, rows in self._hits(first, len(values), "dropout"):
            values[rows, hit.line] = np.nan

    def _hold(self, values: Floats, first: int) -> None:
        """Figures that are told again and again as they last were."""
        for hit, rows in self._hits(first, len(values), "stuck"):
            if hit.first >= first:
                told = values[: rows.start, hit.line]
                told = told[~np.isnan(told)]
                self._stuck[hit.line] = told[-1] if len(told) else self._last[hit.line]
            here = values[rows, hit.line]
            values[rows, hit.line] = np.where(np.isnan(here), here, self._stuck[hit.line])
        for line in self._last:
            told = values[~np.isnan(values[:, line]), line]
            if len(told):
                self._last[line] = float(told[-1])

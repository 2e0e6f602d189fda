"""Drift on simulated platforms: false alarms in months without, planted shifts found within a day; beside Evidently.

Each seed is a platform of 240 series read once a minute: 28 days of reference, then a month of 30 days with day and
week, holidays, usual growth, common noise, heavy tails and missing scrapes, but nothing that is drift. Every six hours
each view's windows of five minutes, and the scores of a model of it, are judged. Then ten shifts are planted, each at
an hour of its own. `make bench NAME=drift`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_store.definitions import features, floors, names
from ml.drift import Judged, Verdict, judge
from ml.drift_days import Hourly, Rows, hourly
from ml.drift_report import report
from tests.benchmarks import _drifting
from tests.benchmarks._drift_page import document, page
from tests.benchmarks._drifting import DAY_US, SHIFTS, VIEWS, Drifting, Planted, between, joined, model, scored
from tests.benchmarks._published import publish, say
from tonewatch.clock import microseconds

REFERENCE, TEST, SERIES = 28, 30, 240
DAYS = REFERENCE + 1 + TEST
HOURS = (0, 6, 12, 18, 24)
SIZES = (1.0, 0.5, 0.25)
SCORES = ("score",)
#: Platforms of which Evidently watches a month, each another view; and those whose planted shifts it is asked about: a
#: run of it takes seconds, nearly all of them for its pictures.
RIVAL_MONTHS, RIVAL_PLANTED, RIVAL_STEP = 7, 2, 3 * DAY_US


@dataclass(frozen=True)
class Watched:
    """What is judged: rows of all days, and what its columns are. start: of the platform, microseconds since 1970."""

    rows: Rows
    names: tuple[str, ...]
    floors: tuple[float, ...]
    start: int

    @cached_property
    def hours(self) -> Hourly:
        """All days summed up by the hour, once for all checks."""
        return hourly(self.rows, self.start + DAYS * DAY_US, DAY_US, DAYS)

    def judged(self, end: int) -> Judged:
        """The day before `end`, microseconds since 1970, against the 28 before it."""
        return judge(ending(self.hours, end, REFERENCE + 1), self.names, self.floors)

    def evidently(self, end: int) -> tuple[bool, bool]:
        """What the plain preset says of the same: drift in half of the columns, and in any."""
        then = between(self.rows, end - (REFERENCE + 1) * DAY_US, end - DAY_US)
        told = report(self.names, then.values, between(self.rows, end - DAY_US, end).values)
        return told.drifted, any(beyond for _, beyond in told.columns.values())


def ending(of: Hourly, end: int, days: int) -> Hourly:
    """What `hourly` gives of the same rows for an earlier end at a full hour, without summing them up again."""
    hour = of.day // 24

    def earlier(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        line = np.roll(values, -((of.end // hour) % 24), axis=2)[:, ::-1]
        line = line.reshape(len(values), -1, *values.shape[3:])
        last = line.shape[1] - (of.end - end) // hour
        blocks = line[:, last - 24 * days : last].reshape(len(values), days, 24, *values.shape[3:])
        return np.roll(blocks[:, ::-1], (end // hour) % 24, axis=2)

    return Hourly(end, of.day, *map(earlier, (of.mean, of.variance, of.rows, of.numbers)))


def ends(start: int, step: int) -> Iterator[int]:
    """The checks of the test month, every `step` microseconds."""
    yield from range(start + (REFERENCE + 1) * DAY_US, start + DAYS * DAY_US, step)


def episodes(alarms: Sequence[bool]) -> int:
    """How often an alarm began."""
    return sum(now and not before for before, now in zip([False, *alarms], alarms, strict=False))


def month(watched: Watched, step: int = DAY_US // 4) -> dict[str, Any]:
    """A month of checks: alarms that began, checks that said drift or growth, and what they named."""
    told = [watched.judged(end) for end in ends(watched.start, step)]
    drifted = [each.verdict is Verdict.DRIFT for each in told]
    named = {f"{shift.feature} {shift.aspect}" for each in told for shift in each.drifted}
    return {
        "alarms": episodes(drifted),
        "checks": len(told),
        "drift": sum(drifted),
        "growth": sum(each.verdict is Verdict.GROWTH for each in told),
        "named": sorted(named),
    }


class Seed:
    """One platform, and everything that is asked of it."""

    def __init__(self, seed: int, place: int) -> None:
        """place: among the seeds; Evidently is asked on the first ones."""
        self.seed, self.place = seed, place
        self.platform = Drifting(seed, SERIES, float(DAYS), float(REFERENCE), faults=False)
        self.start = microseconds(self.platform.time(0))
        self.views: dict[str, Watched] = {}
        self.scores: dict[str, Watched] = {}
        self.models: dict[str, Any] = {}
        for view in VIEWS:
            rows = self.platform.whole(view)
            learned = model(view, between(rows, self.start, self.start + REFERENCE * DAY_US), seed)
            self.models[view] = learned
            self.views[view] = Watched(rows, names(view), floors(view), self.start)
            self.scores[view] = Watched(scored(learned, rows), SCORES, (_drifting.SCORE_FLOOR,), self.start)

    def told(self) -> dict[str, Any]:
        """False alarms of the month and what was found of the planted."""
        began = process_time()
        calm = {view: month(watched) for view, watched in self.views.items()}
        took = process_time() - began
        scores = {view: month(watched) for view, watched in self.scores.items()}
        bare = {
            view: month(replace(each, floors=tuple(floor / 1e4 for floor in each.floors)), DAY_US)
            for view, each in self.views.items()
        }
        chance = np.random.default_rng([self.seed, 7])
        planted = [self._planted(shift, _onset(chance)) for shift in SHIFTS]
        holidays = [day for day in sorted(self.platform.simulation.calendar.holidays) if REFERENCE < day < DAYS]
        alarms = {view: each["alarms"] for view, each in calm.items()}
        say(f"seed {self.seed}: {alarms}, {sum(each['sizes']['1']['delay_h'] is not None for each in planted)} found")
        return {
            "seed": self.seed,
            "calm": calm,
            "scores": scores,
            "without_floors": bare,
            "planted": planted,
            "evidently": self._rival_month() if self.place < RIVAL_MONTHS else None,
            "holidays_in_test": len(holidays),
            "check_ms": round(1000 * took / sum(each["checks"] for each in calm.values()), 1),
        }

    def _rival_month(self) -> dict[str, Any]:
        """Evidently every third day over one view, another of each platform."""
        view = VIEWS[self.place]
        told = [self.views[view].evidently(end) for end in ends(self.start, RIVAL_STEP)]
        return {
            "view": view,
            "half": episodes([half for half, _ in told]),
            "any": episodes([some for _, some in told]),
            "days_half": sum(half for half, _ in told),
            "days_any": sum(some for _, some in told),
            "days": len(told),
        }

    def _planted(self, shift: Planted, onset: int) -> dict[str, Any]:
        sizes = {f"{size:g}": self._found(shift, onset, size) for size in SIZES}
        return {"name": shift.name, "view": shift.view, "told": shift.told, "onset_step": onset, "sizes": sizes}

    def _found(self, shift: Planted, onset: int, size: float) -> dict[str, Any]:
        """Hours from the onset to the first check that names it; None: none did within a day, or one before it did."""
        watched, at = self._with(shift, onset, size), self.start + onset * 60_000_000
        delay, named = None, ""
        for hours in HOURS:
            told = watched.judged(at + hours * (DAY_US // 24))
            hit = [each for each in told.drifted if each.feature in touched(shift)]
            if hit and hours:
                delay, named = hours, f"{hit[0].feature} {hit[0].aspect} {hit[0].effect:+.2f}"
            if hit:
                break
        found: dict[str, Any] = {"delay_h": delay, "named": named}
        if self.place < RIVAL_PLANTED and size == 1.0:
            before, after = watched.evidently(at), watched.evidently(at + DAY_US)
            found |= {"half": after[0] and not before[0], "any": after[1] and not before[1], "any_before": before[1]}
        return found

    def _with(self, shift: Planted, onset: int, size: float) -> Watched:
        """The view, or the scores of its model, with the shift from the onset on."""
        platform, of = self.platform, self.views[shift.view]
        stride = round(_drifting.WINDOW_S / _drifting.EVERY_S)
        day = round(_drifting.DAY_S / _drifting.EVERY_S)
        first, until = onset - 30 * stride, onset + day + stride
        told = platform.values[first : until + 1, platform.columns(shift.view)]
        moved = platform.rows(shift.view, first, until, shift.into(platform, told, onset - first, shift.size * size))
        at = self.start + onset * 60_000_000
        rows = joined([between(of.rows, 0, at), between(moved, at, at + DAY_US)])
        if not shift.scores:
            return replace(of, rows=rows)
        return replace(self.scores[shift.view], rows=scored(self.models[shift.view], rows))


def touched(shift: Planted) -> set[str]:
    """The features that the shift moves."""
    if shift.scores:
        return set(SCORES)
    return {each.name for each in features(shift.view) if set(shift.metrics) & {*each.metrics, *each.per}}


def _onset(chance: np.random.Generator) -> int:
    """A step at a full hour, whenever in the month."""
    hour = int(chance.integers((REFERENCE + 2) * 24, (DAYS - 2) * 24))
    return hour * 60


def _seed(asked: tuple[int, int]) -> dict[str, Any]:
    return Seed(*asked).told()


def main() -> None:
    """Run it and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="how many platforms (default 10)")
    parser.add_argument("--first", type=int, default=1, help="the first seed; choices were made on 301 and on")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with seeds of its own (default 1)")
    parser.add_argument("--without-rival", action="store_true", help="do not ask Evidently: most of the time")
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    options = parser.parse_args()
    began = monotonic()
    away = RIVAL_MONTHS if options.without_rival else 0
    asked = [(options.first + place, place + away) for place in range(options.seeds)]
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        told = list(pool.map(_seed, asked))
    publish(document(told, SERIES, TEST), monotonic() - began, options.json, page)


if __name__ == "__main__":
    main()

"""Simulated platforms on which people judge what they were told, and what each way to hear them makes of thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.calibration import calibrate
from ml.ensemble import default_ensemble
from ml.hindsight import ALONE, eased, pattern, uncalm
from soundstage.simulator.placing import Placed
from soundstage.simulator.telemetry import Simulation
from soundstage.simulator.wish import Wish
from tasks.backtest import PastIncident
from tasks.calibrate import CAUTION, STREAMED, calm_of_series, disturbed, family_of
from tasks.train import budget_of
from tests.benchmarks._followed import stream
from tests.benchmarks._simulated import Simulated
from tests.benchmarks._spent import MINUTES, Stretches, chains, opened, ours, series_calm, series_told
from tonewatch.settings import PageBudget, load_profile

Floats = npt.NDArray[np.float64]
#: Calm days, days in which people judge, days that are held back; faults a week in the last two.
CALM, JUDGED, HELD_BACK, PER_WEEK = 10, 14, 14, 10.0
#: An incident belongs to a fault also when it opens with its mending: whoever looks sees why.
MENDING = timedelta(hours=6)
#: A fault that is shorter is found in so long after its onset.
LIMIT = timedelta(minutes=10)
DAY = 1440
#: Fewer than the product draws: there are hundreds of calibrations.
RESAMPLES = 20


@dataclass(frozen=True)
class Busy(Simulated):
    """A platform with more faults a week than is usual, so that few days tell something."""

    @cached_property
    def simulation(self) -> Simulation:
        """All that a platform has by default, and the whole catalogue of faults."""
        wish = Wish(
            self.series, self.days, seed=self.seed, faults=("all",), per_week=PER_WEEK, calm_days=self.calm_days
        )
        return Simulation(wish)


@dataclass(frozen=True)
class Told:
    """What people were told in the judged days. score: its highest; about: the family that opened it; real: the truth;
    near: not told by the threshold in force, only below it.
    """

    id: str
    past: PastIncident
    about: str
    scores: dict[str, float]
    real: bool
    near: bool

    @property
    def score(self) -> float:
        """Its highest."""
        return max(self.scores.values())


class World:
    """One platform: what was told in its judged days, and what thresholds do in its held-back days."""

    def __init__(self, platform: Busy, calm: Floats, later: Floats) -> None:
        profile = load_profile("platform").model_copy(update=MINUTES | {"budget": PageBudget(pages_per_week=1.0)})
        self.platform, self.later, self.seed = platform, later, platform.seed
        self.ticks = Stretches.of(platform, profile)
        middle = JUDGED * DAY
        self.judged = replace(self.ticks, test=self.ticks.test[:middle])
        self.held = replace(self.ticks, test=self.ticks.test[middle:])
        first = ours(platform, [], series_calm(platform, calm, self.ticks, STREAMED), self.ticks, {}).thresholds
        self.first = {family: each.value for family, each in first.items()}
        self.told = self._told({family: each.low for family, each in first.items()})
        self._fits: dict[frozenset[str], dict[str, float]] = {}

    def _told(self, lower: dict[str, float]) -> list[Told]:
        """What the thresholds in force told, and what lower ones (their intervals' low ends) add."""
        found: list[Told] = []
        for near, thresholds in ((False, self.first), (True, lower)):
            past = opened(self.platform, self._series(self.judged), thresholds, self.judged)
            seen = [each.past for each in found]
            new = [each for each in past if not any(_same(each, one) for one in seen)]
            found += [self._one(f"{'n' if near else 't'}{number}", each, near) for number, each in enumerate(new)]
        return found

    def _one(self, name: str, past: PastIncident, near: bool) -> Told:
        scores: dict[str, float] = {}
        for finding in past.findings:
            family = family_of(self.platform.names[int(finding.detector.partition(":")[2])])
            scores[family] = max(scores.get(family, 0.0), finding.score or 0.0)
        return Told(name, past, next(iter(scores)), scores, self._fault(past) is not None, near)

    def _series(self, of: Stretches) -> Any:
        middle = JUDGED * DAY
        part = slice(None, middle) if of is self.judged else slice(middle, None)
        return series_told(self.platform, self.later[part], STREAMED, "series")

    def _near(self, placed: Placed) -> set[str]:
        parts, lines = self.platform.simulation.platform.parts, self.platform.simulation.platform.lines
        truth = {parts[lines[hit.line].part].id for hit in placed.hits}
        topology = self.platform.topology
        return {each for each in topology.entities if any(topology.related(each, one) for one in truth)}

    def _fault(self, past: PastIncident) -> Placed | None:
        """The fault to which an incident belongs."""
        for placed in self.platform.faulted:
            first, until = self.platform.time(placed.first), self.platform.time(placed.until - 1)
            if first <= past.ended and past.opened <= until + MENDING and self._near(placed) & set(past.entities):
                return placed
        return None

    def fitted(self, real: frozenset[str]) -> dict[str, float]:
        """Thresholds of the judged days' scores, without those of the incidents of these ids; score by family."""
        if real not in self._fits:
            names, platform = self.platform.names, self.platform
            entities = [series.entity for series in names]
            known = sorted(set(entities))
            worked = disturbed(known, self.judged.test, platform.changes, platform.topology)
            mask = worked[[known.index(entity) for entity in entities]]
            spans = [(t.past.onset.timestamp(), t.past.ended.timestamp()) for t in self.told if t.id in real]
            mask = mask | uncalm([end.timestamp() for end in self.judged.test], spans)[None]
            linked = chains(platform)
            scores = self.later[: JUDGED * DAY].T.astype(np.float64)
            calm = calm_of_series(names, scores, linked, mask, STREAMED)
            budget = budget_of(self.ticks.stretch.profile)
            fit = calibrate(calm, budget, caution=CAUTION, resamples=RESAMPLES, seed=self.seed)
            self._fits[real] = {family: each.value for family, each in fit.thresholds.items()}
        return self._fits[real]

    def raised(
        self, false: frozenset[str], lone: frozenset[str], real: frozenset[str], careful: bool
    ) -> dict[str, float]:
        """The thresholds in force, eased by what was called a false alarm. careful: as tasks/recalibrate.py does it
        now; else by each false alarm, as it did before.
        """
        found = {}
        for family, value in self.first.items():
            scores = [
                [t.scores[family] for t in self.told if t.id in ids and family in t.scores and t.scores[family] > value]
                for ids in (false, lone, real)
            ]
            several = pattern(scores[0]) if careful else scores[0]
            found[family] = max(
                eased(value, value, several, scores[2]), eased(value, value, scores[1], scores[2], ALONE)
            )
        return found

    def lived(self, thresholds: dict[str, float]) -> dict[str, Any]:
        """What thresholds do in the held-back days: faults found, in weeks that kept the budget; false pages."""
        past = opened(self.platform, self._series(self.held), thresholds, self.held)
        start = self.held.test[0]
        false = [0] * (HELD_BACK // 7)
        for each in past:
            if self._fault(each) is None:
                false[min(len(false) - 1, _week(each.opened, start))] += 1
        found, kept, faults = 0, 0, 0
        for placed in self.platform.faulted:
            onset = self.platform.time(placed.first)
            if onset < start:
                continue
            faults += 1
            end = max(self.platform.time(placed.until - 1), onset + LIMIT)
            near = self._near(placed)
            if any(onset <= each.opened <= end and near & set(each.entities) for each in past):
                found += 1
                kept += false[min(len(false) - 1, _week(onset, start))] <= 1
        return {"faults": faults, "found": found, "within_budget": kept, "false_pages": sum(false)}


def worlds(seeds: Sequence[int], series: int) -> list[World]:
    """The platforms of these seeds, scored side by side by the streaming ensemble."""
    whole = float(CALM + JUDGED + HELD_BACK)
    platforms = [Busy(seed, series, whole, float(CALM), faults=True) for seed in seeds]
    state = default_ensemble().begin(series * len(seeds), np.concatenate([each.counters for each in platforms]))
    calm, end = platforms[0].calm_steps, platforms[0].simulation.wish.steps
    early = stream(platforms, 0, calm, state, calm // 2)
    late = stream(platforms, calm, end, state, calm)
    made = []
    for platform, before, after in zip(platforms, early, late, strict=True):
        profile = load_profile("platform").model_copy(update=MINUTES | {"budget": PageBudget(pages_per_week=1.0)})
        run = budget_of(profile).run
        scores = [each.lasting(platform.rates(), run) for each in (before, after)]
        first, last = Stretches.of(platform, profile).steps(platform)
        both = np.concatenate(scores)
        made.append(World(platform, both[first - before.first : last - before.first + 1], scores[1][1:]))
    return made


def _same(one: PastIncident, other: PastIncident) -> bool:
    """Whether two incidents are one for whoever looks: they overlap and share a part."""
    return one.onset <= other.ended and other.onset <= one.ended and bool(set(one.entities) & set(other.entities))


def _week(time: datetime, start: datetime) -> int:
    return int((time - start) / timedelta(days=7))

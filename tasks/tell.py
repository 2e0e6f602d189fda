"""Step 3c: what the reports of single series tell, for as long as it lasts: a condition per entity and metric. Pure.

An episode is counted as the calibration counts it (tasks/calibrate.py): one for as long as no QUIET rounds pass without
a new report, for so long the ensemble keeps repeats to itself. It is shown as holding until its values have come back
for as many rounds as it took to believe that they had gone: an incident is not to stay open for what is over. What
is reported again meanwhile is the same episode, with its beginning and its words: the same finding, no second page.

Where the course of the platform (ml/course.py) judges a series, it alone speaks for it, in any round in which it is
above its threshold: that is what the page budget is measured with. The ensemble speaks for those that it cannot judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np

from ml.course import Course
from ml.ensemble import QUIET, default_ensemble
from ml.episodes import HALFWAY
from ml.fingerprint import fingerprint, fingerprint_of_course
from ml.lasting import kept_way
from policy.conditions import Condition
from policy.strange import BY_COURSE, Strange, condition, lasts
from tasks.alongside import least_of
from tasks.follow import Follower, Heard, family_of
from tasks.rounds import from_seconds
from tonewatch.records import Series
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse.calibrations import COURSE, SERIES, Calibrated, model_version


@dataclass(slots=True)
class Told:
    """What the last report of one series in an episode told. back: rounds in a row in which its values were back."""

    look: str
    expected: float
    actual: float
    score: float
    threshold: float
    rate: float
    model_version: str
    back: int = 0


@dataclass(slots=True)
class Episode:
    """What is strange about a metric of an entity. since, met: epoch seconds; round: of its last report."""

    since: float
    met: float
    round: int
    summary: str = ""
    told: dict[int, Told] = field(default_factory=dict)


Key = tuple[str, str]


def course_of(series: Series) -> str:
    """What tells of a series by the course of its platform: a detector of its own for each metric."""
    return f"{BY_COURSE}{series.metric}"


class Teller:
    """Follows the series of a tenant and tells what is strange about them.

    thresholds: by family, of this very ensemble and course. A family without one tells nothing; the course does, by
    what other platforms' calm has shown, below which its own calm never sets one.
    """

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.thresholds: Mapping[str, Calibrated] = {}
        self.episodes: dict[Key, Episode] = {}
        #: Whether a tick broke off: what is known now is no more to be kept.
        self.broken = False
        self._version = model_version(COURSE, fingerprint_of_course())

    def tick(self, now: datetime, topology: Topology, profile: Profile) -> list[Condition]:
        """What single series of the platform tell at `now`, of all that the follower has heard."""
        heard = self.follower.tick(now, topology, profile)
        self._forget()
        for each in heard:
            self._look_back(each, profile)
            self._begin(each, profile)
            self._stray(each, profile)
        newest = self.follower.rounds.last
        self.episodes = {key: each for key, each in self.episodes.items() if newest - each.round <= QUIET}
        return [each for each in self.conditions() if each.entity in topology.entities]

    def conditions(self) -> Iterator[Condition]:
        """What holds now, in order: of several series of an entity and metric the strangest speaks."""
        series, run = self.follower.series, self.follower.lasting.run
        for (_, detector), episode in sorted(self.episodes.items()):
            holding = [(told.score, -row) for row, told in episode.told.items() if told.back < run]
            if not holding:
                continue
            row = -max(holding)[1]
            said = _condition(series[row], episode, episode.told[row], detector)
            episode.summary = episode.summary or said.summary
            yield replace(said, summary=episode.summary)

    def document(self) -> list[Any]:
        """The episodes as JSON holds them."""
        return [[*key, asdict(episode)] for key, episode in self.episodes.items()]

    def restore(self, document: list[Any]) -> None:
        """Go on with what document() gave. Raises KeyError, TypeError, ValueError: it is another thing."""
        found = {}
        for entity, detector, each in document:
            told = {int(row): Told(**one) for row, one in each.pop("told").items()}
            found[entity, detector] = Episode(**each, told=told)
        self.episodes = found

    def _forget(self) -> None:
        """What was told of series that are not followed any more; their rows are others'."""
        rows = set(self.follower.gone)
        self.follower.gone.clear()
        for episode in self.episodes.values():
            for row in rows & set(episode.told):
                del episode.told[row]

    def _look_back(self, heard: Heard, profile: Profile) -> None:
        """Count the rounds in which the values of what was told were back."""
        run, threshold = self.follower.lasting.run, self._course(profile)[0]
        for (_, detector), episode in self.episodes.items():
            for row, told in episode.told.items():
                if told.back >= run:  # once it was over only a new report begins it anew
                    continue
                back = _below(heard, row, threshold) if lasts(detector) else _halfway(heard, row, told)
                if back is not None:
                    told.back = told.back + 1 if back else 0

    def _begin(self, heard: Heard, profile: Profile) -> None:
        """What the ensemble's reports tell, of series that the course has not judged since."""
        for report in heard.confirmed:
            row = int(report["row"])
            series = self.follower.series[row]
            fit = self.thresholds.get(family_of(series))
            if fit is None or report["score"] <= fit.threshold:
                continue
            if self.follower.alongside.judged[row] >= report["round"]:
                continue
            told = Told(
                look=self.follower.ensemble.looks[report["look"]].name,
                expected=float(report["expected"]),
                actual=float(report["actual"]),
                score=float(report["score"]),
                threshold=fit.threshold,
                rate=fit.rate,
                model_version=fit.model_version,
            )
            since = float(report["time"])
            met = since + (profile.debounce_windows - 1) * profile.tick_seconds
            self._tell((series.entity, family_of(series)), row, told, Episode(since, met, heard.number))

    def _stray(self, heard: Heard, profile: Profile) -> None:
        """What the course tells: its looks are means over minutes, so that one round is enough."""
        threshold, rate, version = self._course(profile)
        above = ~np.isnan(heard.times) & (np.nan_to_num(heard.strayed.score) > threshold)
        for row in np.flatnonzero(above).tolist():
            series, time = self.follower.series[row], float(heard.times[row])
            why = Course().explain(heard.strayed, row)
            told = Told(**why, threshold=threshold, rate=rate, model_version=version)
            self._tell((series.entity, course_of(series)), row, told, Episode(time, time, heard.number))

    def _tell(self, key: Key, row: int, told: Told, new: Episode) -> None:
        episode = self.episodes.setdefault(key, new)
        episode.round = new.round
        episode.told[row] = told

    def _course(self, profile: Profile) -> tuple[float, float, str]:
        """Threshold, rate and version of the course: its own calm's, but no threshold below other platforms'."""
        least, fit = least_of(self.follower.followed, profile.budget), self.thresholds.get(COURSE)
        if fit is None:
            return least, profile.budget.pages_per_week, self._version
        return max(least, fit.threshold), fit.rate, fit.model_version


def _halfway(heard: Heard, row: int, told: Told) -> bool | None:
    """Whether the value has come back at least half of the way; None: there is none."""
    way = float(kept_way(heard.judged.value[row : row + 1], np.array(told.expected), np.array(told.actual))[0])
    return None if np.isnan(way) else way < HALFWAY


def _below(heard: Heard, row: int, threshold: float) -> bool | None:
    """Whether the course has nothing to tell of the series any more; None: it was not judged."""
    score = float(heard.strayed.score[row])
    return None if np.isnan(score) or np.isnan(heard.times[row]) else score <= threshold


def _condition(series: Series, episode: Episode, told: Told, detector: str) -> Condition:
    said = asdict(told)
    del said["back"]
    return condition(Strange(series, **said), from_seconds(episode.since), from_seconds(episode.met), detector)


def thresholds_of(mine: Iterable[Calibrated]) -> dict[str, Calibrated]:
    """By family, the thresholds of single series that today's detectors may use: their like was judged by them."""
    ensemble, course = fingerprint(default_ensemble()), fingerprint_of_course()
    return {
        each.family: each
        for each in mine
        if (each.family.startswith(SERIES) and each.version == ensemble)
        or (each.family == COURSE and each.version == course)
    }

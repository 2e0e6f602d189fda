"""Step 3c: what the reports of single series tell, for as long as it lasts: a condition per entity and metric. Pure.

An episode is counted as the calibration counts it (tasks/calibrate.py): one for as long as no QUIET rounds pass without
a new report, for so long the ensemble keeps repeats to itself. It is shown as holding until its values have come back
for as many rounds as it took to believe that they had gone: an incident is not to stay open for what is over. What
is reported again meanwhile is the same episode, with its beginning and its words: the same finding, no second page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np

from ml.ensemble import QUIET, default_ensemble
from ml.episodes import HALFWAY
from ml.fingerprint import fingerprint
from ml.lasting import kept_way
from policy.conditions import Condition
from policy.strange import Strange, condition
from tasks.follow import Floats, Follower, Heard, family_of
from tasks.rounds import from_seconds
from tonewatch.records import Series
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse.calibrations import SERIES, Calibrated


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


class Teller:
    """Follows the series of a tenant and tells what is strange about them.

    thresholds: by family, of this very ensemble; a family without one tells nothing.
    """

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.thresholds: Mapping[str, Calibrated] = {}
        self.episodes: dict[Key, Episode] = {}

    def tick(self, now: datetime, topology: Topology, profile: Profile) -> list[Condition]:
        """What single series of the platform tell at `now`, of all that the follower has heard."""
        heard = self.follower.tick(now, topology, profile)
        self._forget()
        for each in heard:
            self._look_back(each.judged.value, self.follower.lasting.run)
            self._begin(each, profile)
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

    def _look_back(self, values: Floats, run: int) -> None:
        """Count the rounds in which the values of what was told were back."""
        for episode in self.episodes.values():
            for row, told in episode.told.items():
                way = float(kept_way(values[row : row + 1], np.array(told.expected), np.array(told.actual))[0])
                if not np.isnan(way) and told.back < run:  # once it was over only a new report begins it anew
                    told.back = told.back + 1 if way < HALFWAY else 0

    def _begin(self, heard: Heard, profile: Profile) -> None:
        for report in heard.confirmed:
            series = self.follower.series[report["row"]]
            fit = self.thresholds.get(family_of(series))
            if fit is None or report["score"] <= fit.threshold:
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
            episode = self.episodes.setdefault((series.entity, family_of(series)), Episode(since, met, heard.number))
            episode.round = heard.number
            episode.told[int(report["row"])] = told


def _condition(series: Series, episode: Episode, told: Told, detector: str) -> Condition:
    said = asdict(told)
    del said["back"]
    return condition(Strange(series, **said), from_seconds(episode.since), from_seconds(episode.met), detector)


def thresholds_of(mine: Iterable[Calibrated]) -> dict[str, Calibrated]:
    """By family, the thresholds of single series that today's ensemble may use: those that its like was judged by."""
    today = fingerprint(default_ensemble())
    return {each.family: each for each in mine if each.family.startswith(SERIES) and each.version == today}

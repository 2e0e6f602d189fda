"""A platform's scores to incidents: in its calm, in its clean weeks and under faults, the product's and the rivals'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from feature_store.definitions import by_family
from feature_store.windows import FeatureFrame
from ml.calibration import Calibration, Calm, calibrate
from ml.kinds import DEFAULT
from tasks.backtest import PastIncident, incidents
from tasks.calibrate import Way, calm_of_series, disturbed, episodes_of, family_of, together, unexplained
from tasks.course import FOLLOWED, calm_of_course
from tasks.train import Lesson, Stretch, budget_of, chains_of, learn, notable_matrix
from tests.benchmarks._simulated import TENANT, Simulated
from tonewatch.errors import ModelError
from tonewatch.settings import Profile
from warehouse.calibrations import COURSE

Floats = npt.NDArray[np.float64]
#: Minutes are read by the platform's own profile but for these; its budget is one page a week.
MINUTES = {"tick_seconds": 60.0, "scrape_seconds": 60.0, "window_seconds": 300.0}


@dataclass(frozen=True)
class Told:
    """Scores of one family: rows (entity, detector), scores (rows, ticks), and how they become incidents."""

    family: str
    rows: list[tuple[str, str]]
    scores: Floats
    way: Way


@dataclass(frozen=True)
class Stretches:
    """The ticks of a platform: calm is the second half of its calm days, test all that comes after."""

    stretch: Stretch
    calm: list[datetime]
    test: list[datetime]

    @classmethod
    def of(cls, platform: Simulated, profile: Profile) -> Stretches:
        """As the product divides a calm stretch."""
        calm = Stretch(TENANT, platform.time(0), platform.time(platform.calm_steps), profile)
        test = [platform.time(step) for step in range(platform.calm_steps + 1, platform.simulation.wish.steps)]
        return cls(calm, calm.ends(calm.middle, calm.end), test)

    def steps(self, platform: Simulated) -> npt.NDArray[np.int64]:
        """The steps of the calm ticks."""
        every, start = platform.simulation.wish.every_s, platform.time(0)
        return np.array([round((end - start).total_seconds() / every) for end in (self.calm[0], self.calm[-1])])


def lessons_of(clean: Simulated, ticks: Stretches, kind: str = DEFAULT) -> list[Lesson]:
    """A model for each family whose features the simulated metrics give."""
    found, stretch = [], ticks.stretch
    for family, entities in by_family(clean.topology.entities.values()).items():
        first = stretch.ends(stretch.start, stretch.middle)
        frames = [clean.frame(family, entities, ends, stretch.profile.window_seconds) for ends in (first, ticks.calm)]
        try:
            found.append(learn(family, frames[0], frames[1], seed=clean.seed, kind=kind))
        except ModelError:
            continue  # too few of its features are simulated: a window of it is never judged, live neither
    return found


def forests(platform: Simulated, lessons: Sequence[Lesson], ticks: Stretches) -> list[Told]:
    """Their scores in the test's ticks. As live, only what holds something notable is scored."""
    found, profile = [], ticks.stretch.profile
    way = Way(budget_of(profile).run, 0)
    for lesson in lessons:
        frame = platform.frame(lesson.family, lesson.entities, ticks.test, profile.window_seconds)
        rows = [(entity, f"{lesson.detector.kind}:{lesson.family}") for entity in lesson.entities]
        found.append(Told(lesson.family, rows, _notable_scores(lesson, frame), way))
    return found


def _notable_scores(lesson: Lesson, frame: FeatureFrame) -> Floats:
    detector, strands = lesson.detector, frame.values.reshape(len(lesson.entities), -1, len(frame.names))
    notable, back = notable_matrix(detector, frame), detector.looks_back
    scores = np.full(notable.shape, np.nan)
    entities, ticks = np.nonzero(notable[:, back:])
    if len(entities):
        past = strands[entities[:, None], ticks[:, None] + np.arange(back + 1)]
        scores[entities, ticks + back] = detector.strangeness(past)[:, 0]
    return scores


def series_told(platform: Simulated, scores: Floats, way: Way, name: str) -> list[Told]:
    """Scores of single series, (ticks, series), by family."""
    rows: dict[str, list[int]] = {}
    for row, series in enumerate(platform.names):
        rows.setdefault(family_of(series), []).append(row)
    return [
        Told(family, [(platform.names[row].entity, f"{name}:{row}") for row in own], scores[:, own].T, way)
        for family, own in rows.items()
    ]


def course_told(platform: Simulated, scores: Floats) -> Told:
    """The course's scores, (ticks, series)."""
    rows = [(series.entity, f"{COURSE}:{row}") for row, series in enumerate(platform.names)]
    return Told(COURSE, rows, scores.T, FOLLOWED)


def series_calm(platform: Simulated, scores: Floats, ticks: Stretches, way: Way) -> dict[str, Calm]:
    """The families' calm of scores (calm ticks, series), without what announced work explains."""
    mask = _worked(platform, ticks)
    return calm_of_series(platform.names, scores.T.astype(np.float64), chains(platform), mask, way)


def course_calm(platform: Simulated, scores: Floats, ticks: Stretches) -> dict[str, Calm]:
    """The same of the course's."""
    return calm_of_course(platform.names, scores.T.astype(np.float64), chains(platform), _worked(platform, ticks))


def _worked(platform: Simulated, ticks: Stretches) -> npt.NDArray[np.bool_]:
    """Where announced work explains what is strange, (series, calm ticks)."""
    entities = [series.entity for series in platform.names]
    known = sorted(set(entities))
    worked = disturbed(known, ticks.calm, platform.changes, platform.topology)
    place = {entity: row for row, entity in enumerate(known)}
    return np.asarray(worked[[place[entity] for entity in entities]])


def chains(platform: Simulated) -> dict[str, int]:
    """The chains of all parts that tell anything."""
    return chains_of(platform.topology, sorted({series.entity for series in platform.names}))


def thresholds_of(calibration: Calibration) -> dict[str, float]:
    """By family."""
    return {family: threshold.value for family, threshold in calibration.thresholds.items()}


def ours(
    platform: Simulated,
    lessons: Sequence[Lesson],
    calm: Mapping[str, Calm],
    ticks: Stretches,
    least: Mapping[str, float],
) -> Calibration:
    """The product's calibration of everything together."""
    return together(lessons, calm, chains(platform), ticks.stretch, seed=platform.seed, least=least)


def rival(platform: Simulated, scores: Floats, ticks: Stretches, way: Way, caution: float) -> Calibration:
    """The same calibration of a rival's scores."""
    calm = series_calm(platform, scores, ticks, way)
    budget = budget_of(ticks.stretch.profile)
    return calibrate(calm, budget, caution=caution, resamples=60, seed=platform.seed)


def opened(
    platform: Simulated, told: Sequence[Told], thresholds: Mapping[str, float], ticks: Stretches
) -> list[PastIncident]:
    """The incidents that the scores open in the test's ticks, grouped by the product's own correlation."""
    episodes = [
        episode
        for each in told
        if each.family in thresholds
        for episode in episodes_of(
            TENANT, each.rows, each.scores, [thresholds[each.family]] * len(each.rows), ticks.test, each.way
        )
    ]
    left = unexplained(episodes, platform.changes, platform.topology)
    lasted = {each.finding.id for each in left}
    return incidents(left, platform.topology, ticks.test[-1] + timedelta(days=1), lasted)


@dataclass(frozen=True)
class Found:
    """A fault, and what was seen of it. delay_s: None where no incident opened for it in time."""

    name: str
    single: bool
    delay_s: float | None
    joined: bool


def found(platform: Simulated, past: Sequence[PastIncident], limit: timedelta) -> list[Found]:
    """Each fault of the platform, by the incidents that opened while it was there.

    limit: so long after its onset an incident of a shorter fault still counts. What opens with a fault's end or later
    does not: it tells of the mending. joined: nothing opened, but a finding on it joined an incident that was open
    already.
    """
    topology, parts, lines = platform.topology, platform.simulation.platform.parts, platform.simulation.platform.lines
    told = []
    for placed in platform.faulted:
        truth = {parts[lines[hit.line].part].id for hit in placed.hits}
        near = {each for each in topology.entities if any(topology.related(each, one) for one in truth)}
        onset = platform.time(placed.first)
        end = max(platform.time(placed.until - 1), onset + limit)
        opened_at = [each.opened for each in past if onset <= each.opened <= end and near & set(each.entities)]
        joined = any(onset <= f.ended <= end and f.entity in truth for each in past for f in each.findings)
        delay = (min(opened_at) - onset).total_seconds() if opened_at else None
        told.append(Found(placed.fault.name, placed.fault.reach == "series", delay, joined and delay is None))
    return told


def weeks(past: Sequence[PastIncident], ticks: Stretches) -> list[int]:
    """Incidents opened in each week of the test; the last is what is left of one, empty where nothing is."""
    start, end = ticks.test[0], ticks.test[-1]
    count = int((end - start) / timedelta(days=7)) + 1
    told = [0] * count
    for each in past:
        told[int((each.opened - start) / timedelta(days=7))] += 1
    return told


def cause(platform: Simulated, past: PastIncident) -> str:
    """What opened it, in words."""
    first = past.findings[0]
    detector, _, row = first.detector.partition(":")
    series = platform.names[int(row)] if row.isdigit() else None
    what = series.metric if series is not None else f"{detector} {row}"
    return f"{first.entity} {what}"

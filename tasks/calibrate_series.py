"""Single series' thresholds: the ensemble runs over the calm stretch as it would have live, and tells what calm tells.

The stored samples are played in the rounds in which the watcher ticked. In the first half the series become known; what
is confirmed in the second is the calm that the budget is spent on, together with the forests' (tasks/calibrate.py).
What announced work explains is left out, as it is live, and so are incidents that are settled as real.

Where the course of the platform judges a series it alone speaks for it, so the ensemble's reports of it are no calm.
The course needs days before it judges: of a shorter stretch it has no calm, and its threshold stays what other
platforms' calm has shown (tasks/alongside.py), below which its own never sets one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from ml.calibration import Calibration, Calm
from ml.ensemble import QUIET
from ml.fingerprint import fingerprint_of_course
from ml.hindsight import uncalm
from tasks.alongside import least_of
from tasks.calibrate import calm_of_series, disturbed, fit_of, together
from tasks.course import calm_of_course
from tasks.follow import Floats, Follower, Heard, family_of
from tasks.recall import by_round, rounds_of, told_of
from tasks.rounds import from_seconds
from tasks.train import Lesson, Stretch, calibrated, chains_of
from tasks.try_series import Tried, rounds_of_piece, tried
from tonewatch.records import Change, Sample, Series
from tonewatch.topology import Topology
from warehouse import changes
from warehouse.calibrations import COURSE, SERIES, Calibrated
from warehouse.database import Warehouse

#: Rounds of the second half in which a family must have been judged. An episode is held for QUIET of them: fewer than
#: ten such are too few to tell how often calm begins one.
LEAST_ROUNDS = 10 * QUIET
#: Rounds that are read at once, where a piece with made anomalies in it needs no more.
READ_ROUNDS = 60
#: So many of these pieces of the second half are heard once more, with made anomalies in them.
TRIALS = 16
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class SeriesLesson:
    """What single series told in a calm stretch.

    names: of the rows; scores: confirmed, (series, windows) of the second half, the forests' windows, NaN: not judged;
    disturbed: the same shape; judged: rounds of the second half in which each family was, COURSE among them; rounds: of
    both halves; data_hash: of the samples; course: the course's scores, as `scores`; None: it judged nothing; tried:
    what was told of made anomalies in copies of the second half.
    """

    names: tuple[Series, ...]
    scores: Floats
    disturbed: Flags
    judged: Mapping[str, int]
    rounds: int
    data_hash: str
    course: Floats | None = None
    tried: Sequence[Tried] = ()

    def ready(self) -> list[str]:
        """The families that were judged for long enough, by name."""
        return sorted(family for family, rounds in self.judged.items() if rounds >= LEAST_ROUNDS)

    def silent(self) -> dict[str, str]:
        """Why the other families have no threshold of this stretch: they tell nothing, but for the course."""
        short = {family: rounds for family, rounds in sorted(self.judged.items()) if rounds < LEAST_ROUNDS}
        why = {
            family: f"judged in {rounds} rounds of calm; {LEAST_ROUNDS} are needed: train on a longer stretch"
            for family, rounds in short.items()
        }
        return why | (
            {COURSE: f"{why[COURSE]}; until then what other platforms' calm has shown"} if COURSE in why else {}
        )

    def calm(self, chains: Mapping[str, int]) -> dict[str, Calm]:
        """The calm of the families that are ready."""
        ready = set(self.ready())
        rows = [row for row, name in enumerate(self.names) if family_of(name) in ready]
        names = [self.names[row] for row in rows]
        found = calm_of_series(names, self.scores[rows], chains, self.disturbed[rows]) if rows else {}
        if self.course is not None and COURSE in ready:
            found |= calm_of_course(self.names, self.course, chains, self.disturbed)
        return found


async def learn_series(warehouse: Warehouse, stretch: Stretch, platform: Topology) -> SeriesLesson:
    """Play the stretch's stored samples. Raises WarehouseAway."""
    tenant, first = stretch.tenant, stretch.start
    ends = await rounds_of(tenant, warehouse, stretch.start, stretch.end, stretch.profile.tick_seconds)
    async with warehouse.as_tenant(tenant) as db:
        known = await changes.read(tenant, db, stretch.start, stretch.end)
    playing = _Playing(stretch, platform)
    playing.follower.announce(known)
    piece = max(READ_ROUNDS, rounds_of_piece(stretch.profile))
    trials = _spread([at for at in range(0, len(ends), piece) if ends[at] > stretch.middle.timestamp()])
    for at in range(0, len(ends), piece):
        some = ends[at : at + piece]
        read = await told_of(tenant, warehouse, first, from_seconds(some[-1]), platform)
        rounds = list(by_round(read, some))
        if at in trials:
            await asyncio.to_thread(playing.try_, rounds)
        await asyncio.to_thread(playing.play, rounds)
        first = from_seconds(some[-1]) + timedelta(microseconds=1)
    return await asyncio.to_thread(playing.lesson, known)


def _spread(pieces: Sequence[int]) -> frozenset[int]:
    """TRIALS of them, evenly; all where there are no more."""
    places = np.linspace(0, len(pieces) - 1, min(TRIALS, len(pieces))).astype(int)
    return frozenset(pieces[place] for place in places)


class _Playing:
    """Takes the series through the stretch, and down what they told in its second half."""

    def __init__(self, stretch: Stretch, platform: Topology) -> None:
        self.stretch, self.platform = stretch, platform
        self.follower = Follower(stretch.profile.followed_series)
        self.follower.rounds.begin(stretch.start.timestamp(), 0.0)
        self.content = hashlib.blake2b(digest_size=16)
        self.rounds = 0
        self.ends: list[float] = []
        self.judged: list[Flags] = []
        self.confirmed: list[tuple[int, int, float]] = []
        self.strayed: list[npt.NDArray[np.float32]] = []
        self.tried: list[Tried] = []

    def try_(self, rounds: Sequence[tuple[datetime, list[Sample]]]) -> None:
        """Rounds that are to be played next, with made anomalies in them: a copy of the follower hears those."""
        self.tried += tried(self.stretch.tenant, self.follower, rounds, self.platform, self.stretch.profile)

    def play(self, rounds: Iterable[tuple[datetime, list[Sample]]]) -> None:
        """Rounds in order, each with what was heard in it."""
        for end, heard in rounds:
            told = [(each.series.entity, each.series.metric, each.time.isoformat(), each.value) for each in heard]
            self.content.update(repr(told).encode())
            self.rounds += 1
            self.follower.hear(heard)
            for each in self.follower.tick(end, self.platform, self.stretch.profile):
                self._take(each, end)

    def lesson(self, known: Iterable[Change]) -> SeriesLesson:
        """What they have told. known: what was announced for the stretch."""
        stretch, names = self.stretch, tuple(self.follower.series)
        windows = stretch.ends(stretch.middle, stretch.end)
        rounds = np.full((len(names), len(self.ends)), np.nan)
        for at, judged in enumerate(self.judged):
            rounds[: len(judged), at] = np.where(judged, 0.0, np.nan)
        for at, row, score in self.confirmed:
            rounds[row, at] = score
        course = np.full((len(names), len(self.ends)), np.nan, np.float32)
        for at, scores in enumerate(self.strayed):
            course[: len(scores), at] = scores
        strayed = np.isfinite(course)
        rounds[strayed] = np.nan
        entities = sorted({name.entity for name in names})
        place = {entity: row for row, entity in enumerate(entities)}
        worked = disturbed(entities, windows, known, self.platform)
        # What is settled as real is no calm either; what came before its end was heard all the same, as live.
        worked |= uncalm([window.timestamp() for window in windows], stretch.real)
        none = np.zeros(len(self.ends), np.bool_)
        families: dict[str, Flags] = {}
        for name, row in zip(names, np.isfinite(rounds), strict=True):
            families[family_of(name)] = families.get(family_of(name), none) | row
        families[COURSE] = np.asarray(strayed.any(axis=0))
        ends, tick = np.array(self.ends), stretch.profile.tick_seconds
        return SeriesLesson(
            names,
            in_windows(rounds, ends, windows, tick),
            worked[[place[name.entity] for name in names]] if names else np.zeros((0, len(windows)), np.bool_),
            {family: int(judged.sum()) for family, judged in families.items()},
            self.rounds,
            self.content.hexdigest(),
            in_windows(course.astype(np.float64), ends, windows, tick) if strayed.any() else None,
            tuple(self.tried),
        )

    def _take(self, heard: Heard, end: datetime) -> None:
        if end <= self.stretch.middle:
            return
        self.ends.append(end.timestamp())
        self.judged.append(~np.isnan(heard.judged.score))
        self.strayed.append(heard.strayed.score.astype(np.float32))
        confirmed = ((int(each["row"]), float(each["score"])) for each in heard.confirmed)
        self.confirmed.extend((len(self.ends) - 1, row, score) for row, score in confirmed)


def in_windows(rounds: Floats, ends: Floats, windows: Sequence[datetime], tick: float) -> Floats:
    """What was told in rounds, (series, rounds), by the windows that forests are judged in, (series, windows).

    A window has the strangest of the rounds that end within a tick before its end: windows lie closer than ticks in a
    short stretch, and each round then counts once in each phase.
    """
    times = np.array([window.timestamp() for window in windows])
    first, until = (np.searchsorted(ends, each, "right") for each in (times - tick, times))
    found = np.full((len(rounds), len(windows)), np.nan)
    for step in range(int((until - first).max(initial=0))):
        there = first + step < until
        found[:, there] = np.fmax(found[:, there], rounds[:, (first + step)[there]])
    return found


def calibrated_together(
    lessons: Sequence[Lesson],
    series: SeriesLesson | None,
    platform: Topology,
    stretch: Stretch,
    *,
    families: int,
    seed: int,
) -> Calibration:
    """Thresholds of forests and of single series, which spend one budget; without the latter those of forests alone.

    families: that may have a forest; those without a lesson keep their champion, and with it an equal share of the
    budget. Raises ModelError: too little calm telemetry.
    """
    entities = {entity for lesson in lessons for entity in lesson.entities}
    entities |= {name.entity for name in series.names} if series else set()
    chains = chains_of(platform, sorted(entities))
    calm = series.calm(chains) if series else {}
    if not calm:
        return calibrated(lessons, platform, stretch, families=families, seed=seed)
    kept = max(0, families - len(lessons)) / (families + 1)  # all single series are one more
    budget = stretch.profile.budget
    less = budget.model_copy(update={"pages_per_week": budget.pages_per_week * (1.0 - kept)})
    shared = replace(stretch, profile=stretch.profile.model_copy(update={"budget": less}))
    least = {COURSE: least_of(len(series.names), shared.profile.budget)} if series and COURSE in calm else None
    return together(lessons, calm, chains, shared, seed=seed, least=least)


def rows_of(stretch: Stretch, calibration: Calibration, version: str, now: datetime) -> list[Calibrated]:
    """The thresholds of the families of series and of the course, as rows of the warehouse.

    version: the ensemble's fingerprint; the course has its own.
    """
    return [
        fit_of(stretch, family, fingerprint_of_course() if family == COURSE else version, calibration, now)
        for family in sorted(calibration.thresholds)
        if family == COURSE or family.startswith(SERIES)
    ]

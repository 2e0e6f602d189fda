"""Learning: calm samples become windows, windows detectors, their thresholds are set together, then they are champions.

The first half of the stretch teaches a detector, the second half, which it has not seen, tells what calm scores are
like; then it learns from both halves. All families' calm scores together set all thresholds: the page budget is one.
Two whole days are meant: each half has seen each hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_store.contracts import breaches, contract
from feature_store.definitions import by_family, floors, names
from feature_store.history import judged_windows
from feature_store.views import View, view
from feature_store.windows import FeatureFrame
from ml.calibration import Budget, Calibration, Calm, calibrate, refuse_short
from ml.detectors.base import Detector
from ml.detectors.family import FamilyDetector, Strands
from ml.kinds import DEFAULT, kind_of
from policy.grouping import REACH
from tasks.detect import HORIZON, LEAST_COVERAGE, NOTABLE, least_horizon
from tasks.judge import without
from tonewatch.clock import microseconds
from tonewatch.errors import ModelError
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse import entities as known
from warehouse.database import Warehouse

Floats = npt.NDArray[np.float64]
#: Days of the platform that a training learns from where nobody says otherwise: each half has seen each hour.
LEARNED_DAYS = 2
#: Samples are read this many windows at a time: months of history must not lie in memory.
WINDOWS_PER_READ = 720


@dataclass(frozen=True, slots=True)
class Stretch:
    """Whose calm telemetry is learned from, and when: start <= time <= end.

    real: (onset, end) in seconds of incidents in it that are settled as real (tasks/judge.py): they are no calm;
    unrest: what of it may not be calm, in words; why: what asked for the training; run: Prefect's; restless: why it is
    hardly calm, empty: it is calm.
    """

    tenant: str
    start: datetime
    end: datetime
    profile: Profile
    real: Sequence[tuple[float, float]] = ()
    unrest: str = ""
    why: str = ""
    run: str = ""
    restless: str = ""

    @property
    def middle(self) -> datetime:
        """Where learning ends and calibration begins."""
        return self.start + (self.end - self.start) / 2

    @property
    def phases(self) -> int:
        """Windows per tick: in between ticks as well, so that a short stretch tells as much as it can."""
        return max(1, int(self.profile.tick_seconds // self.profile.scrape_seconds))

    @property
    def step(self) -> timedelta:
        """From one window to the next."""
        return timedelta(seconds=self.profile.tick_seconds / self.phases)

    def ends(self, start: datetime, end: datetime) -> list[datetime]:
        """The ends of the windows that lie within (start, end]."""
        first = start + timedelta(seconds=self.profile.window_seconds)
        return [first + number * self.step for number in range(max(0, (end - first) // self.step + 1))]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What was learned of one family; `learned` and `held_out` are the rows of the two halves.

    scores, notable: of the second half by `pupil`, a detector that knew the first alone, (entities, windows);
    entities: theirs; settings: of the kind, where they are not the defaults; trials: those that were tried, as a table
    (tasks/search.py), none where nothing was searched.
    """

    family: str
    learned: FeatureFrame
    held_out: FeatureFrame
    detector: FamilyDetector
    entities: tuple[str, ...]
    scores: Floats
    notable: npt.NDArray[np.bool_]
    pupil: FamilyDetector
    settings: Mapping[str, Any] = field(default_factory=dict)
    trials: Sequence[Mapping[str, Any]] = ()


async def platform_of(warehouse: Warehouse, stretch: Stretch) -> Topology:
    """The tenant's platform at the end of the stretch."""
    async with warehouse.as_tenant(stretch.tenant) as db:
        return Topology(await known.load(stretch.tenant, db, stretch.end))


def families_of(platform: Topology) -> dict[str, tuple[str, ...]]:
    """The families that the platform has, with their entities."""
    return by_family(platform.entities.values())


async def read_frame(
    warehouse: Warehouse, stretch: Stretch, family: str, entities: Sequence[str], ends: Sequence[datetime]
) -> FeatureFrame:
    """The family's features in the windows that end at `ends`, from the warehouse."""
    seconds = stretch.profile.window_seconds
    parts = []
    for first in range(0, len(ends), WINDOWS_PER_READ):
        some = ends[first : first + WINDOWS_PER_READ]
        async with warehouse.as_tenant(stretch.tenant) as db:
            parts.append(
                await judged_windows(
                    stretch.tenant, db, family, entities, some, seconds, every=stretch.profile.scrape_seconds
                )
            )
    return _joined(family, entities, ends, parts)


def learn(
    family: str,
    learned: FeatureFrame,
    held_out: FeatureFrame,
    *,
    seed: int,
    kind: str = DEFAULT,
    phases: int = 1,
    settings: Mapping[str, Any] | None = None,
) -> Lesson:
    """Fit on `learned`, score `held_out`, fit again on both. phases: windows per tick in the frames; settings: of the
    kind, where they are not the defaults.

    Raises ModelError: too little calm telemetry, or a kind that cannot be used here.
    """
    made = kind_of(kind)
    pupil, detector = (made.make(names(family), floors(family), seed, **(settings or {})) for _ in range(2))
    parts = [strands_of(pupil, frame, phases) for frame in (learned, held_out)]
    pupil.teach(parts[:1])
    scores = score_matrix(pupil, held_out, phases)
    refuse_short(family, scores)
    notable = notable_matrix(pupil, held_out)
    detector.teach(parts)
    entities = tuple(dict.fromkeys(held_out.entities))
    return Lesson(family, learned, held_out, detector, entities, scores, notable, pupil, settings or {})


def calibrated(
    lessons: Sequence[Lesson], platform: Topology, stretch: Stretch, *, families: int, seed: int
) -> Calibration:
    """Thresholds for all that was learned, so that their incidents together keep to the tenant's page budget.

    families: how many the tenant has; those without a lesson keep their champion, and with it an equal share of the
    budget. Raises ModelError: too little calm telemetry.
    """
    chains = chains_of(platform, [entity for lesson in lessons for entity in lesson.entities])
    budget = budget_of(stretch.profile, len(lessons) / max(families, len(lessons), 1))
    return calibrate(calm_of_lessons(lessons, chains), budget, phases=stretch.phases, seed=seed)


def budget_of(profile: Profile, share: float = 1.0) -> Budget:
    """What the tenant may spend, or a share of it, and what spends it."""
    return Budget(
        pages_per_week=profile.budget.pages_per_week * share,
        week_seconds=profile.budget.week_seconds,
        tick_seconds=profile.tick_seconds,
        debounce=profile.debounce_windows,
        lasting_seconds=profile.anomaly_seconds,
        reach_seconds=REACH.total_seconds(),
    )


def calm_of_lessons(lessons: Sequence[Lesson], chains: Mapping[str, int]) -> dict[str, Calm]:
    """The families' calm, as the budget is spent on it."""
    return {
        lesson.family: Calm(lesson.scores, lesson.notable, [chains[entity] for entity in lesson.entities])
        for lesson in lessons
    }


def chains_of(platform: Topology, entities: Sequence[str]) -> dict[str, int]:
    """Entities by the number of a chain in which each is related to each: what happens to it at once is one incident.

    As few chains as parts that do not know one another (Dilworth): never fewer incidents than correlation will open.
    """
    chains: list[list[str]] = []
    for entity in entities:
        home = next((chain for chain in chains if all(platform.related(entity, other) for other in chain)), None)
        if home is None:
            chains.append(home := [])
        home.append(entity)
    return {entity: number for number, chain in enumerate(chains) for entity in chain}


def judged(detector: Detector, frame: FeatureFrame) -> npt.NDArray[np.bool_]:
    """The rows that would be judged live: enough samples, enough features."""
    return np.asarray(detector.usable(frame.values) & (frame.coverage >= LEAST_COVERAGE))


def strands_of(detector: Detector, frame: FeatureFrame, phases: int = 1) -> Strands:
    """The frame's windows a tick apart: of each entity a strand per phase, the shorter ones filled up at their end."""
    windows, width = len(frame.ends) // max(len(set(frame.entities)), 1), len(frame.names)
    ticks = -(-windows // phases)
    values = np.full((len(set(frame.entities)), ticks * phases, width), np.nan)
    values[:, :windows] = frame.values.reshape(-1, windows, width)
    good = np.zeros(values.shape[:2], dtype=np.bool_)
    good[:, :windows] = judged(detector, frame).reshape(-1, windows)
    by_phase = values.reshape(-1, ticks, phases, width).swapaxes(1, 2).reshape(-1, ticks, width)
    return Strands(by_phase, good.reshape(-1, ticks, phases).swapaxes(1, 2).reshape(-1, ticks))


def score_matrix(detector: FamilyDetector, frame: FeatureFrame, phases: int = 1) -> Floats:
    """Scores by entity and time, (entities, windows); NaN where a window is not judged.

    So are the first `looks_back` ticks: what lies before them is not in the frame.
    """
    strands = strands_of(detector, frame, phases)
    rows, ticks = strands.judged.shape
    scores = np.full((rows, ticks), np.nan)
    back = detector.looks_back
    if ticks > back:
        asked = strands.judged[:, back:]
        scores[:, back:] = np.where(asked, detector.strangeness(strands.values), np.nan)
    windows = len(frame.ends) // max(len(set(frame.entities)), 1)
    return scores.reshape(-1, phases, ticks).swapaxes(1, 2).reshape(-1, ticks * phases)[:, :windows]


def notable_matrix(detector: Detector, frame: FeatureFrame) -> npt.NDArray[np.bool_]:
    """Which judged windows hold a feature far enough from the calm ones to be told, (entities, windows)."""
    notable = np.zeros(len(frame.ends), dtype=np.bool_)
    rows = judged(detector, frame)
    notable[rows] = (np.abs(detector.distances(frame.values[rows])) >= NOTABLE).any(axis=1)
    return notable.reshape(len(set(frame.entities)), -1)


async def train(
    warehouse: Warehouse,
    stretch: Stretch,
    family: str,
    entities: Sequence[str],
    *,
    seed: int,
    kind: str = DEFAULT,
) -> Lesson:
    """Read the family's calm stretch and learn from it, with the kind's default settings. Raises ModelError: see
    `halves`; too little calm telemetry.
    """
    learned, held_out = await halves(warehouse, stretch, family, entities, kind=kind)
    return await asyncio.to_thread(learn, family, learned, held_out, seed=seed, kind=kind, phases=stretch.phases)


async def halves(
    warehouse: Warehouse, stretch: Stretch, family: str, entities: Sequence[str], *, kind: str = DEFAULT
) -> tuple[FeatureFrame, FeatureFrame]:
    """What is learned from and what is held out: the windows of both halves, but for incidents settled as real.

    Raises ModelError: no window, a kind that looks back farther than the watcher does, or telemetry that breaks the
    contract of its view.
    """
    refuse_far_sighted(kind, family, stretch.profile)
    # The windows of the second half begin where the first ends, and its first `looks_back` ticks are the past of those
    # that are scored: no sample that taught is in, or before, what judges.
    learned = await read_frame(warehouse, stretch, family, entities, stretch.ends(stretch.start, stretch.middle))
    held_out = await read_frame(warehouse, stretch, family, entities, stretch.ends(stretch.middle, stretch.end))
    if not len(learned.values) or not len(held_out.values):
        raise ModelError(
            f"{stretch.start.isoformat()} to {stretch.end.isoformat()} holds no window of {family}; "
            f"each half must be longer than a window of {stretch.profile.window_seconds:g} s"
        )
    learned, held_out = (without(frame, stretch.real) for frame in (learned, held_out))
    refuse_broken(view(family, stretch.profile), (learned, held_out), stretch.end)
    return learned, held_out


def refuse_broken(of: View, frames: Sequence[FeatureFrame], until: datetime) -> None:
    """Raise ModelError where the windows that would be learned from break what the view promises of them."""
    some = [frame.coverage >= LEAST_COVERAGE for frame in frames]
    values = np.vstack([frame.values[rows] for frame, rows in zip(frames, some, strict=True)])
    ends = [end for frame, rows in zip(frames, some, strict=True) for end in np.array(frame.ends)[rows]]
    if not ends:
        return  # there is nothing to learn from, which is told as such
    times = np.array([microseconds(end) for end in ends], np.int64)
    broken = breaches(contract(of), of.names, of.units, values, times, until)
    if broken:
        told = "; ".join(f"{each.clause}: {each.feature} {each.told}" for each in broken)
        raise ModelError(
            f"its windows break the contract of the view {of.name} ({told}); nothing was learned. See "
            f"`tonewatch features show {of.name}`, mend what tells these figures or choose another stretch"
        )


def refuse_far_sighted(kind: str, family: str, profile: Profile) -> None:
    """Raise ModelError where live a model of the kind would not have what its scores depend on."""
    back = kind_of(kind).make(names(family), floors(family), 0).looks_back
    if back and least_horizon(back, profile) > HORIZON:
        raise ModelError(
            f"a {kind} judges a window by {back} before it: {least_horizon(back, profile).total_seconds():g} s at a "
            f"tick of {profile.tick_seconds:g} s, and the watcher looks back on {HORIZON.total_seconds():g} s; train "
            f"{family} as another kind"
        )


def _joined(
    family: str, entities: Sequence[str], ends: Sequence[datetime], parts: Sequence[FeatureFrame]
) -> FeatureFrame:
    """Frames of the same entities and successive windows as one."""
    rows, width = sorted(entities), len(names(family))
    values = [part.values.reshape(len(rows), -1, width) for part in parts]
    coverages = [part.coverage.reshape(len(rows), -1) for part in parts]
    return FeatureFrame(
        family=family,
        entities=tuple(entity for entity in rows for _ in ends),
        ends=tuple(end for _ in rows for end in ends),
        names=names(family),
        values=np.concatenate(values, axis=1).reshape(-1, width) if parts else np.empty((0, width)),
        coverage=np.concatenate(coverages, axis=1).ravel() if parts else np.empty(0),
    )

"""Learning: calm samples become windows, windows detectors, their thresholds are set together, then they are champions.

The first half of the stretch teaches a detector, the second half, which it has not seen, tells what calm scores are
like; then it learns from both halves. All families' calm scores together set all thresholds: the page budget is one.
Two whole days are meant: each half has seen each hour.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from feature_store.definitions import by_family, fingerprint, floors, names
from feature_store.history import judged_windows
from feature_store.windows import FeatureFrame
from ml.calibration import Budget, Calibration, Calm, calibrate, refuse_short
from ml.detectors.isolation_forest import ForestDetector
from policy.grouping import REACH
from tasks import plot
from tasks.detect import LEAST_COVERAGE, NOTABLE
from tasks.judge import real_times, without
from tasks.trace import trace
from tonewatch.errors import ModelError
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse import calibrations
from warehouse import entities as known
from warehouse.database import Warehouse
from warehouse.lineage import Traced

if TYPE_CHECKING:
    from ml.registry import Training  # its module imports mlflow, which only publish() needs

Floats = npt.NDArray[np.float64]
#: Samples are read this many windows at a time: months of history must not lie in memory.
WINDOWS_PER_READ = 720


@dataclass(frozen=True, slots=True)
class Stretch:
    """Whose calm telemetry is learned from, and when: start <= time <= end."""

    tenant: str
    start: datetime
    end: datetime
    profile: Profile

    @property
    def middle(self) -> datetime:
        """Where learning ends and calibration begins."""
        return self.start + (self.end - self.start) / 2

    @property
    def phases(self) -> int:
        """Windows per tick: in between ticks as well, so that a short stretch tells as much as it can."""
        return max(1, int(self.profile.tick_seconds // self.profile.scrape_seconds))

    def ends(self, start: datetime, end: datetime) -> list[datetime]:
        """The ends of the windows that lie within (start, end]."""
        step = timedelta(seconds=self.profile.tick_seconds / self.phases)
        first = start + timedelta(seconds=self.profile.window_seconds)
        return [first + number * step for number in range(max(0, (end - first) // step + 1))]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What was learned of one family; `learned` and `held_out` are the rows of the two halves.

    scores, notable: of the second half by a detector that knew the first alone, (entities, windows); entities: theirs.
    """

    family: str
    learned: FeatureFrame
    held_out: FeatureFrame
    detector: ForestDetector
    entities: tuple[str, ...]
    scores: Floats
    notable: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Trained:
    """A family's new champion, in figures. calm_rate: incidents per calm budget week that all families open together.

    noticed: the shift in robust standard deviations that the model notices in half of its features, each alone.
    """

    family: str
    version: str
    entities: int
    rows: int
    threshold: float
    calm_highest: float
    calm_rate: float
    tail: str
    noticed: float


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


def learn(family: str, learned: FeatureFrame, held_out: FeatureFrame, *, seed: int) -> Lesson:
    """Fit on `learned`, score `held_out`, fit again on both. Raises ModelError: too little calm telemetry."""
    detector = ForestDetector(names(family), floors(family), seed=seed)
    detector.fit(learned.values[judged(detector, learned)])
    scores = score_matrix(detector, held_out)
    refuse_short(family, scores)
    notable = _notable_matrix(detector, held_out)
    detector.fit(np.vstack([frame.values[judged(detector, frame)] for frame in (learned, held_out)]))
    entities = tuple(dict.fromkeys(held_out.entities))
    return Lesson(family, learned, held_out, detector, entities, scores, notable)


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


def judged(detector: ForestDetector, frame: FeatureFrame) -> npt.NDArray[np.bool_]:
    """The rows that would be judged live: enough samples, enough features."""
    return np.asarray(detector.usable(frame.values) & (frame.coverage >= LEAST_COVERAGE))


def score_matrix(detector: ForestDetector, frame: FeatureFrame) -> Floats:
    """Scores by entity and time, (entities, windows); NaN where a window is not judged."""
    scores = np.full(len(frame.ends), np.nan)
    rows = judged(detector, frame)
    scores[rows] = detector.score(frame.values[rows])
    return scores.reshape(len(set(frame.entities)), -1)


def _notable_matrix(detector: ForestDetector, frame: FeatureFrame) -> npt.NDArray[np.bool_]:
    """Which judged windows hold a feature far enough from the calm ones to be told, (entities, windows)."""
    notable = np.zeros(len(frame.ends), dtype=np.bool_)
    rows = judged(detector, frame)
    notable[rows] = (np.abs(detector.distances(frame.values[rows])) >= NOTABLE).any(axis=1)
    return notable.reshape(len(set(frame.entities)), -1)


async def train(warehouse: Warehouse, stretch: Stretch, family: str, entities: Sequence[str], *, seed: int) -> Lesson:
    """Read the family's calm stretch and learn from it, but for incidents that are settled as real.

    Raises ModelError: too little calm telemetry.
    """
    learned = await read_frame(warehouse, stretch, family, entities, stretch.ends(stretch.start, stretch.middle))
    held_out = await read_frame(warehouse, stretch, family, entities, stretch.ends(stretch.middle, stretch.end))
    if not len(learned.values) or not len(held_out.values):
        raise ModelError(
            f"{stretch.start.isoformat()} to {stretch.end.isoformat()} holds no window of {family}; "
            f"each half must be longer than a window of {stretch.profile.window_seconds:g} s"
        )
    real = await real_times(stretch.tenant, warehouse, stretch.start, stretch.end)
    return learn(family, without(learned, real), without(held_out, real), seed=seed)


async def publish(
    warehouse: Warehouse,
    tracking_uri: str,
    stretch: Stretch,
    lesson: Lesson,
    calibration: Calibration,
    *,
    seed: int,
    now: datetime,
) -> Trained:
    """Make what was learned the family's champion, with the tenant's threshold for it.

    The threshold is there before the champion: one that dies in between leaves a version that scores nothing. Raises
    ModelError: MLflow is away or refuses; WarehouseAway.
    """
    from ml import registry  # imports mlflow: seconds that learning alone does not pay

    rows = lesson.learned.values[judged(lesson.detector, lesson.learned)]
    threshold = calibration.thresholds[lesson.family]
    shifts = lesson.detector.noticed(threshold.value)
    noticed = float(np.median(list(shifts.values())))
    pictures = {
        "calm-scores.png": plot.calm_scores(
            lesson.family, lesson.scores, threshold.value, threshold.low, threshold.high
        ),
        "noticed.png": plot.noticed(lesson.family, shifts),
    }
    training = replace(_training(stretch, lesson, calibration, noticed, seed), pictures=pictures)
    version = await asyncio.to_thread(
        registry.register, tracking_uri, lesson.family, lesson.detector, training, rows[:5]
    )
    async with warehouse.as_tenant(stretch.tenant) as db:
        calibrated_now = _calibrated(stretch, lesson.family, version, calibration, now)
        await calibrations.put(stretch.tenant, db, [calibrated_now])
        await trace(stretch.tenant, db, _traced(stretch, lesson, calibrated_now, training.data_hash))
    await asyncio.to_thread(registry.promote, tracking_uri, lesson.family, version)
    return Trained(
        family=lesson.family,
        version=version,
        entities=len(lesson.entities),
        rows=len(lesson.learned.ends) + len(lesson.held_out.ends),
        threshold=threshold.value,
        calm_highest=threshold.highest,
        calm_rate=calibration.rate,
        tail=calibration.tail,
        noticed=noticed,
    )


def _calibrated(
    stretch: Stretch, family: str, version: str, calibration: Calibration, now: datetime
) -> calibrations.Calibrated:
    threshold = calibration.thresholds[family]
    return calibrations.Calibrated(
        family=family,
        version=version,
        made=now,
        threshold=threshold.value,
        low=threshold.low,
        high=threshold.high,
        highest=threshold.highest,
        rate=calibration.rate,
        tail=calibration.tail,
        source=calibrations.Source.TRAINING,
        reason=f"calm telemetry of {stretch.middle.isoformat()} to {stretch.end.isoformat()}",
    )


def _traced(stretch: Stretch, lesson: Lesson, made: calibrations.Calibrated, data_hash: str) -> Traced:
    return Traced(
        model=made.model_version.rpartition("/")[0],
        version=made.version,
        run="",
        trained=made.made,
        started=stretch.start,
        ended=stretch.end,
        data_hash=data_hash,
        entities=lesson.entities,
        sources={"sample": {"after": stretch.start, "last": stretch.end}},
    )


def _training(stretch: Stretch, lesson: Lesson, calibration: Calibration, noticed: float, seed: int) -> Training:
    from ml.registry import Training

    frames = (lesson.learned, lesson.held_out)
    threshold, profile = calibration.thresholds[lesson.family], stretch.profile
    return Training(
        tenant=stretch.tenant,
        start=stretch.start,
        end=stretch.end,
        data_hash=_hash(frames),
        fingerprint=fingerprint(lesson.family),
        threshold=threshold.value,
        rate=calibration.rate,
        metrics={
            "calm_low": threshold.low,
            "calm_high": threshold.high,
            "calm_highest": threshold.highest,
            "calm_exceedance": calibration.exceedance,
            "calm_aim": calibration.aim,
            "calm_seen": calibration.seen,
            "calm_ticks": calibration.ticks,
            "rows_learned": len(lesson.learned.ends),
            "rows_held_out": len(lesson.held_out.ends),
            "rows_judged": sum(int(judged(lesson.detector, frame).sum()) for frame in frames),
            "coverage": float(np.mean([frame.coverage.mean() for frame in frames])),
            "noticed_shift": noticed,
        },
        params={
            "seed": seed,
            "trees": lesson.detector.trees,
            "tail": calibration.tail,
            "families": ",".join(sorted(calibration.thresholds)),
            "window_seconds": profile.window_seconds,
            "tick_seconds": profile.tick_seconds,
            "debounce_windows": profile.debounce_windows,
            "anomaly_seconds": profile.anomaly_seconds,
            "pages_per_week": profile.budget.pages_per_week,
            "week_seconds": profile.budget.week_seconds,
        },
        description=(
            "Learned from the first half of the data window; its threshold was set on the second half, together with "
            f"{', '.join(sorted(set(calibration.thresholds) - {lesson.family})) or 'no other family'}, on the rate of "
            f"incidents of all of them (tail: {calibration.tail}); then learned again from both halves."
        ),
    )


def _hash(frames: Sequence[FeatureFrame]) -> str:
    content = hashlib.blake2b(digest_size=16)
    for frame in frames:
        content.update(repr((frame.entities, [end.isoformat() for end in frame.ends], frame.names)).encode())
        content.update(np.ascontiguousarray(frame.values).tobytes())
    return content.hexdigest()


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

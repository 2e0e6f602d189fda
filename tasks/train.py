"""Learning: calm samples become windows, windows a detector and its threshold, and these the family's champion.

The first half of the stretch teaches the detector, the second half, which it has not seen, sets its threshold; then the
detector learns from both halves, and keeps the threshold. Two whole days are meant: each half has seen each hour.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from feature_store.definitions import by_family, fingerprint, floors, metrics, names
from feature_store.windows import FeatureFrame, window_features
from ml.calibration import Budget, Calibration, calibrate
from ml.detectors.isolation_forest import ForestDetector
from tasks.detect import LEAST_COVERAGE
from tonewatch.errors import ModelError
from tonewatch.settings import Profile
from warehouse import entities as known
from warehouse import samples
from warehouse.database import Warehouse

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
    """What was learned of one family; `learned` and `held_out` are the rows of the two halves."""

    family: str
    learned: FeatureFrame
    held_out: FeatureFrame
    detector: ForestDetector
    calibration: Calibration
    noticed: float


@dataclass(frozen=True, slots=True)
class Trained:
    """A family's new champion, in figures. Rates are findings of the family per calm budget week.

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


async def families_of(warehouse: Warehouse, stretch: Stretch) -> dict[str, tuple[str, ...]]:
    """The families that the tenant has at the end of the stretch, with their entities."""
    async with warehouse.as_tenant(stretch.tenant) as db:
        return by_family(await known.load(stretch.tenant, db, stretch.end))


async def read_frame(
    warehouse: Warehouse, stretch: Stretch, family: str, entities: Sequence[str], ends: Sequence[datetime]
) -> FeatureFrame:
    """The family's features in the windows that end at `ends`, from the warehouse."""
    seconds = stretch.profile.window_seconds
    parts = []
    for first in range(0, len(ends), WINDOWS_PER_READ):
        some = ends[first : first + WINDOWS_PER_READ]
        start, end = some[0] - timedelta(seconds=seconds), some[-1] + timedelta(microseconds=1)
        async with warehouse.as_tenant(stretch.tenant) as db:
            read = await samples.read(
                stretch.tenant, db, start, end, entities=entities, metrics=sorted(metrics(family))
            )
        parts.append(
            window_features(family, read, some, seconds, entities=entities, every=stretch.profile.scrape_seconds)
        )
    return _joined(family, entities, ends, parts)


def learn(
    family: str, learned: FeatureFrame, held_out: FeatureFrame, stretch: Stretch, *, families: int, seed: int
) -> Lesson:
    """Fit on `learned`, calibrate on `held_out`, fit again on both. `families` share the tenant's page budget.

    Raises ModelError: too little calm telemetry.
    """
    profile = stretch.profile
    budget = Budget(
        pages_per_week=profile.budget.pages_per_week,
        week_seconds=profile.budget.week_seconds,
        tick_seconds=profile.tick_seconds,
        debounce=profile.debounce_windows,
        families=families,
    )
    detector = ForestDetector(names(family), floors(family), seed=seed)
    detector.fit(learned.values[judged(detector, learned)])
    calibration = calibrate(score_matrix(detector, held_out), budget, phases=stretch.phases, seed=seed)
    both = np.vstack([frame.values[judged(detector, frame)] for frame in (learned, held_out)])
    detector.fit(both)
    noticed = float(np.median(list(detector.noticed(calibration.threshold).values())))
    return Lesson(family, learned, held_out, detector, calibration, noticed)


def judged(detector: ForestDetector, frame: FeatureFrame) -> npt.NDArray[np.bool_]:
    """The rows that would be judged live: enough samples, enough features."""
    return np.asarray(detector.usable(frame.values) & (frame.coverage >= LEAST_COVERAGE))


def score_matrix(detector: ForestDetector, frame: FeatureFrame) -> Floats:
    """Scores by entity and time, (entities, windows); NaN where a window is not judged."""
    scores = np.full(len(frame.ends), np.nan)
    rows = judged(detector, frame)
    scores[rows] = detector.score(frame.values[rows])
    return scores.reshape(len(set(frame.entities)), -1)


async def train(
    warehouse: Warehouse, stretch: Stretch, family: str, entities: Sequence[str], *, families: int, seed: int
) -> Lesson:
    """Read the family's calm stretch and learn from it. Raises ModelError: too little calm telemetry."""
    learned = await read_frame(warehouse, stretch, family, entities, stretch.ends(stretch.start, stretch.middle))
    held_out = await read_frame(warehouse, stretch, family, entities, stretch.ends(stretch.middle, stretch.end))
    if not len(learned.values) or not len(held_out.values):
        raise ModelError(
            f"{stretch.start.isoformat()} to {stretch.end.isoformat()} holds no window of {family}; "
            f"each half must be longer than a window of {stretch.profile.window_seconds:g} s"
        )
    return learn(family, learned, held_out, stretch, families=families, seed=seed)


def publish(tracking_uri: str, stretch: Stretch, lesson: Lesson, *, seed: int) -> Trained:
    """Register what was learned as the family's champion. Raises ModelError: MLflow is away or refuses."""
    from ml.registry import log_champion  # imports mlflow: seconds that learning alone does not pay

    rows = lesson.learned.values[judged(lesson.detector, lesson.learned)]
    version = log_champion(tracking_uri, lesson.family, lesson.detector, _training(stretch, lesson, seed), rows[:5])
    return Trained(
        family=lesson.family,
        version=version,
        entities=len(set(lesson.learned.entities)),
        rows=len(lesson.learned.ends) + len(lesson.held_out.ends),
        threshold=lesson.calibration.threshold,
        calm_highest=lesson.calibration.highest,
        calm_rate=lesson.calibration.rate,
        tail=lesson.calibration.tail,
        noticed=lesson.noticed,
    )


def _training(stretch: Stretch, lesson: Lesson, seed: int) -> Training:
    from ml.registry import Training

    frames, fit = (lesson.learned, lesson.held_out), asdict(lesson.calibration)
    tail = fit.pop("tail")
    threshold, rate = fit.pop("threshold"), fit.pop("rate")
    profile = stretch.profile
    return Training(
        tenant=stretch.tenant,
        start=stretch.start,
        end=stretch.end,
        data_hash=_hash(frames),
        fingerprint=fingerprint(lesson.family),
        threshold=threshold,
        rate=rate,
        metrics={
            **{f"calm_{name}": float(value) for name, value in fit.items()},
            "rows_learned": len(lesson.learned.ends),
            "rows_held_out": len(lesson.held_out.ends),
            "rows_judged": sum(int(judged(lesson.detector, frame).sum()) for frame in frames),
            "coverage": float(np.mean([frame.coverage.mean() for frame in frames])),
            "noticed_shift": lesson.noticed,
        },
        params={
            "seed": seed,
            "trees": lesson.detector.trees,
            "tail": tail,
            "window_seconds": profile.window_seconds,
            "tick_seconds": profile.tick_seconds,
            "debounce_windows": profile.debounce_windows,
            "pages_per_week": profile.budget.pages_per_week,
            "week_seconds": profile.budget.week_seconds,
        },
        description=(
            "Learned from the first half of the data window, threshold set on the second half for the page budget "
            f"(tail: {tail}), then learned again from both halves."
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

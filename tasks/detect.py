"""Step 3: hold the last minutes against the rules, and score them with the champions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from feature_store.definitions import by_family
from feature_store.recent import Recent
from feature_store.windows import FeatureFrame, Floats, window_features
from policy import rules
from policy.conditions import Condition, Conditions, carried_on
from tonewatch.records import FindingKind
from tonewatch.settings import Profile
from tonewatch.topology import Topology

if TYPE_CHECKING:
    from ml.detectors.base import Detector
    from ml.registry import Champion  # its module imports mlflow, which a tick can do without

#: A window with fewer of the expected samples is not judged: missing telemetry is no anomaly.
LEAST_COVERAGE = 0.6
#: Features named in a finding: those that lie farthest from the calm ones.
EXPLAINED = 3
#: A finding needs a feature this far from the calm ones, in robust standard deviations: a forest also isolates rows
#: that are merely an unusual mixture of usual values.
NOTABLE = 4.0


def detect(
    before: Conditions,
    recent: Recent,
    champions: Mapping[str, Champion],
    topology: Topology,
    now: datetime,
    profile: Profile,
) -> dict[tuple[str, str], Condition]:
    """Everything that is wrong at `now`. No model judges windows in which the watcher's own machine was starved."""
    found = rules.evaluate(before, recent.readings, now, profile)
    if _tainted(recent, now, profile):
        return found
    return found | carried_on(before, anomalies(recent, champions, topology, now, profile))


def _tainted(recent: Recent, now: datetime, profile: Profile) -> bool:
    """Whether the watcher's own machine was starved at any time that the judged windows cover."""
    span = profile.window_seconds + (profile.debounce_windows - 1) * profile.tick_seconds
    start = now - timedelta(seconds=span)
    starved = recent.readings.get(("host:watcher", "host_starved_seconds"), ())
    return any(sample.value > 0 and sample.time > start for sample in starved)


def anomalies(
    recent: Recent, champions: Mapping[str, Champion], topology: Topology, now: datetime, profile: Profile
) -> Iterator[Condition]:
    """Entities whose last `debounce_windows` windows, one tick apart, all score above their champion's threshold."""
    tick = timedelta(seconds=profile.tick_seconds)
    ends = [now - step * tick for step in reversed(range(profile.debounce_windows))]
    start = ends[0] - timedelta(seconds=profile.window_seconds)
    for family, entities in by_family(topology.entities.values()).items():
        champion = champions.get(family)
        if champion is None:
            continue
        frame = window_features(
            family,
            list(recent.between(start, now)),
            ends,
            profile.window_seconds,
            entities=entities,
            every=profile.scrape_seconds,
        )
        yield from _anomalous(frame, champion, len(ends), profile)


def _anomalous(frame: FeatureFrame, champion: Champion, windows: int, profile: Profile) -> Iterator[Condition]:
    detector = champion.detector
    judged = detector.usable(frame.values) & (frame.coverage >= LEAST_COVERAGE)
    for first in range(0, len(frame.entities), windows):
        rows = slice(first, first + windows)
        if not judged[rows].all():
            continue
        scores = detector.score(frame.values[rows])
        if (scores <= champion.threshold).any() or not _notable(detector, frame.values[rows]):
            continue
        explained = dict(list(detector.explain(frame.values[rows][-1]).items())[:EXPLAINED])
        seconds = timedelta(seconds=profile.window_seconds)
        yield Condition(
            entity=frame.entities[first],
            symptom="anomaly",
            detector=f"isolation-forest:{frame.family}",
            kind=FindingKind.SIGNAL,
            since=frame.ends[first] - seconds,
            met=frame.ends[first + windows - 1],
            summary=f"{frame.entities[first]} behaves unlike its calm days",
            expected=f"a score of at most {champion.threshold:.3f}",
            actual=f"{float(scores.min()):.3f} or more in {windows} windows; {_worded(explained)}",
            score=float(scores[-1]),
            rate=champion.rate,
            features=tuple(explained.items()),
            model_version=f"{frame.family}-isolation-forest/{champion.version}",
        )


def _notable(detector: Detector, rows: Floats) -> bool:
    """Whether every window holds a feature far from the calm ones: rare is not yet worth telling."""
    return all(any(abs(far) >= NOTABLE for far in detector.explain(row).values()) for row in rows)


def _worded(explained: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {distance:+.1f} sd" for name, distance in explained.items())

"""Step 3: hold the last minutes against the rules, and score them with the champions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from feature_store.definitions import by_family
from feature_store.history import STARVED, WATCHER
from feature_store.recent import Recent
from feature_store.windows import FeatureFrame, Floats
from ml.champion import Champion, Failing, scoring
from ml.detectors.base import Detector
from policy import rules
from policy.conditions import Condition, Conditions, carried_on
from tonewatch.errors import ModelError
from tonewatch.records import FindingKind
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse.calibrations import model_version

Flags = npt.NDArray[np.bool_]
#: Longest memory of the watcher: what a diagnosis and a verification look back on.
HORIZON = timedelta(minutes=6)
#: The symptom of a model that fails.
FAILS = "model-fails"
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
    starved = recent.readings.get((WATCHER, STARVED), ())
    return any(sample.value > 0 and sample.time > start for sample in starved)


def anomalies(
    recent: Recent, champions: Mapping[str, Champion], topology: Topology, now: datetime, profile: Profile
) -> Iterator[Condition]:
    """Entities whose last `debounce_windows` windows, one tick apart, all score above their champion's threshold.

    A model that fails is a finding of its own, which opens no incident, and silences neither rules nor other models.
    """
    tick = timedelta(seconds=profile.tick_seconds)
    for family, entities in by_family(topology.entities.values()).items():
        champion = champions.get(family)
        if champion is None:
            continue
        back = champion.detector.looks_back
        ends = [now - step * tick for step in reversed(range(back + profile.debounce_windows))]
        frame = recent.features(family, ends, profile.window_seconds, entities=entities, every=profile.scrape_seconds)
        try:
            with scoring(family, champion.version):
                found = list(_anomalous(frame, champion, profile))
        except ModelError as error:
            yield failing(Failing(family, champion.version, str(error)), now)
        else:
            yield from found


def failing(one: Failing, now: datetime) -> Condition:
    """The finding that a family is not judged, because its champion cannot score."""
    name = model_version(one.family, one.version)
    return Condition(
        entity=WATCHER,
        symptom=FAILS,
        detector=f"model:{one.family}",
        kind=FindingKind.DATA,
        since=now,
        met=now,
        summary=f"the model {name} cannot score today's windows: nothing of its family is judged",
        expected="a score for each window",
        actual=one.why[:300],
        model_version=name,
    )


def _anomalous(frame: FeatureFrame, champion: Champion, profile: Profile) -> Iterator[Condition]:
    detector, windows = champion.detector, profile.debounce_windows
    back = detector.looks_back
    strands = frame.values.reshape(-1, back + windows, len(frame.names))
    judged = detector.usable(frame.values) & (frame.coverage >= LEAST_COVERAGE)
    asked: Flags = np.asarray(judged.reshape(-1, back + windows)[:, back:].all(axis=1))
    # Few calm windows hold anything notable, and a look at that costs a fraction of the model's score.
    asked[asked] = _notable(detector, strands[asked, back:].reshape(-1, len(frame.names)), windows)
    scores = detector.strangeness(strands[asked])
    strange = (scores > champion.threshold).all(axis=1)
    for place in np.flatnonzero(strange):
        first = int(np.flatnonzero(asked)[place]) * (back + windows) + back
        explained = dict(list(detector.explain(frame.values[first + windows - 1]).items())[:EXPLAINED])
        yield Condition(
            entity=frame.entities[first],
            symptom="anomaly",
            detector=f"{detector.kind}:{frame.family}",
            kind=FindingKind.SIGNAL,
            since=frame.ends[first] - timedelta(seconds=profile.window_seconds),
            met=frame.ends[first + windows - 1],
            summary=f"{frame.entities[first]} behaves unlike its calm days",
            expected=f"a score of at most {champion.threshold:.3f}",
            actual=f"{float(scores[place].min()):.3f} or more in {windows} windows; {_worded(explained)}",
            score=float(scores[place, -1]),
            rate=champion.rate,
            features=tuple(explained.items()),
            model_version=model_version(frame.family, champion.version),
        )


def least_horizon(looks_back: int, profile: Profile) -> timedelta:
    """How far a model looks back that judges a window by so many before it."""
    ticks = looks_back + profile.debounce_windows - 1
    return timedelta(seconds=profile.window_seconds + ticks * profile.tick_seconds)


def _notable(detector: Detector, rows: Floats, windows: int) -> Flags:
    """Per entity: whether all its windows hold a feature far from the calm ones: rare is not yet worth telling."""
    far = (np.abs(detector.distances(rows)) >= NOTABLE).any(axis=1)
    return np.asarray(far.reshape(-1, windows).all(axis=1))


def _worded(explained: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {distance:+.1f} sd" for name, distance in explained.items())

"""Rules on a station's streams: away, gone from the server, frozen, not to be decoded, pointing elsewhere; and its
listeners held against their own last minutes. Pure. Silence is heard by the same rule as everywhere.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from policy.conditions import Condition, Rule
from policy.readings import Readings, after, entities_with, fresh, in_a_row, trailing_run
from tonewatch.records import FindingKind, Sample
from tonewatch.settings import Profile

#: Damage is one wrong packet now and then; sound that does not decode in most readings of this time is none.
DAMAGED_SPAN, DAMAGED_SHARE, DAMAGED_READINGS = timedelta(seconds=15), 0.5, 4
#: Listeners are compared with the median of what they were before the last minute, as far as is remembered.
LATELY = timedelta(seconds=60)
JUST_NOW = timedelta(seconds=10)
LEAST_PAST, LEAST_LISTENERS, LOST_SHARE, LOST_SPREADS = 60, 20, 0.5, 6.0
#: Scales a median of deviations to a standard deviation of normal noise.
MAD = 1.4826

_AWAY = {
    "refused": "the connection is refused",
    "timeout": "no answer comes, or no sound any more",
    "broken": "the connection breaks off",
    "status": "the server answers with an error: there is no such mount now",
    "host": "it points at a host that is not allowed",
    "ended": "the server ends it again and again",
}


def stream_away(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A stream that cannot be had, in so many readings in a row."""
    for entity, run in in_a_row(readings, "stream_away", now, profile, above=1.0):
        reasons = Counter(dict(sample.series.labels).get("reason", "unreadable") for sample in run)
        reason = reasons.most_common(1)[0][0]
        yield Condition(
            entity=entity,
            symptom="stream-away",
            detector="rule:stream-away",
            kind=FindingKind.RULE,
            since=run[0].time,
            met=run[profile.scrapes_failed - 1].time,
            summary=f"{entity} is away: {_AWAY.get(reason, 'what comes is no stream')}",
            expected="a stream for whoever asks",
            actual=f"none in {len(run)} readings in a row ({reason})",
        )


def mount_gone(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A mount that its own server no longer lists: its source client has left."""
    for entity, run in in_a_row(readings, "icecast_mount_listed", now, profile, below=0.0):
        yield Condition(
            entity=entity,
            symptom="mount-gone",
            detector="rule:mount-gone",
            kind=FindingKind.RULE,
            since=run[0].time,
            met=run[profile.scrapes_failed - 1].time,
            summary=f"{entity} has no source: its server lists it no longer",
            expected="the mount in every status of the server",
            actual=f"missing in {len(run)} in a row",
        )


def stream_frozen(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A stream that is open and brings nothing."""
    for entity, met, length in _overdue(readings, now, profile, "stream_frozen_seconds"):
        yield Condition(
            entity=entity,
            symptom="stream-frozen",
            detector="rule:stream-frozen",
            kind=FindingKind.RULE,
            since=met.time - timedelta(seconds=met.value),
            met=met.time,
            summary=f"{entity} is frozen: it is open, and nothing comes",
            expected=f"sound at most {profile.playlist_overdue_seconds:g} s after it is due",
            actual=f"no byte for {length:.1f} s",
        )


def stream_undecodable(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A stream that brings bytes and no sound, or errors in most readings."""
    overdue = _overdue(readings, now, profile, "stream_undecoded_seconds")
    mute = {entity: (met, length) for entity, met, length in overdue}
    for entity in entities_with(readings, "stream_undecoded_seconds"):
        if entity in mute:
            met, length = mute[entity]
            since, actual = met.time - timedelta(seconds=met.value), f"bytes and no sound for {length:.1f} s"
        else:
            recent = after(readings.get((entity, "probe_decode_errors"), ()), now - DAMAGED_SPAN)
            damaged = [sample for sample in recent if sample.value > 0]
            if len(damaged) < max(DAMAGED_READINGS, DAMAGED_SHARE * len(recent)):
                continue
            since, met = damaged[0].time, damaged[DAMAGED_READINGS - 1]
            actual = f"errors in {len(damaged)} of the last {len(recent)} readings"
        yield Condition(
            entity=entity,
            symptom="stream-undecodable",
            detector="rule:stream-undecodable",
            kind=FindingKind.RULE,
            since=since,
            met=met.time,
            summary=f"{entity} brings what cannot be decoded",
            expected="sound that decodes",
            actual=actual,
        )


def _overdue(readings: Readings, now: datetime, profile: Profile, metric: str) -> Iterator[tuple[str, Sample, float]]:
    """Entities for which `metric` (seconds) is beyond what is allowed: the first such reading, and the length now."""
    for entity in entities_with(readings, metric):
        run = trailing_run(readings[entity, metric], above=profile.playlist_overdue_seconds)
        if run and fresh(run[-1], now, profile):
            yield entity, run[0], run[-1].value


def foreign_host(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A source that points at a host which nobody allowed: it was not asked."""
    for entity in entities_with(readings, "source_foreign_host"):
        recent = [s for s in readings[entity, "source_foreign_host"] if s.value > 0 and fresh(s, now, profile)]
        if not recent:
            continue
        hosts = sorted({dict(sample.series.labels).get("host", "") for sample in recent})
        yield Condition(
            entity=entity,
            symptom="foreign-host",
            detector="rule:foreign-host",
            kind=FindingKind.SECURITY,
            since=recent[0].time,
            met=recent[0].time,
            summary=f"{entity} points at {', '.join(hosts)}, which is not allowed: it is not followed",
            expected="addresses at the hosts that the settings name",
            actual=", ".join(hosts),
        )


def listeners_lost(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A channel that lost half its listeners within a minute, far beyond how their number scatters: a baseline that
    a few odd readings do not move (median, and median of deviations). No fault by itself; it tells if it lasts.
    """
    for entity in entities_with(readings, "icecast_listeners"):
        samples = readings[entity, "icecast_listeners"]
        recent = after(samples, now - JUST_NOW)
        past = [sample.value for sample in samples if sample.time <= now - LATELY]
        if not recent or len(past) < LEAST_PAST:
            continue
        usual, present = statistics.median(past), statistics.median(sample.value for sample in recent)
        if usual < LEAST_LISTENERS or present > LOST_SHARE * usual or usual - present < LOST_SPREADS * _spread(past):
            continue
        since = _since(samples, LOST_SHARE * usual)
        yield Condition(
            entity=entity,
            symptom="listeners-lost",
            detector="baseline:listeners",
            kind=FindingKind.SIGNAL,
            since=since,
            met=now,
            summary=f"{entity} lost half its listeners or more",
            expected=f"about {usual:.0f} listeners",
            actual=f"{present:.0f}",
            score=round(1 - present / usual, 3),
        )


def _spread(values: Sequence[float]) -> float:
    """How far readings lie apart, robustly; arrivals alone make it no less than the root of their number."""
    middle = statistics.median(values)
    return float(max(MAD * statistics.median(abs(value - middle) for value in values), middle**0.5))


def _since(samples: Sequence[Sample], limit: float) -> datetime:
    run = trailing_run(samples, below=limit)
    return (run or list(samples)[-1:])[0].time


STREAM_RULES: tuple[Rule, ...] = (
    stream_away,
    mount_gone,
    stream_frozen,
    stream_undecodable,
    foreign_host,
    listeners_lost,
)

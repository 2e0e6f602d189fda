"""Rules on what is missing: series that stopped, beacons that stopped, exporters that repeat themselves. Pure.

Bad data is a finding of its own kind (`data`): it opens no incident, but tells why a model or a rule is silent. A part
that is down is none of it: that is scrape-down's. What has been missing for longer than the readings reach back is no
longer missed: it has become the new normal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from policy.conditions import Condition, Rule
from policy.readings import Readings, after, entities_with, last, quiet
from tonewatch.records import FindingKind, Sample, SeriesKind
from tonewatch.settings import Profile

#: Nothing is missed before it has been away for this long, or for three intervals if they are longer.
PATIENCE = timedelta(seconds=10)
INTERVALS = 3
#: A metric was given always if it was in so many scrapes before it stopped, and in nine of ten.
REGULAR, REGULAR_SHARE = 20, 0.9
#: Fewer sessions that fall silent together may simply have left.
LEAST_SESSIONS = 3
#: An exporter is frozen when nothing has moved for so many scrapes, and for so long: its own answers cost CPU.
FROZEN_SCRAPES, FROZEN_FOR = 20, timedelta(seconds=30)
LEAST_COUNTERS = 2
#: A log has stopped when it is silent for this long and for five times its longest pause, while work goes on as before.
LOG_PATIENCE, PAUSES = timedelta(seconds=30), 5
WORK_GOES_ON = 0.5
#: What the watcher itself makes of what it reads comes and goes with other things than the component's exposition.
OURS = frozenset({"up", "scrape_failed", "scrape_seconds", "source_twin_gap_db", "prometheus_series_read"})
OURS_BEGIN = ("probe_", "sessions_", "log_", "host_", "player_")
CPU = "process_cpu_seconds_total"
STARTED = "process_start_time_seconds"
WATCHER = "host:watcher"


def series_stopped(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A component that answers scrapes but no longer gives a metric that it always gave: one finding, all metrics."""
    for entity, metrics in _stopped(readings, now - _patience(profile.scrape_seconds), now).items():
        missing = {metric: sample for metric, sample in metrics.items() if _always_given(readings, sample, now)}
        if not missing:
            continue
        since = min(sample.time for sample in missing.values())
        yield Condition(
            entity=entity,
            symptom="series-stopped",
            detector="rule:series-stopped",
            kind=FindingKind.DATA,
            since=since,
            met=since + _patience(profile.scrape_seconds),
            summary=f"{entity} answers, but no longer gives {_named(sorted(missing))}",
            expected="every metric that it always gave, at every scrape",
            actual=f"{len(missing)} missing since {since:%H:%M:%S}",
        )


def _stopped(readings: Readings, before: datetime, now: datetime) -> dict[str, dict[str, Sample]]:
    """Per component that is up: the last sample of each of its metrics that has none since `before`."""
    up = {entity: last(readings, entity, "up") for entity in entities_with(readings, "up")}
    answers = {entity for entity, sample in up.items() if sample and sample.value > 0 and sample.time > before}
    found: dict[str, dict[str, Sample]] = {}
    for entity, metric in quiet(readings, before):
        if entity in answers and metric not in OURS and not metric.startswith(OURS_BEGIN):
            found.setdefault(entity, {})[metric] = readings[entity, metric][-1]
    return found


def _always_given(readings: Readings, newest: Sample, now: datetime) -> bool:
    """Whether the metric was in nearly all scrapes before it stopped, all of one process that has answered since."""
    entity, metric = newest.series.entity, newest.series.metric
    times = {sample.time for sample in readings[entity, metric]}
    first = min(times)
    scrapes = [sample for sample in readings[entity, "up"] if sample.time >= first]
    if len(times) < REGULAR or any(sample.value <= 0 for sample in scrapes):
        return False
    until = [sample for sample in scrapes if sample.time <= newest.time]
    if len(times) < REGULAR_SHARE * len(until):
        return False
    # A process that began anew gives its labelled counters only once there is something to count.
    began = {sample.value for sample in readings.get((entity, STARTED), ()) if sample.time >= first}
    return len(began) <= 1


def exporter_frozen(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A component that answers every scrape with the same numbers: its own answering should cost CPU, and count."""
    span = max(FROZEN_FOR, timedelta(seconds=FROZEN_SCRAPES * profile.scrape_seconds))
    still: dict[str, datetime] = {}
    for entity in entities_with(readings, CPU):
        since = _still_since(readings[entity, CPU], now - span)
        newest = last(readings, entity, "up")
        if since is not None and newest and newest.value > 0 and now - newest.time < _patience(profile.scrape_seconds):
            still[entity] = since
    moving = _counters(readings, still) if still else {}
    for entity, since in still.items():
        lines = moving.get(entity, [])
        if len(lines) < LEAST_COUNTERS or any(_rose(after(line, since)) for line in lines):
            continue
        if not any(_rose(line) for line in lines):  # never seen alive: it may be made so
            continue
        yield Condition(
            entity=entity,
            symptom="exporter-frozen",
            detector="rule:exporter-frozen",
            kind=FindingKind.DATA,
            since=since,
            met=since + span,
            summary=f"{entity} answers every scrape with the same numbers",
            expected="counters and CPU time that move, if only by being asked",
            actual=f"{len(lines)} counters unmoved since {since:%H:%M:%S}",
        )


def _still_since(samples: Sequence[Sample], start: datetime) -> datetime | None:
    """When the value of a single series last changed, if that was before `start` and it has been given since."""
    recent = after(samples, start)
    if len(recent) < FROZEN_SCRAPES // 2 or len(recent) == len(samples) or recent[0].value != recent[-1].value:
        return None
    value = recent[-1].value
    since = recent[0].time
    for sample in reversed(samples):
        if sample.value != value:
            return since if since <= start else None
        since = sample.time
    return None  # it never moved: an exporter that has no CPU time to tell


def _counters(readings: Readings, entities: dict[str, datetime]) -> dict[str, list[Sequence[Sample]]]:
    found: dict[str, list[Sequence[Sample]]] = {}
    for entity, metric in readings:
        if entity in entities and metric not in OURS and not metric.startswith(OURS_BEGIN):
            line = readings[entity, metric]
            if line[-1].series.kind is SeriesKind.COUNTER:
                found.setdefault(entity, []).append(line)
    return found


def _rose(samples: Sequence[Sample]) -> bool:
    """Whether any series among the samples has changed."""
    seen: dict[object, float] = {}
    return any(seen.setdefault(sample.series.labels, sample.value) != sample.value for sample in samples)


def beacons_stopped(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """Players of a channel that all fell silent at once while they were listening: their reports do not get through."""
    for entity in entities_with(readings, "sessions_silent"):
        if not entity.startswith("channel:"):
            continue
        samples = readings[entity, "sessions_silent"]
        if samples[-1].value < LEAST_SESSIONS:
            continue
        met = samples[-1]
        for sample in reversed(samples):
            if sample.value < LEAST_SESSIONS:
                break
            met = sample
        heard = [sample for sample in readings.get((entity, "sessions_playing"), ()) if sample.time <= met.time]
        yield Condition(
            entity=entity,
            symptom="beacons-stopped",
            detector="rule:beacons-stopped",
            kind=FindingKind.DATA,
            since=heard[-1].time if heard else met.time,
            met=met.time,
            summary=f"the players of {entity} no longer report",
            expected="a report of every session that plays, at its interval",
            actual=f"{samples[-1].value:.0f} sessions fell silent together",
        )


def probe_silent(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A probe that says nothing about any rendition, not even that it could not be had, while scrapes arrive."""
    patience = _patience(profile.probe_seconds)
    newest = [last(readings, entity, "probe_unreachable") for entity in entities_with(readings, "probe_unreachable")]
    told = max((sample.time for sample in newest if sample), default=None)
    if told is None or told > now - patience:
        return
    scraped = [last(readings, entity, "up") for entity in entities_with(readings, "up")]
    if not any(sample and sample.time > now - _patience(profile.scrape_seconds) for sample in scraped):
        return  # the watcher has just begun, or slept: nothing at all arrived
    yield Condition(
        entity=WATCHER,
        symptom="probe-silent",
        detector="rule:probe-silent",
        kind=FindingKind.DATA,
        since=told,
        met=told + patience,
        summary="the probe says nothing about any rendition",
        expected=f"word of every rendition each {profile.probe_seconds:g} s",
        actual=f"none since {told:%H:%M:%S}, of {len(newest)} renditions",
    )


def log_stopped(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A component's log that was written steadily and is not any more, while its work goes on as before."""
    for entity in entities_with(readings, "log_lines"):
        lines = readings[entity, "log_lines"]
        written = [sample.time for sample in lines if sample.value > 0]
        if len(written) < REGULAR or lines[-1].time <= now - _patience(profile.tick_seconds):
            continue
        pause = max(b - a for a, b in pairwise(written))
        patience = max(LOG_PATIENCE, PAUSES * pause)
        if now - written[-1] < patience or not _works_on(readings, entity, written[0], written[-1], now):
            continue
        yield Condition(
            entity=entity,
            symptom="log-stopped",
            detector="rule:log-stopped",
            kind=FindingKind.DATA,
            since=written[-1],
            met=written[-1] + patience,
            summary=f"{entity} works on, but its log has stopped",
            expected=f"a line at least every {pause.total_seconds():.0f} s",
            actual=f"none since {written[-1]:%H:%M:%S}",
        )


def _works_on(readings: Readings, entity: str, first: datetime, stopped: datetime, now: datetime) -> bool:
    """Whether what the component counts has risen since `stopped` at half of its former pace or more."""
    for line in _counters(readings, {entity: first}).get(entity, ()):
        if line[-1].series.metric.startswith(("process_", "python_")):
            continue
        series = line[-1].series.labels
        held = [sample for sample in line if sample.series.labels == series and sample.time >= first]
        before = [sample for sample in held if sample.time <= stopped]
        since = [sample for sample in held if sample.time > stopped]
        if len(before) < 2 or len(since) < 2 or before[-1].value <= before[0].value:
            continue
        pace = (before[-1].value - before[0].value) / (before[-1].time - before[0].time).total_seconds()
        if since[-1].value - since[0].value >= WORK_GOES_ON * pace * (since[-1].time - since[0].time).total_seconds():
            return True
    return False


def _patience(interval_seconds: float) -> timedelta:
    return max(PATIENCE, timedelta(seconds=INTERVALS * interval_seconds))


def _named(metrics: Sequence[str]) -> str:
    shown = ", ".join(metrics[:3])
    return shown if len(metrics) <= 3 else f"{shown} and {len(metrics) - 3} more"


MISSING_RULES: tuple[Rule, ...] = (series_stopped, exporter_frozen, beacons_stopped, probe_silent, log_stopped)

"""The tenant's own rules on single metrics (setting `rules`), as conditions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from itertools import pairwise

from policy.conditions import Condition
from policy.readings import Readings, after, entities_with, fresh, usual_gap
from tonewatch.records import FindingKind, Sample, SeriesKind, digest
from tonewatch.settings import MetricRule, Profile

#: (time, what is compared) in order of time.
Points = list[tuple[datetime, float]]


def metric_rules(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """Each series that breaks a rule now, and has done so without a break for as long as the rule says."""
    for rule in profile.rules:
        for entity in entities_with(readings, rule.metric):
            if fnmatchcase(entity, rule.entity):
                for line in _series(rule, after(readings[entity, rule.metric], _start(rule, now, profile))):
                    yield from _broken(rule, line, now, profile)


def _start(rule: MetricRule, now: datetime, profile: Profile) -> datetime:
    """As far back as the rule looks, and so much further that the first sample of its time has one before it."""
    return now - timedelta(seconds=rule.looks_back + 2 * profile.scrape_seconds + profile.tick_seconds)


def _series(rule: MetricRule, samples: Sequence[Sample]) -> list[list[Sample]]:
    lines: dict[int, list[Sample]] = {}
    wanted = rule.labels.items()
    for sample in samples:
        if wanted <= dict(sample.series.labels).items():
            lines.setdefault(sample.series.id, []).append(sample)
    return list(lines.values())


def _broken(rule: MetricRule, line: list[Sample], now: datetime, profile: Profile) -> Iterator[Condition]:
    if not fresh(line[-1], now, profile, usual_gap(line)):
        return  # a series that has fallen silent says nothing; silence has rules of its own
    run: Points = []
    for point in reversed(compared(rule, line)):
        if not _breaks(rule, point[1]):
            break
        run.append(point)
    held = timedelta(seconds=rule.for_seconds)
    met = next((time for time, _ in reversed(run) if time - run[-1][0] >= held), None)
    if met is None:
        return
    series = line[-1].series
    told = ", ".join(f"{name}={value}" for name, value in series.labels)
    what = rule.summary or f"{rule.metric} breaks the rule {rule.name}"
    side, limit = ("above", rule.above) if rule.above is not None else ("below", rule.below)
    reading = (
        rule.metric if rule.reading == "value" else f"{rule.reading} of {rule.metric} over {rule.over_seconds:g} s"
    )
    yield Condition(
        entity=series.entity,
        symptom="own-rule",
        # Two disks of one machine may be full at once: the same rule, but not the same condition.
        detector=f"own-rule:{rule.name}:{digest(series.labels)[:6]}",
        kind=FindingKind.RULE,
        since=run[-1][0],
        met=met,
        summary=f"{series.entity}: {what}" + (f" ({told})" if told else ""),
        expected=f"{reading} not {side} {limit:g}" + (f" for {rule.for_seconds:g} s" if rule.for_seconds else ""),
        actual=f"{run[0][1]:.6g}",
    )


def _breaks(rule: MetricRule, value: float) -> bool:
    return value > rule.above if rule.above is not None else rule.below is not None and value < rule.below


def compared(rule: MetricRule, line: Sequence[Sample]) -> Points:
    """What the rule compares, at the time of each sample from which on its reading is whole."""
    if rule.reading == "value":
        return [(sample.time, sample.value) for sample in line]
    over, points, first = timedelta(seconds=rule.over_seconds), Points(), 0
    for place, sample in enumerate(line):
        start = sample.time - over
        while line[first].time <= start:
            first += 1
        before = line[first - 1] if first else None
        window = line[first : place + 1]
        # Less than the whole span is not compared: half a minute's mean is not a minute's.
        if before is not None or window[0].time - over / 20 <= start:
            points.append((sample.time, _reading(rule, before, window)))
    return points


def _reading(rule: MetricRule, before: Sample | None, window: Sequence[Sample]) -> float:
    values = [sample.value for sample in window]
    match rule.reading:
        case "mean":
            return sum(values) / len(values)
        case "max":
            return max(values)
        case "min":
            return min(values)
    inside = [before, *window] if before is not None else list(window)
    seconds = (inside[-1].time - inside[0].time).total_seconds()
    return _rise([sample.value for sample in inside], inside[-1].series.kind) / seconds if seconds else 0.0


def _rise(values: Sequence[float], kind: SeriesKind) -> float:
    """The increase; a counter that fell began again at 0."""
    if kind is not SeriesKind.COUNTER:
        return values[-1] - values[0]
    return sum(later if later < sooner else later - sooner for sooner, later in pairwise(values))

"""The tenant's own rules on single metrics (setting `rules`), as conditions. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from itertools import pairwise
from operator import attrgetter

from policy.conditions import Condition
from policy.readings import UNREAD, Readings, entities_with, fresh, usual_gap
from tonewatch.records import FindingKind, Sample, SeriesKind, digest
from tonewatch.settings import MetricRule, Profile


def metric_rules(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """Each series that breaks a rule now, and has done so without a break for as long as the rule says."""
    for rule in profile.rules:
        for entity in entities_with(readings, rule.metric):
            if fnmatchcase(entity, rule.entity):
                for line in _series(rule, readings[entity, rule.metric]):
                    yield from _broken(rule, line, now, profile)


def unread(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """A rule whose metric the connected Prometheus does not give: it is asked for it by itself."""
    for entity in entities_with(readings, UNREAD):
        newest: dict[int, Sample] = {sample.series.id: sample for sample in readings[entity, UNREAD]}
        for sample in newest.values():
            if sample.value > 0 and fresh(sample, now, profile):
                metric = dict(sample.series.labels).get("metric", "")
                yield Condition(
                    entity=entity,
                    symptom="rule-unread",
                    detector=f"own-rule:unread:{digest(metric)[:6]}",
                    kind=FindingKind.DATA,
                    since=sample.time,
                    met=sample.time,
                    summary=f"{entity} does not give {metric}: the rules on it are not looked at",
                    expected="an answer of a bearable size within the time",
                    actual="none",
                )


def _series(rule: MetricRule, samples: Sequence[Sample]) -> list[list[Sample]]:
    lines: dict[int, list[Sample]] = {}
    wanted = rule.labels.items()
    for sample in samples:
        if wanted <= dict(sample.series.labels).items():
            lines.setdefault(sample.series.id, []).append(sample)
    return list(lines.values())


def _broken(rule: MetricRule, line: list[Sample], now: datetime, profile: Profile) -> Iterator[Condition]:
    gap = usual_gap(line)
    if not fresh(line[-1], now, profile, gap):
        return  # a series that has fallen silent says nothing; silence has rules of its own
    held = timedelta(seconds=rule.for_seconds)
    newest, since = None, now
    for time, value in compared(rule, line):
        if not _breaks(rule, value):
            break
        newest, since = newest if newest is not None else value, time
        if now - since >= held:
            break
    else:
        # Broken as far back as is looked: its true beginning lies up to a sample further back.
        since -= gap or timedelta()
    if newest is None or now - since < held:
        return
    series = line[-1].series
    told = ", ".join(f"{name}={value}" for name, value in series.labels)
    what = rule.summary or f"{rule.metric} breaks the rule {rule.name}"
    side, limit = ("above", rule.above) if rule.above is not None else ("below", rule.below)
    over = "" if rule.reading == "value" else f" over {rule.over_seconds:g} s"
    reading = f"{rule.reading} of {rule.metric}{over}" if over else rule.metric
    yield Condition(
        entity=series.entity,
        symptom="own-rule",
        # Two disks of one machine may be full at once: the same rule, but not the same condition.
        detector=f"own-rule:{rule.name}:{digest(series.labels)[:6]}",
        kind=FindingKind.RULE,
        since=since,
        met=since + held,
        summary=f"{series.entity}: {what}" + (f" ({told})" if told else ""),
        expected=f"{reading} not {side} {limit:g}" + (f" for {rule.for_seconds:g} s" if rule.for_seconds else ""),
        actual=f"{newest:.6g}",
    )


def _breaks(rule: MetricRule, value: float) -> bool:
    return value > rule.above if rule.above is not None else rule.below is not None and value < rule.below


def compared(rule: MetricRule, line: Sequence[Sample]) -> Iterator[tuple[datetime, float]]:
    """What the rule compares, at the time of each sample whose reading is whole, the latest first."""
    if rule.reading == "value":
        yield from ((sample.time, sample.value) for sample in reversed(line))
        return
    over = timedelta(seconds=rule.over_seconds)
    for place in range(len(line) - 1, -1, -1):
        start = line[place].time - over
        first = bisect_right(line, start, hi=place, key=attrgetter("time"))
        # Less than the whole span is not compared: half a minute's mean is not a minute's.
        if not first and line[0].time - over / 20 > start:
            return
        yield line[place].time, _reading(rule, line[first - 1] if first else None, line[first : place + 1])


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

"""The user's own alerts: what his Prometheus says fires, as conditions of ours. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from policy.conditions import Condition
from policy.readings import Readings, entities_with, usual_gap
from tonewatch.records import FindingKind, Sample, Series, digest
from tonewatch.settings import Profile

#: Prometheus' own series of alerts, one sample per evaluation for as long as one is pending or fires.
ALERTS = "ALERTS"
#: How often a rule may be evaluated of which one sample is known; two tell it themselves.
EVALUATED = timedelta(minutes=2, seconds=10)
#: An alert whose last sample is older than so many evaluations has ended.
EVALUATIONS = 2.5
#: What says how it is with the alert, not what it is about.
_ABOUT_ITSELF = frozenset({"alertname", "alertstate", "severity"})


def own_alerts(readings: Readings, now: datetime, profile: Profile) -> Iterator[Condition]:
    """Each alert of the user's own that fires now; since its first sample, met at once: his rule has waited already."""
    for entity in entities_with(readings, ALERTS):
        lines: dict[int, list[Sample]] = {}
        for sample in readings[entity, ALERTS]:
            if sample.value > 0 and ("alertstate", "firing") in sample.series.labels and heeded(sample.series, profile):
                lines.setdefault(sample.series.id, []).append(sample)
        for line in lines.values():
            if now - line[-1].time <= EVALUATIONS * (usual_gap(line) or EVALUATED):
                yield condition(line[0].series, line[0].time)


def heeded(series: Series, profile: Profile) -> bool:
    """Whether the tenant wants to hear of the alert that the series is of."""
    return name_of(series) not in profile.ignored_alerts


def name_of(series: Series) -> str:
    """The alert's name, as its rule has it."""
    return dict(series.labels).get("alertname", "an alert without a name")


def condition(series: Series, since: datetime) -> Condition:
    """What an alert that began to fire at `since` says."""
    labels = dict(series.labels)
    name = name_of(series)
    told = {key: value for key, value in labels.items() if key not in _ABOUT_ITSELF}
    about = ", ".join(f"{key}={value}" for key, value in told.items())
    return Condition(
        entity=series.entity,
        symptom="alert",
        # Two disks of one machine may be full at once: the same rule, but not the same condition.
        detector=f"prometheus:{name}:{digest(told)[:6]}",
        kind=FindingKind.RULE,
        since=since,
        met=since,
        summary=f"{name} fires for {about or series.entity}",
        expected="this rule of your own does not fire",
        actual="it fires",
    )

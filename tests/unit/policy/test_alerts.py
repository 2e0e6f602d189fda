"""The user's own alerts as conditions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from feature_store.recent import Recent
from policy import rules
from policy.conditions import Condition
from tonewatch.records import FindingKind, Sample, Series
from tonewatch.settings import load_profile

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PROFILE = load_profile("platform")


def alert(name: str = "Slow", state: str = "firing", value: float = 1.0, *seconds: float) -> list[Sample]:
    labels = (("alertname", name), ("alertstate", state), ("job", "edge"), ("severity", "page"))
    series = Series("service:edge", "ALERTS", labels)
    return [Sample(series, START + timedelta(seconds=each), value) for each in seconds]


def found(told: list[Sample], seconds: float) -> list[Condition]:
    recent = Recent(timedelta(minutes=6))
    recent.add(told)
    now = START + timedelta(seconds=seconds)
    return list(rules.evaluate({}, recent.readings, now, PROFILE).values())


def test_an_alert_that_fires_is_a_condition_from_its_first_sample_on() -> None:
    (condition,) = found(alert("Slow", "firing", 1.0, 0, 15, 30), 40)
    assert (condition.entity, condition.kind) == ("service:edge", FindingKind.RULE)
    assert condition.detector.startswith("prometheus:Slow:")
    assert (condition.since, condition.met) == (START, START)
    assert condition.summary == "Slow fires for job=edge"


@pytest.mark.parametrize(("apart", "still"), [(15, 36), (60, 149)])
def test_it_ends_when_evaluations_have_passed_without_it(apart: float, still: float) -> None:
    told = alert("Slow", "firing", 1.0, *(step * apart for step in range(4)))
    last = 3 * apart
    assert len(found(told, last + still)) == 1
    assert found(told, last + 2.5 * apart + 1) == []


def test_after_one_sample_the_next_may_be_minutes_away() -> None:
    told = alert("Slow", "firing", 1.0, 0)
    assert len(found(told, 324)) == 1
    assert found(told, 326) == []


def test_a_rule_that_is_evaluated_every_five_minutes_does_not_flap() -> None:
    told = alert("Slow", "firing", 1.0, *range(0, 3600, 300))
    assert all(found([s for s in told if s.time <= START + timedelta(seconds=now)], now) for now in range(0, 3600, 15))


def test_one_rule_that_fires_for_two_things_of_an_entity_is_two_conditions() -> None:
    labels = (("alertname", "Full"), ("alertstate", "firing"))
    disks = [Sample(Series("component:a", "ALERTS", (*labels, ("disk", disk))), START, 1.0) for disk in ("sda", "sdb")]
    assert {each.summary for each in found(disks, 5)} == {"Full fires for disk=sda", "Full fires for disk=sdb"}


@pytest.mark.parametrize("told", [alert("Slow", "pending", 1.0, 0), alert("Slow", "firing", 0.0, 0)])
def test_what_does_not_fire_is_none(told: list[Sample]) -> None:
    assert found(told, 10) == []


def test_two_alerts_of_one_entity_are_two() -> None:
    both = alert("Slow", "firing", 1.0, 0, 15) + alert("Full", "firing", 1.0, 15)
    assert {each.summary for each in found(both, 20)} == {"Slow fires for job=edge", "Full fires for job=edge"}

"""The past, told by the rules of today: on scrapes that are made here, and against a plain second implementation."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.backtest import PastIncident, backtest, fired
from tasks.explore import Remembered
from tonewatch.records import Sample, Series
from tonewatch.settings import load_profile
from tonewatch.topology import Topology

START = datetime(2026, 3, 1, tzinfo=UTC)
EVERY = 15.0
PROFILE = load_profile("platform")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def scrapes(entity: str, answers: str, every: float = EVERY) -> list[Sample]:
    """One scrape per letter: `.` answered, `x` not, a blank none at all."""
    series = Series(entity, "up")
    return [Sample(series, at(n * every), float(sign == ".")) for n, sign in enumerate(answers) if sign != " "]


def alerts(name: str, *seconds: float, entity: str = "service:edge") -> list[Sample]:
    series = Series(entity, "ALERTS", (("alertname", name), ("alertstate", "firing"), ("job", "edge")))
    return [Sample(series, at(each), 1.0) for each in seconds]


def past(told: list[Sample], firing: list[Sample] | None = None, every: float = EVERY) -> list[PastIncident]:
    end = at(max([0.0, *((sample.time - START).total_seconds() for sample in told)]))
    return backtest("t", told, firing or [], Topology([]), PROFILE, end, every)


def test_where_everything_answered_nothing_is_told() -> None:
    assert past(scrapes("component:a", "." * 5000)) == []


@pytest.mark.parametrize("every", [5.0, 15.0, 60.0])
def test_an_outage_lasts_from_its_first_failed_scrape_to_the_first_that_is_answered_again(every: float) -> None:
    (found,) = past(scrapes("component:a", "." * 50 + "x" * 10 + "." + "x" + "." * 50, every), every=every)
    assert (found.onset, found.ended) == (at(50 * every), at(60 * every))


def test_an_outage_is_told_when_so_many_scrapes_have_failed() -> None:
    (found,) = past(scrapes("component:a", "." * 50 + "x" * 10 + "." * 50))
    assert (found.onset, found.entities) == (at(50 * EVERY), ("component:a",))
    assert found.opened == at((50 + PROFILE.scrapes_failed - 1) * EVERY)
    assert "component:a gives no metrics" in found.title


def test_fewer_failures_than_the_profile_asks_for_are_no_outage() -> None:
    assert past(scrapes("component:a", ("." * 20 + "x" * (PROFILE.scrapes_failed - 1)) * 10)) == []


def test_what_still_fails_at_the_end_has_no_end_beyond_it() -> None:
    (found,) = past(scrapes("component:a", "." * 50 + "x" * 10))
    assert found.ended == at(59 * EVERY)


def test_outages_apart_are_incidents_apart_and_of_two_parts_at_once_two() -> None:
    told = scrapes("component:a", "." * 9 + "x" * 9 + "." * 90 + "x" * 9 + "." * 90)
    assert len(past(told)) == 2
    assert len(past(sorted(told + scrapes("component:b", "." * 9 + "x" * 9 + "." * 189), key=lambda s: s.time))) == 3


def test_an_alert_of_the_users_own_joins_the_outage_of_its_part() -> None:
    told = scrapes("component:a", "." * 50 + "x" * 40 + "." * 50)
    firing = alerts("Down", *range(60 * 15, 90 * 15, 15), entity="component:a")
    (found,) = past(told, firing)
    assert [finding.detector.rpartition(":")[0] for finding in found.findings] == ["rule", "prometheus:Down"]


def test_an_alert_alone_is_an_incident_per_stretch_in_which_it_fires() -> None:
    found = [
        (each.finding.summary, each.finding.started, each.until) for each in fired("t", alerts("Slow", 0, 60, 1200))
    ]
    assert found == [("Slow fires for job=edge", at(0), at(120)), ("Slow fires for job=edge", at(1200), at(1200))]


def test_a_target_that_goes_away_ends_its_outage() -> None:
    (found,) = past([*scrapes("component:a", "." * 50 + "x" * 5), *scrapes("component:b", "." * 200)])
    assert found.ended < at(70 * EVERY)


@pytest.mark.parametrize("every", [5.0, 15.0, 60.0])
def test_only_what_failed_is_gone_through_at_the_interval_of_its_scrapes(every: float) -> None:
    lines: dict[Series, tuple[array[int], array[float]]] = {}
    for entity, answers in (("component:a", "." * 20 + "x" * 6 + "." * 20), ("component:b", "." * 46)):
        times = array("q", [round((START.timestamp() + n * every) * 1000) for n in range(46)])
        lines[Series(entity, "up")] = (times, array("d", [float(sign == ".") for sign in answers]))
    remembered = Remembered(lines, [])
    assert remembered.count == 92
    assert remembered.span == (START, at(45 * every))
    assert remembered.interval_s(1.0) == every
    told = remembered.failing()
    assert told == scrapes("component:a", "." * 20 + "x" * 6 + "." * 20, every)
    (found,) = past(told, every=every)
    assert found.onset == at(20 * every)


def naive(answers: str) -> Iterator[tuple[int, int]]:
    """Runs of failures that are long enough, and stand unbroken by more than what a rule still calls fresh."""
    began = None
    for place, sign in enumerate(answers + "."):
        if sign == "x" and began is None:
            began = place
        elif sign == "." and began is not None:
            if place - began >= PROFILE.scrapes_failed:
                yield began, place - 1
            began = None


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(8, 60)), max_size=6))
@settings(max_examples=40, deadline=None)
def test_every_long_enough_run_is_found_and_no_other(runs: list[tuple[int, int]]) -> None:
    answers = "." * 10 + "".join("x" * failed + "." * answered for failed, answered in runs)
    found = past(scrapes("component:a", answers))
    assert [(each.onset, each.ended, len(each.findings)) for each in found] == [
        (at(began * EVERY), at((last + 1) * EVERY), 1) for began, last in naive(answers)
    ]

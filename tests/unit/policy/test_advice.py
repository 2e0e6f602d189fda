"""Verdicts on the past become settings, and the past told again with them holds what was real and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

from console.hindsight import advised, change_of
from policy.advice import UNJUDGED, Advice, Past, advice
from tasks.backtest import PastIncident, backtest
from tests.unit.tasks.test_backtest import EVERY, PROFILE, alerts, at, scrapes
from tonewatch.errors import SettingsError
from tonewatch.records import Sample
from tonewatch.settings import Profile, profile_of
from tonewatch.topology import Topology

QUIET = "." * 60


def past(verdict: str, scrapes_failed: int = 0, *names: str, outages: int = 1) -> Past:
    lasted = timedelta(seconds=scrapes_failed * EVERY)
    return Past(verdict, frozenset(names), outages if scrapes_failed else 0, lasted)


def told(failing: list[Sample], firing: list[Sample], profile: Profile) -> list[PastIncident]:
    return backtest("t", failing, firing, Topology([]), profile, at(400 * EVERY), EVERY)


def applied(learned: list[Advice]) -> Profile:
    return PROFILE.model_copy(update={each.key: each.value for each in learned if each.value is not None})


def test_the_past_told_again_holds_the_real_outage_and_no_false_alarm() -> None:
    failing = scrapes("component:a", QUIET + "x" * 5 + QUIET + "x" * 20 + QUIET + "x" * 4 + QUIET)
    found = told(failing, [], PROFILE)
    assert len(found) == 3
    learned = advised(found, {1: "false-alarm", 2: "real", 3: "false-alarm"}, PROFILE, EVERY)
    assert [(each.key, each.value) for each in learned] == [("scrapes_failed", 6)]
    assert [each.onset for each in told(failing, [], applied(learned))] == [found[1].onset]


def test_an_alert_that_told_nothing_but_false_alarms_is_told_no_more() -> None:
    firing = [*alerts("Noisy", *range(0, 600, 15)), *alerts("Disk", *range(3000, 3600, 15), entity="service:disk")]
    found = told([], firing, PROFILE)
    learned = advised(found, {1: "false-alarm"}, PROFILE, EVERY)
    assert learned == [Advice("ignored_alerts", ["Noisy"], "Noisy told nothing but false alarms")]
    assert [each.entities for each in told([], firing, applied(learned))] == [("service:disk",)]
    assert change_of(learned).set == ('ignored_alerts=["Noisy"]',)


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ([past("real", 5)], "lasted 9 scrapes and a real outage 5"),
        ([past(UNJUDGED, 7), past(UNJUDGED, 30)], "1 outages that nobody judged"),
        ([past("false-alarm", 40)], "no rule waits longer than 300 s"),  # it would never see so long a run
    ],
)
def test_where_length_does_not_tell_them_apart_nothing_changes_and_it_says_so(others: list[Past], why: str) -> None:
    (found,) = advice([past("false-alarm", 9), *others], PROFILE, EVERY)
    assert (found.key, found.value, why in found.why) == ("scrapes_failed", None, True)
    assert not change_of([found]).wanted


@pytest.mark.parametrize("verdict", ["real", "planned", UNJUDGED])
def test_an_alert_that_fired_another_time_as_well_is_heeded_on(verdict: str) -> None:
    (found,) = advice([past("false-alarm", 0, "Slow"), past(verdict, 0, "Slow")], PROFILE, EVERY)
    assert (found.key, found.value) == ("ignored_alerts", None)


def test_alert_that_fired_in_an_outage_is_not_blamed_for_it() -> None:
    (found,) = advice([past("false-alarm", 9, "Down")], PROFILE, EVERY)
    assert (found.value, "Down fired while scrapes failed" in found.why) == (None, True)


def test_parts_that_failed_together_are_no_measure_of_one() -> None:
    (found,) = advice([past("false-alarm", 9, outages=2)], PROFILE, EVERY)
    assert (found.value, "several parts failed" in found.why) == (None, True)


def test_planned_work_and_what_is_ignored_already_advise_nothing() -> None:
    assert advice([past("planned", 9), past("real", 9), past(UNJUDGED, 4)], PROFILE, EVERY) == []
    ignoring = PROFILE.model_copy(update={"ignored_alerts": ("Slow",)})
    assert advice([past("false-alarm", 0, "Slow")], ignoring, EVERY) == []
    assert advice([past("false-alarm", 1)], PROFILE, EVERY) == []  # the profile waits longer as it is


def test_a_count_of_scrapes_that_no_rule_would_ever_see_is_refused() -> None:
    with pytest.raises(SettingsError, match="scrapes_failed"):
        profile_of("platform", {"scrapes_failed": 41})

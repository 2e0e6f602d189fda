"""Verdicts on the past become settings, and the past told again with them holds what was real and nothing else."""

from __future__ import annotations

from datetime import timedelta

from console.hindsight import change_of, taught
from policy.lessons import Judged, Lesson, lessons
from tasks.backtest import PastIncident, backtest
from tests.unit.tasks.test_backtest import EVERY, PROFILE, alerts, at, scrapes
from tonewatch.records import Sample
from tonewatch.settings import Profile
from tonewatch.topology import Topology

QUIET = "." * 60


def judged(verdict: str, scrapes_failed: int = 0, *names: str) -> Judged:
    lasted = timedelta(seconds=scrapes_failed * EVERY)
    return Judged(verdict, frozenset(names), scrapes_failed > 0, lasted)


def told(failing: list[Sample], firing: list[Sample], profile: Profile) -> list[PastIncident]:
    return backtest("t", failing, firing, Topology([]), profile, at(400 * EVERY), EVERY)


def applied(learned: list[Lesson]) -> Profile:
    return PROFILE.model_copy(update={each.key: each.value for each in learned if each.value is not None})


def test_the_past_told_again_holds_the_real_outage_and_no_false_alarm() -> None:
    failing = scrapes("component:a", QUIET + "x" * 5 + QUIET + "x" * 20 + QUIET + "x" * 4 + QUIET)
    found = told(failing, [], PROFILE)
    assert len(found) == 3
    learned = taught(found, {1: "false-alarm", 2: "real", 3: "false-alarm"}, PROFILE, EVERY)
    assert [(each.key, each.value) for each in learned] == [("scrapes_failed", 6)]
    assert [each.onset for each in told(failing, [], applied(learned))] == [found[1].onset]


def test_an_alert_that_told_nothing_but_false_alarms_is_told_no_more() -> None:
    firing = [*alerts("Noisy", *range(0, 600, 15)), *alerts("Disk", *range(3000, 3600, 15), entity="service:disk")]
    found = told([], firing, PROFILE)
    learned = taught(found, {1: "false-alarm", 2: "real"}, PROFILE, EVERY)
    assert learned == [Lesson("ignored_alerts", ["Noisy"], "Noisy told nothing but false alarms")]
    assert [each.entities for each in told([], firing, applied(learned))] == [("service:disk",)]
    assert change_of(learned).set == ('ignored_alerts=["Noisy"]',)


def test_lengths_that_overlap_change_nothing_and_say_so() -> None:
    (lesson,) = lessons([judged("false-alarm", 9), judged("real", 5)], PROFILE, EVERY)
    assert lesson.value is None
    assert "lasted 9 scrapes and a real outage 5" in lesson.why
    assert not change_of([lesson]).wanted


def test_an_alert_that_was_real_once_is_heeded_on() -> None:
    (lesson,) = lessons([judged("false-alarm", 0, "Slow"), judged("real", 0, "Slow")], PROFILE, EVERY)
    assert (lesson.key, lesson.value) == ("ignored_alerts", None)


def test_alert_that_fired_in_an_outage_is_not_blamed_for_it() -> None:
    (lesson,) = lessons([judged("false-alarm", 9, "Down")], PROFILE, EVERY)
    assert (lesson.value, "Down fired while scrapes failed" in lesson.why) == (None, True)


def test_planned_work_and_what_is_ignored_already_teach_nothing() -> None:
    assert lessons([judged("planned", 9), judged("real", 9)], PROFILE, EVERY) == []
    ignoring = PROFILE.model_copy(update={"ignored_alerts": ("Slow",)})
    assert lessons([judged("false-alarm", 0, "Slow")], ignoring, EVERY) == []
    assert lessons([judged("false-alarm", 1)], PROFILE, EVERY) == []  # the profile waits longer as it is

"""The tenant's own rules: on hand-made series, and against a plain second reading of what a rule says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.conditions import Condition
from policy.metric_rules import metric_rules, unread
from policy.readings import UNREAD
from tests.unit.platform_parts import at, readings, series
from tonewatch.errors import SettingsError
from tonewatch.records import Sample, Series, SeriesKind
from tonewatch.settings import LOOK_BACK_SECONDS, MetricRule, load_profile, profile_of

DEMO = load_profile("demo")
API = "component:api-1"


def broken(rule: MetricRule, *lines: list[Sample], now: float) -> list[Condition]:
    return list(metric_rules(readings(*lines), at(now), DEMO.model_copy(update={"rules": (rule,)})))


def rule(**further: object) -> MetricRule:
    return MetricRule.model_validate({"name": "queue-too-long", "metric": "queue", "above": 10.0} | further)


def test_a_value_beyond_the_limit_is_told_with_what_was_expected() -> None:
    (found,) = broken(rule(summary="listeners wait"), series(API, "queue", [1, 2, 11, 12.5]), now=4)
    assert (found.since, found.met) == (at(3), at(3))
    assert (found.expected, found.actual) == ("queue not above 10", "12.5")
    assert found.summary == "component:api-1: listeners wait"
    assert found.detector.startswith("own-rule:queue-too-long:")


def test_a_rule_waits_as_long_as_it_says_without_a_break() -> None:
    held = rule(for_seconds=5)
    assert broken(held, series(API, "queue", [9] + [11] * 4), now=5) == []
    assert broken(held, series(API, "queue", [11] * 3 + [9] + [11] * 4), now=8) == []
    (found,) = broken(held, series(API, "queue", [9] + [11] * 6), now=6)
    assert (found.since, found.met) == (at(1), at(6))


@pytest.mark.parametrize(("every", "late"), [(1, 0), (15, 0), (15, 20), (60, 0), (60, 20), (90, 0), (120, 20)])
def test_the_longest_wait_is_met_by_slow_series_too_and_does_not_flap(every: int, late: int) -> None:
    slow = rule(for_seconds=LOOK_BACK_SECONDS)
    seen = []
    for now in range(360 + every + late, 1500, 15):
        told = [second for second in range(0, now - late, every) if second > now - 360]  # what the watcher remembers
        line = [Sample(Series(API, "queue"), at(second), 50.0) for second in told]
        profile = DEMO.model_copy(update={"rules": (slow,), "scrape_seconds": float(every), "tick_seconds": 15.0})
        seen.append(len(list(metric_rules(readings(line), at(now), profile))))
    assert set(seen) == {1}


def test_entities_and_labels_that_the_rule_does_not_name_are_left_alone() -> None:
    one = rule(entity="component:api-*", labels={"queue": "mail"})
    mail, other = series(API, "queue", [50], queue="mail"), series(API, "queue", [50], queue="files")
    elsewhere = series("edge:edge-1", "queue", [50], queue="mail")
    assert [each.entity for each in broken(one, mail, other, elsewhere, now=1)] == [API]


def test_two_series_of_one_entity_are_two_conditions() -> None:
    lines = [series(API, "queue", [50], disk=disk) for disk in ("a", "b")]
    assert len({each.key for each in broken(rule(), *lines, now=1)}) == 2


def test_a_series_that_has_fallen_silent_breaks_no_rule() -> None:
    assert broken(rule(), series(API, "queue", [50] * 5), now=60) == []


def test_the_rate_of_a_counter_survives_its_restart() -> None:
    counter = Series(API, "errors", kind=SeriesKind.COUNTER)
    line = [Sample(counter, at(n), float((n % 10) * 5)) for n in range(30)]  # begins again each 10 s, 5 a second
    rate = rule(metric="errors", reading="rate", over_seconds=10, above=4.0)
    (found,) = broken(rate, line, now=30)
    assert 4.0 < float(found.actual) <= 5.0
    assert broken(rate.model_copy(update={"above": 5.0}), line, now=30) == []


def test_less_than_the_whole_span_is_not_compared() -> None:
    mean = rule(reading="mean", over_seconds=10)
    assert broken(mean, series(API, "queue", [50] * 5), now=5) == []
    assert len(broken(mean, series(API, "queue", [50] * 11), now=11)) == 1


def naive(one: MetricRule, values: Sequence[float]) -> bool:
    """Whether the rule is broken a second after the last of these values, which are one second apart."""
    over = int(one.over_seconds)
    of = {"mean": lambda part: sum(part) / len(part), "max": max, "min": min}
    if one.reading == "value":
        told = list(values)
    else:
        told = [of[one.reading](values[end - over + 1 : end + 1]) for end in range(over, len(values))]
    run = 0
    while run < len(told) and told[-1 - run] > 10.0:
        run += 1
    begun = run + (run == len(told))  # as far back as can be seen: it may have begun up to a sample before
    return run > 0 and begun >= one.for_seconds


@given(
    st.lists(st.sampled_from([9.0, 10.0, 11.0, 30.0]), min_size=2, max_size=40),
    st.sampled_from(["value", "mean", "max", "min"]),
    st.integers(1, 8),
    st.integers(0, 8),
)
def test_rules_say_what_a_plain_second_reading_of_them_says(
    values: list[float], reading: str, over: int, held: int
) -> None:
    one = rule(reading=reading, over_seconds=over, for_seconds=held)
    found = broken(one, series(API, "queue", values), now=len(values))
    assert (len(found) == 1) == naive(one, values)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"above": None}, "above or below"),
        ({"below": 1.0}, "only one"),
        ({"for_seconds": 200, "reading": "mean", "over_seconds": 200}, "together are at most 300"),
        ({"name": "Queue too long"}, "name"),
        ({"reading": "median"}, "reading"),
    ],
)
def test_rules_that_are_none_are_refused_with_what_to_do(wrong: dict[str, object], why: str) -> None:
    whole = {"name": "queue-too-long", "metric": "queue", "above": 10.0} | wrong
    with pytest.raises(SettingsError, match=why):
        profile_of("demo", {"rules": [whole]})


def test_two_rules_of_one_name_are_refused() -> None:
    one = {"name": "queue-too-long", "metric": "queue", "above": 10.0}
    with pytest.raises(SettingsError, match="two rules are called queue-too-long"):
        profile_of("demo", {"rules": [one, one]})


def test_a_condition_that_goes_on_is_one_finding() -> None:
    line = series(API, "queue", [11] * 300)
    first, later = (broken(rule(for_seconds=5), line[:upto], now=upto)[0] for upto in (10, 20))
    assert first.key == later.key
    assert first.met - first.since == timedelta(seconds=5)


def test_a_metric_that_the_connected_prometheus_does_not_give_is_told_with_its_name() -> None:
    queue, disk = (Series("service:prometheus", UNREAD, (("metric", name),)) for name in ("queue", "disk"))
    told = [(queue, 0, 0.0), (disk, 0, 1.0), (queue, 1, 1.0), (disk, 1, 0.0)]
    (found,) = unread(readings([Sample(each, at(second), value) for each, second, value in told]), at(2), DEMO)
    assert "does not give queue" in found.summary

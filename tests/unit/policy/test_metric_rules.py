"""The tenant's own rules: on hand-made series, and against a plain second reading of what a rule says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.conditions import Condition
from policy.metric_rules import metric_rules
from tests.unit.platform_parts import at, readings, series
from tonewatch.errors import SettingsError
from tonewatch.records import Sample, Series, SeriesKind
from tonewatch.settings import MetricRule, load_profile, profile_of

DEMO = load_profile("demo")
API = "component:api-1"


def broken(rule: MetricRule, *lines: list[Sample], now: float) -> list[Condition]:
    return list(metric_rules(readings(*lines), at(now), DEMO.model_copy(update={"rules": (rule,)})))


def rule(**further: object) -> MetricRule:
    return MetricRule.model_validate({"name": "queue-too-long", "metric": "queue", "above": 10.0} | further)


def test_a_value_beyond_the_limit_is_told_with_what_was_expected() -> None:
    (found,) = broken(rule(summary="listeners wait"), series(API, "queue", [1, 2, 11, 12.5]), now=4)
    assert (found.since, found.met) == (at(2), at(2))
    assert (found.expected, found.actual) == ("queue not above 10", "12.5")
    assert found.summary == "component:api-1: listeners wait"
    assert found.detector.startswith("own-rule:queue-too-long:")


def test_a_rule_waits_as_long_as_it_says_without_a_break() -> None:
    held = rule(for_seconds=5)
    assert broken(held, series(API, "queue", [11] * 5), now=5) == []
    assert broken(held, series(API, "queue", [11] * 3 + [9] + [11] * 5), now=9) == []
    (found,) = broken(held, series(API, "queue", [9] + [11] * 8), now=9)
    assert (found.since, found.met) == (at(1), at(6))


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


def naive(one: MetricRule, values: Sequence[float], now: int) -> bool:
    """Whether the rule is broken by values one second apart, the last of them just before `now`."""
    over = int(one.over_seconds)
    of = {"mean": lambda part: sum(part) / len(part), "max": max, "min": min}
    told = {}
    for second in range(len(values)):
        if one.reading == "value":
            told[second] = values[second]
        elif second >= over - 1:
            told[second] = of[one.reading](values[second - over + 1 : second + 1])
    last = len(values) - 1
    wanted = range(last - int(one.for_seconds), last + 1)
    return all(second in told and (told[second] > 10.0) for second in wanted)


@given(
    st.lists(st.sampled_from([9.0, 10.0, 11.0, 30.0]), min_size=1, max_size=40),
    st.sampled_from(["value", "mean", "max", "min"]),
    st.integers(1, 8),
    st.integers(0, 8),
)
def test_rules_say_what_a_plain_second_reading_of_them_says(
    values: list[float], reading: str, over: int, held: int
) -> None:
    # A little more than the span: its first sample lies a whole number of seconds back, and windows are half-open.
    one = rule(reading=reading, over_seconds=over, for_seconds=held)
    # In the product the sample before a window says that it is whole; here the series begins with it.
    line = series(API, "queue", [0.0, *values], first=-1) if reading == "value" else series(API, "queue", values)
    found = broken(one, line, now=len(values))
    whole = reading == "value" or len(values) > over + held
    assert not whole or (len(found) == 1) == naive(one, values, len(values))


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

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ml.ab_plan import Answer, Plan
from ml.ab_split import GUARDS, Arm, Unit, arm, balanced, differences, judge_split
from tonewatch.errors import ModelError

START = datetime(2026, 3, 2, tzinfo=UTC)
SECRET = b"sixteen bytes at least"
PLAN = Plan("remedies", "1", "2", ("kiwi", "plum"), START, GUARDS)


def units(count: int, served: tuple[float, float], paged: tuple[float, float] = (0.0, 0.0)) -> list[Unit]:
    """Units by the hour; served, paged: shares of the champion's and of the challenger's."""
    chance, given = np.random.default_rng(3), []
    for number in range(count):
        tenant = PLAN.tenants[number % 2]
        got = arm(SECRET, PLAN.name, tenant, f"unit-{number}")
        which = int(got is Arm.CHALLENGER)
        well, woken = chance.random(2) < (served[which], paged[which])
        given.append(Unit(START + number * timedelta(hours=1), f"unit-{number}", tenant, got, float(well), bool(woken)))
    return given


def judged(given: list[Unit], plan: Plan = PLAN) -> tuple[Answer, bool]:
    told = judge_split(plan, given, START + timedelta(hours=len(given)), slow_s=60.0)
    return told.answer, told.final


def test_an_arm_is_the_same_each_time_and_another_with_another_secret() -> None:
    names = [f"unit-{number}" for number in range(200)]
    first = [arm(SECRET, "plan", "kiwi", name) for name in names]
    assert first == [arm(SECRET, "plan", "kiwi", name) for name in names]
    assert first != [arm(b"another secret of some length", "plan", "kiwi", name) for name in names]
    assert first != [arm(SECRET, "plan", "plum", name) for name in names]
    assert 70 < first.count(Arm.CHALLENGER) < 130


def test_names_that_run_together_are_not_one_unit() -> None:
    several = {arm(SECRET, "plan", "a" * number, "a" * (20 - number)) for number in range(20)}
    assert len(several) == 2  # all alike, if only the joined name counted


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ModelError, match="16"):
        arm(b"short", "plan", "kiwi", "unit")


@pytest.mark.parametrize("count", [0, 1, 2, 7, 40])
def test_balanced_arms_differ_in_number_by_one_at_most(count: int) -> None:
    names = [f"channel:{number}" for number in range(count)]
    given = balanced(SECRET, "plan", "kiwi", names)
    held = Counter(given.values())
    assert list(given.keys() ^ set(names)) == []
    assert abs(held[Arm.CHAMPION] - held[Arm.CHALLENGER]) <= 1
    assert given == balanced(SECRET, "plan", "kiwi", names[::-1])


def test_each_balanced_arm_alone_is_a_fair_coin() -> None:
    names = [f"channel:{number}" for number in range(5)]
    got = Counter(balanced(SECRET, f"plan-{number}", "kiwi", names)["channel:3"] for number in range(400))
    assert 160 < got[Arm.CHALLENGER] < 240


def test_a_unit_named_twice_is_refused() -> None:
    with pytest.raises(ModelError, match="twice"):
        balanced(SECRET, "plan", "kiwi", ["a", "a"])


def test_a_difference_is_measured_from_the_tenants_earlier_units() -> None:
    found = differences(
        np.array([1.0, 0.0, 1.0, 1.0]), np.array([True, False, True, False]), np.array([0, 1, 0, 0], np.int64)
    )
    assert found == pytest.approx([0.5, 0.5, 1 - 0.75, -(1 - 2.5 / 3)])


def test_a_policy_that_serves_better_is_better_and_one_that_serves_worse_worse() -> None:
    assert judged(units(600, (0.5, 0.9))) == (Answer.BETTER, True)
    assert judged(units(600, (0.9, 0.5))) == (Answer.WORSE, True)
    assert judged(units(600, (0.7, 0.7))) == (Answer.INCONCLUSIVE, False)


def test_a_policy_that_wakes_people_is_worse_though_it_serves_better() -> None:
    assert judged(units(600, (0.5, 0.9), (0.1, 0.9))) == (Answer.WORSE, True)


def test_the_split_interval_holds_the_effect() -> None:
    told = judge_split(PLAN, units(600, (0.5, 0.9)), START + timedelta(hours=600), slow_s=60.0)
    assert told.effect.low < 0.4 < told.effect.high
    assert told.effect.estimate == pytest.approx(0.4, abs=0.1)


def test_a_unit_counts_once_and_in_any_order() -> None:
    given = units(100, (0.5, 0.7))
    until = START + timedelta(hours=100)
    whole = judge_split(PLAN, given, until, slow_s=60.0)
    turned = judge_split(PLAN, [*given[::-1], *given], until, slow_s=60.0)
    assert (turned.effect, turned.guards, turned.ignored) == (whole.effect, whole.guards, 100)


@pytest.mark.parametrize(("outcome", "seconds"), [(math.nan, 1.0), (1.1, 1.0), (0.5, -1.0), (0.5, math.nan)])
def test_an_outcome_that_is_none_is_refused(outcome: float, seconds: float) -> None:
    with pytest.raises(ModelError, match="outcome"):
        Unit(START, "x", "kiwi", Arm.CHAMPION, outcome, seconds=seconds)

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from soundstage.errors import Malformed
from soundstage.favourite import Favourite, Habit, check, choice
from soundstage.plan import Plan, make

ASKED = {"channel": "ch1", "rendition": "aac-64", "share": 0.8}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make(tmp_path, tmp_path / "media", channels=2, players=20)


def chosen(plan: Plan, favourite: tuple[str, str, float] | None) -> Counter[str]:
    return Counter(
        f"{channel}/{rendition.name}" for channel, rendition in (choice(n, plan, favourite) for n in range(30))
    )


def test_listeners_spread_evenly_until_they_favour_something(plan: Plan) -> None:
    assert set(chosen(plan, None).values()) == {5}
    favoured = chosen(plan, ("ch1", "aac-64", 0.8))
    assert 23 <= favoured["ch1/aac-64"] <= 27  # 8 of 10, and one of six of the others
    assert chosen(plan, ("ch1", "aac-64", 0.0)) == chosen(plan, None)
    assert chosen(plan, ("ch2", "opus-96", 1.0)) == {"ch2/opus-96": 30}


def test_a_favourite_holds_in_its_hours_also_past_midnight() -> None:
    evening, night = Favourite("ch1", "aac-64", 1.0, 18, 23), Favourite("ch1", "aac-64", 1.0, 22, 4)
    assert [evening.holds(hour) for hour in (17.9, 18, 22.9, 23)] == [False, True, True, False]
    assert [night.holds(hour) for hour in (21, 22, 0, 3.9, 4)] == [False, True, True, True, False]
    assert all(Favourite("ch1", "aac-64", 1.0).holds(hour) for hour in (0, 12, 23.9))


def test_a_habit_survives_a_restart(plan: Plan) -> None:
    habit = Habit(plan.habit_path)
    assert habit.told(12) is None
    habit.take(check({**ASKED, "from_hour": 8, "to_hour": 20}, plan))
    again = Habit(plan.habit_path)
    assert again.favourite == habit.favourite
    assert (again.told(12), again.told(21)) == (("ch1", "aac-64", 0.8), None)


@pytest.mark.parametrize(
    "asked",
    [
        [],
        {"channel": "ch1"},
        {**ASKED, "channel": "ch9"},
        {**ASKED, "rendition": "mp3-320"},
        {**ASKED, "share": 1.5},
        {**ASKED, "share": "most"},
        {**ASKED, "share": float("nan")},
        {**ASKED, "to_hour": 25},
        {**ASKED, "from_hour": -1},
    ],
)
def test_a_favourite_that_the_platform_has_not_is_refused(asked: object, plan: Plan) -> None:
    with pytest.raises(Malformed):
        check(asked, plan)

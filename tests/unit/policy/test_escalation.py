from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from policy.escalation import due_level, higher
from tonewatch.settings import Escalation


@pytest.mark.parametrize(
    ("minutes", "severity", "level"),
    [
        (4.99, "critical", "L1"),
        (5, "critical", "L2"),
        (14.99, "critical", "L2"),
        (15, "critical", "L3"),
        (14.99, "major", "L1"),
        (15, "major", "L2"),
        (44.99, "minor", "L2"),
        (45, "minor", "L3"),
        (-5, "critical", "L1"),
    ],
)
def test_what_nobody_answers_climbs_by_the_sheets_minutes(minutes: float, severity: str, level: str) -> None:
    assert due_level(timedelta(minutes=minutes), severity, Escalation()) == level


def test_a_profiles_minutes_take_the_place_of_the_sheets() -> None:
    quick = Escalation(l2_minutes=0.5, l3_minutes=1)
    assert [due_level(timedelta(seconds=s), "major", quick) for s in (29, 30, 60)] == ["L1", "L2", "L3"]


def test_a_step_of_no_time_is_refused() -> None:
    with pytest.raises(ValidationError):
        Escalation(l2_minutes=0)


def test_levels_have_an_order_that_begins_with_nobody() -> None:
    assert higher("L1", "none")
    assert higher("L3", "L2")
    assert not higher("L2", "L2")

"""What is refused for good, and what further readings may still allow."""

from __future__ import annotations

from tasks.decide import may_pass
from tonewatch.records import GuardAnswer


def answers(**allowed: bool | None) -> list[GuardAnswer]:
    return [GuardAnswer(name.replace("_", "-"), yes, "") for name, yes in allowed.items()]


def test_nothing_refused_has_nothing_to_wait_for() -> None:
    assert not may_pass(answers(kill_switch=True, fresh_data=True))


def test_readings_that_are_still_missing_may_come() -> None:
    assert may_pass(answers(kill_switch=True, steady_fault=False))
    assert may_pass(answers(fresh_data=False, steady_fault=False))


def test_what_old_readings_say_of_other_parts_is_no_answer() -> None:
    assert may_pass(answers(fresh_data=False, blast_radius=False, dependency_order=False))


def test_what_fresh_readings_say_of_other_parts_is_one() -> None:
    assert not may_pass(answers(fresh_data=True, blast_radius=False))
    assert not may_pass(answers(steady_fault=False, dependency_order=False))


def test_further_readings_lift_no_persons_no_and_no_budget() -> None:
    assert not may_pass(answers(fresh_data=False, consent=False))
    assert not may_pass(answers(fresh_data=False, budget=None))

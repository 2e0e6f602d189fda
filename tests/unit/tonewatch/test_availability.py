"""What a report reckons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tonewatch.availability import PERSON_MINUTES, Listening, Slo, pages_allowed, person_minutes, saved_minutes, spread
from tonewatch.settings import PageBudget, Profile, load_profile

ONSET = datetime(2026, 7, 1, 12, tzinfo=UTC)
dues = st.integers(1, 10**15)
SLO = Slo.of(Profile(description=""))


def at(minutes: float) -> datetime:
    return ONSET + timedelta(minutes=minutes)


@given(dues, st.data())
def test_availability_is_never_rounded_up(due: int, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, due))
    found = Listening(due, lost)
    exact = 1 - Fraction(lost, due)
    assert found.availability is not None
    assert Fraction(found.availability).limit_denominator(1_000_000) <= exact
    assert exact - Fraction(found.availability) < Fraction(2, 1_000_000)
    assert SLO.met(found) is (exact >= Fraction(9999, 10_000))


@given(dues, st.data())
def test_the_error_budget_is_spent_exactly_when_the_slo_is_at_its_limit(due: int, data: st.DataObject) -> None:
    lost = data.draw(st.integers(0, due))
    found = Listening(due, lost)
    spent = SLO.spent(found)
    assert spent == pytest.approx(lost / (due / 10_000))
    assume(abs(lost - due / 10_000) > due * 1e-12)
    assert spent is not None
    assert SLO.met(found) is (spent <= 1)


def test_a_promise_broken_by_a_hair_does_not_read_as_kept() -> None:
    found = Listening(100_000_000, 10_001)
    assert (found.availability, SLO.met(found)) == (0.999899, False)
    assert SLO.met(Listening(100_000_000, 10_000)) is True


def test_a_tenants_own_promise_is_taken_as_it_is_written() -> None:
    own = Slo.of(Profile(description="", slo=0.999))
    assert own.share == Fraction(999, 1000)
    assert own.met(Listening(1_000_000, 1000)) is True
    assert own.met(Listening(1_000_000, 1001)) is False
    assert own.allowed_minutes(Listening(60_000_000, 0)) == pytest.approx(1.0)


def test_without_listeners_nothing_is_said() -> None:
    nobody = Listening()
    assert (nobody.availability, SLO.met(nobody), SLO.spent(nobody)) == (None, None, None)
    assert SLO.allowed_minutes(nobody) == 0


@given(st.lists(st.tuples(dues, st.integers(0, 1000)), max_size=8))
def test_channels_add_up_in_any_order(parts: list[tuple[int, int]]) -> None:
    found = [Listening(due + lost, lost) for due, lost in parts]
    assert sum(found, Listening()) == sum(reversed(found), Listening())


def test_median_and_worst_of_spans() -> None:
    assert spread([]) is None
    found = spread([5.0, 1.0, 30.0, 2.0])
    assert found is not None
    assert (found.count, found.median_s, found.worst_s) == (4, 3.5, 30.0)


def test_a_person_takes_what_people_took_else_a_quarter_of_an_hour() -> None:
    assert person_minutes([]) == (PERSON_MINUTES, 0) == (15.0, 0)
    assert person_minutes([600, 1200, 6000]) == (20.0, 3)


def test_saved_is_the_same_loss_carried_on_until_a_person_would_have_come() -> None:
    # 6 minutes lost in the 2 that it lasted, over 3 minutes after onset: 3 a minute, 12 minutes long.
    assert saved_minutes(6, ONSET, at(1), at(3), 15) == pytest.approx(36)


@given(st.floats(0.01, 1e4), st.floats(0, 10), st.floats(0.01, 100), st.floats(1, 1000))
def test_saved_and_lost_are_what_would_have_been_lost(lost: float, begins: float, lasts: float, person: float) -> None:
    started, ended = at(begins), at(begins + lasts)
    saved = saved_minutes(lost, ONSET, started, ended, person)
    assert saved is not None
    # What the clock can hold, whole microseconds, not what was drawn: a short loss makes a steep rate.
    rate = lost / ((ended - started).total_seconds() / 60)
    left = person - (started - ONSET).total_seconds() / 60
    assert saved + lost == pytest.approx(rate * left, rel=1e-6, abs=1e-3)


def test_a_person_who_is_quicker_saves_more() -> None:
    saved = saved_minutes(6, ONSET, at(0), at(30), 15)
    assert saved == pytest.approx(-3)


@pytest.mark.parametrize(
    ("lost", "started", "ended"), [(0, at(0), at(1)), (5, None, None), (5, at(1), None), (5, at(1), at(1))]
)
def test_without_a_loss_to_reckon_from_nothing_is_said(
    lost: float, started: datetime | None, ended: datetime | None
) -> None:
    assert saved_minutes(lost, ONSET, started, ended, 15) is None


def test_the_budget_of_pages_goes_with_the_length_of_its_own_week() -> None:
    assert pages_allowed(PageBudget(), 7 * 86_400) == 2
    assert pages_allowed(PageBudget(), 86_400) == pytest.approx(2 / 7)
    demo = load_profile("demo").budget
    assert pages_allowed(demo, 1260) == pytest.approx(2 * demo.pages_per_week)

"""The one clock, and the one that moves only when told to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tonewatch.clock import SYSTEM, Clock, ManualClock

START = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize("clock", [SYSTEM, ManualClock(START)], ids=["system", "manual"])
def test_a_clock_tells_utc(clock: Clock) -> None:
    assert clock.now().utcoffset() == timedelta()


def test_the_system_clock_is_the_machines() -> None:
    before = datetime.now(UTC)
    assert before <= SYSTEM.now() <= datetime.now(UTC)


def test_the_system_clocks_durations_never_go_backward() -> None:
    readings = [SYSTEM.monotonic() for _ in range(100)]
    assert readings == sorted(readings)


def test_a_manual_clock_stands_still() -> None:
    clock = ManualClock(START)
    assert (clock.now(), clock.now(), clock.monotonic()) == (START, START, 0.0)


@given(st.lists(st.integers(0, 10**12), max_size=10))
def test_a_manual_clock_moves_as_far_as_it_is_told(microseconds: list[int]) -> None:
    clock = ManualClock(START)
    for step in microseconds:
        clock.advance(step / 1_000_000)
    assert clock.now() - START == timedelta(microseconds=sum(microseconds))


def test_a_manual_clock_set_back_keeps_its_durations() -> None:
    clock = ManualClock(START)
    clock.advance(60)
    clock.advance(-3600)
    assert clock.now() == START - timedelta(seconds=3540)
    assert clock.monotonic() == 60

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from policy.severity import listener_minutes_lost, lost_ms, severity
from tests.unit.platform_parts import at
from tonewatch.records import SessionReport


def report(channel: str = "channel:ch1", seconds: float = 0, **figures: int) -> SessionReport:
    return SessionReport("s", channel, "edge:edge-1", at(seconds), "t", "p", **figures)


def test_start_up_beyond_two_seconds_is_lost_and_below_is_not() -> None:
    assert lost_ms(report(startup_ms=1900)) == 0
    assert lost_ms(report(startup_ms=2500, starved_ms=100)) == 600


def test_only_the_touched_channels_and_the_time_since_onset_count() -> None:
    told = [
        report(starved_ms=60_000, seconds=10),
        report(starved_ms=60_000, seconds=-10),
        report("channel:ch2", starved_ms=60_000, seconds=10),
    ]
    assert listener_minutes_lost(told, ["channel:ch1"], at(0)) == 1.0


@given(st.lists(st.integers(0, 10_000)))
def test_minutes_are_the_sum_of_all_that_was_lost(lost: list[int]) -> None:
    told = [report(starved_ms=ms, seconds=step) for step, ms in enumerate(lost)]
    assert abs(listener_minutes_lost(told, ["channel:ch1"], at(0)) - sum(lost) / 60_000) < 1e-9


def test_severity_grows_with_minutes() -> None:
    assert [severity(minutes) for minutes in (0, 4.9, 5, 59, 60)] == ["minor", "minor", "major", "major", "critical"]

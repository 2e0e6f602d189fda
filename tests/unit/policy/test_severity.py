from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from policy.severity import listener_minutes_lost, lost_ms, severity, share_hit
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


def test_half_the_listeners_without_sound_are_not_minor_however_few_they_are() -> None:
    assert [severity(0.1, share) for share in (0.0, 0.49, 0.5, 1.0)] == ["minor", "minor", "major", "major"]
    assert severity(60, 0.0) == severity(60, 1.0) == "critical"


def test_the_share_counts_listeners_and_where_none_is_known_channels() -> None:
    assert share_hit({"channel:a"}, {"channel:a": 30, "channel:b": 10}) == 0.75
    assert share_hit({"channel:a"}, {"channel:a": 0, "channel:b": 0}) == 0.5
    assert share_hit({"channel:a"}, {"channel:a": 0, "channel:b": 10}) == 0.0
    assert share_hit({"channel:a", "channel:gone"}, {"channel:a": 4}) == 1.0
    assert share_hit({"channel:a"}, {}) == share_hit(set(), {"channel:a": 4}) == 0.0


def test_severity_grows_with_minutes() -> None:
    assert [severity(minutes) for minutes in (0, 4.9, 5, 59, 60)] == ["minor", "minor", "major", "major", "critical"]

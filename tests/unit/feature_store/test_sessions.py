from __future__ import annotations

from feature_store.sessions import PLAYING, SILENT, STARVED, session_samples
from tests.unit.platform_parts import at
from tonewatch.records import SessionReport


def report(session: str, seconds: float, starved_ms: int = 0, state: str = "p") -> SessionReport:
    return SessionReport(session, "channel:ch1", "edge:edge-1", at(seconds), "t", state, starved_ms=starved_ms)


def figures(*reports: SessionReport) -> dict[tuple[str, str], float]:
    return {(s.series.entity, s.series.metric): s.value for s in session_samples(reports, at(10), 10)}


def test_ratio_is_the_mean_over_sessions_of_the_time_without_sound() -> None:
    found = figures(report("a", 2, 1000), report("a", 4, 1000), report("b", 4))
    assert found["channel:ch1", PLAYING] == 2
    assert found["channel:ch1", STARVED] == 0.1
    assert found["edge:edge-1", STARVED] == 0.1


def test_one_session_cannot_lose_more_than_the_window() -> None:
    assert figures(report("a", 2, 60_000))["channel:ch1", STARVED] == 1.0


def test_reports_outside_the_window_and_of_sessions_that_left_do_not_count() -> None:
    found = figures(report("a", 0, 500), report("b", 11, 500), report("c", 5, 500, state="e"))
    assert found == {("channel:ch1", SILENT): 0.0}


def told(session: str, *seconds: float, state: str = "p") -> list[SessionReport]:
    return [report(session, second, state=state) for second in seconds]


def silent(*lines: list[SessionReport], now: float) -> float | None:
    samples = session_samples([one for line in lines for one in line], at(now), 10)
    return next((s.value for s in samples if s.series.metric == SILENT), None)


def test_sessions_that_stop_reporting_together_are_silent_after_three_intervals() -> None:
    lines = [told(name, 0, 4, 8, 12) for name in "abc"]
    assert silent(*lines, now=23) == 0
    assert silent(*lines, now=25) == 3


def test_one_session_that_still_reports_shows_that_reports_get_through() -> None:
    assert silent(told("a", 0, 4, 8), told("b", 0, 4, 8), told("c", 0, 4, 8, 12, 16, 20, 24), now=25) == 0


def test_sessions_that_said_goodbye_or_left_one_by_one_are_not_silent() -> None:
    assert silent(told("a", 0, 4, 8), [*told("b", 0, 4), report("b", 8, state="e")], now=25) == 1
    assert silent(told("a", 0, 4), told("b", 0, 4, 8, 12), told("c", 0, 4, 8, 12, 16, 20), now=40) == 1

from __future__ import annotations

from tasks.diagnose import strained, strange_series
from tests.unit.platform_parts import at, readings, series
from tonewatch.records import Finding, FindingKind

PARTS = ["component:packager", "component:origin", "edge:edge-1", "edge:edge-2"]


def test_platform_is_strained_when_most_other_parts_lag() -> None:
    held = readings(*(series(part, "event_loop_lag_seconds", [0.0, 0.9, 0.0]) for part in PARTS))
    assert strained(held, "component:packager", at(3))
    assert not strained(held, "component:packager", at(60)), "that was long ago"


def test_one_part_that_lags_strains_no_platform() -> None:
    held = readings(*(series(part, "event_loop_lag_seconds", [0.9 * (part == PARTS[0])] * 3) for part in PARTS))
    assert not strained(held, "component:origin", at(3))
    assert not strained({}, "component:origin", at(3))


def test_what_series_tell_is_evidence_the_strangest_first() -> None:
    def found(detector: str, score: float) -> Finding:
        words = f"lag of {PARTS[2]} is higher than it ever was: {score} s instead of about 0.1 s"
        times = (at(3), at(8))
        return Finding("t", PARTS[2], detector, FindingKind.SIGNAL, *times, words, "anomaly", score=score)

    told = strange_series([found("series:lag", 0.6), found("isolation-forest:edge", 0.9), found("series:queue", 0.8)])
    assert told == [
        f"lag of {PARTS[2]} is higher than it ever was: {score} s instead of about 0.1 s, since 12:00:03"
        for score in (0.8, 0.6)
    ]

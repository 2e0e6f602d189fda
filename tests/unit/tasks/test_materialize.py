from __future__ import annotations

from datetime import timedelta

from tasks.materialize import WINDOWS_LATE, late_of
from tasks.retain import LATE
from tonewatch.settings import load_profile


def test_late_samples_are_looked_for_as_long_as_an_hour_of_the_platforms_day() -> None:
    platform, demo = load_profile("platform"), load_profile("demo")
    assert late_of(platform) == LATE
    assert late_of(demo) == timedelta(seconds=WINDOWS_LATE * demo.window_seconds) < LATE
    assert late_of(demo.model_copy(update={"day_seconds": 14_400.0})) == timedelta(minutes=10)

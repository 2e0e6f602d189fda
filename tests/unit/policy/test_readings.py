"""Plain readings, as unit tests of rules hand them over; the watcher's memory is held to the same in properties/."""

from __future__ import annotations

from policy.readings import after, entities_with, last, quiet, trailing_run
from tests.unit.platform_parts import at, readings, series

HELD = readings(series("component:b", "up", [1.0, 0.0, 0.0]), series("component:a", "up", [1.0]), [])


def test_entities_are_those_that_have_the_metric_by_name() -> None:
    assert entities_with(HELD, "up") == ["component:a", "component:b"]
    assert entities_with(HELD, "down") == []


def test_quiet_is_what_has_nothing_later() -> None:
    assert quiet(HELD, at(0)) == [("component:a", "up")]
    assert quiet(HELD, at(2)) == [("component:a", "up"), ("component:b", "up")]


def test_samples_after_a_time_do_not_include_it() -> None:
    assert [sample.time for sample in after(HELD["component:b", "up"], at(1))] == [at(2)]


def test_trailing_run_ends_at_the_first_sample_outside() -> None:
    assert [sample.time for sample in trailing_run(HELD["component:b", "up"], below=0.0)] == [at(1), at(2)]
    assert trailing_run(HELD["component:b", "up"], above=1.0) == []


def test_last_of_nothing_is_none() -> None:
    assert last(HELD, "component:c", "up") is None

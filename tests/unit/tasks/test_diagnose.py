from __future__ import annotations

from tasks.diagnose import strained
from tests.unit.platform_parts import at, readings, series

PARTS = ["component:packager", "component:origin", "edge:edge-1", "edge:edge-2"]


def test_platform_is_strained_when_most_other_parts_lag() -> None:
    held = readings(*(series(part, "event_loop_lag_seconds", [0.0, 0.9, 0.0]) for part in PARTS))
    assert strained(held, "component:packager", at(3))
    assert not strained(held, "component:packager", at(60)), "that was long ago"


def test_one_part_that_lags_strains_no_platform() -> None:
    held = readings(*(series(part, "event_loop_lag_seconds", [0.9 * (part == PARTS[0])] * 3) for part in PARTS))
    assert not strained(held, "component:origin", at(3))
    assert not strained({}, "component:origin", at(3))

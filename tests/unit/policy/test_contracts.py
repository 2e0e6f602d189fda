from __future__ import annotations

import math

import pytest

from policy.contracts import check, conditions
from tests.unit.platform_parts import at, series


@pytest.mark.parametrize(
    ("value", "seconds", "clause"),
    [(math.inf, 0, "infinite"), (-math.inf, 0, "infinite"), (1.0, 60, "future"), (1.0, -7200, "past")],
)
def test_sample_that_breaks_a_clause_is_kept_out_and_told(value: float, seconds: float, clause: str) -> None:
    checked = check(series("component:x", "m", [value], first=seconds), at(0))
    assert checked.samples == []
    (condition,) = conditions(checked, (at(-5), at(0)))
    assert condition.detector == f"contract:{clause}"


def test_nan_means_no_observation_and_is_left_out_silently() -> None:
    checked = check(series("component:x", "m", [math.nan, 1.0]), at(2))
    assert [sample.value for sample in checked.samples] == [1.0]
    assert conditions(checked, (at(0), at(2))) == []

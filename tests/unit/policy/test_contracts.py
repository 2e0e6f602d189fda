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


def test_one_bad_sample_among_many_costs_no_other() -> None:
    good = series("component:x", "m", [1.0] * 50)
    bad = series("component:y", "m", [math.inf, 1.0], first=3)
    checked = check([*good[:20], *bad, *good[20:]], at(50))
    assert checked.samples == [*good[:20], bad[1], *good[20:]]
    assert dict(checked.broken) == {("component:y", "infinite"): 1}


def test_samples_that_keep_the_contract_are_handed_on_as_they_came() -> None:
    good = series("component:x", "m", [3.0, 1.0, 2.0])[::-1]
    assert check(good, at(3)).samples == good
    assert check([], at(3)).samples == []

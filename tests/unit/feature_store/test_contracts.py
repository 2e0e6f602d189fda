from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from feature_store import expectations
from feature_store.contracts import RANGES, Breach, Clause, breaches, contract
from feature_store.definitions import FAMILIES, features
from feature_store.views import view
from tonewatch.clock import microseconds
from tonewatch.settings import load_profile

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EDGE = view("edge", load_profile("demo"))
HELD = contract(EDGE)


def rows(count: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Windows of 10 s up to now, every number in its range."""
    times = microseconds(NOW) - 10_000_000 * np.arange(count)
    return np.full((count, len(EDGE.names)), 0.5), times


def broken(values: np.ndarray, times: np.ndarray, now: datetime = NOW) -> set[tuple[Clause, str, int]]:
    return told(breaches(HELD, EDGE.names, EDGE.units, values, times, now))


def told(found: list[Breach]) -> set[tuple[Clause, str, int]]:
    return {(each.clause, each.feature, each.count) for each in found}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_unit_has_a_range(family: str) -> None:
    assert {feature.unit for feature in features(family)} <= RANGES.keys()


def test_good_rows_break_nothing() -> None:
    assert broken(*rows()) == set()


@pytest.mark.parametrize("value", [-0.001, 1.001, np.inf, -np.inf, 1e300])
def test_a_share_beyond_0_and_1_is_out_of_range(value: float) -> None:
    values, times = rows()
    values[3, EDGE.names.index("hit_ratio")] = value
    assert broken(values, times) == {(Clause.RANGE, "hit_ratio", 1)}


def test_no_number_is_not_out_of_range_but_too_many_are_a_breach() -> None:
    values, times = rows()
    column = EDGE.names.index("event_loop_lag_mean")
    values[:2, column] = np.nan
    assert broken(values, times) == set()
    values[:3, column] = np.nan
    assert broken(values, times) == {(Clause.FILLED, "event_loop_lag_mean", 3)}


def test_a_night_without_requests_breaks_nothing() -> None:
    values, times = rows()
    values[:, EDGE.names.index("hit_ratio")] = np.nan
    assert broken(values, times) == set()


def test_rows_kept_in_another_unit_are_told() -> None:
    values, times = rows()
    units = ["ms" if name == "seconds_per_request" else unit for name, unit in zip(EDGE.names, EDGE.units, strict=True)]
    found = breaches(HELD, EDGE.names, units, values, times, NOW)
    assert told(found) == {(Clause.UNITS, "seconds_per_request", 10)}
    assert found[0].told == "kept in ms, not in s"


def test_columns_in_another_order_are_not_read_on() -> None:
    values, times = rows()
    found = breaches(HELD, EDGE.names[::-1], EDGE.units[::-1], values * np.inf, times, NOW)
    assert told(found) == {(Clause.COLUMNS, "", 10)}


def test_old_rows_and_no_rows_are_not_fresh() -> None:
    values, times = rows()
    assert broken(values, times, NOW + EDGE.fresh) == set()
    assert broken(values, times, NOW + EDGE.fresh + timedelta(seconds=1)) == {(Clause.FRESH, "", 10)}
    assert broken(values[:0], times[:0]) == {(Clause.FRESH, "", 0)}


def test_a_clock_that_ran_ahead_is_told() -> None:
    values, times = rows()
    assert broken(values, times, NOW - timedelta(seconds=15)) == {(Clause.FUTURE, "", 2)}


@pytest.mark.skipif(not expectations.installed(), reason="Great Expectations is in the group `learning`: make learning")
def test_great_expectations_finds_what_the_vectorised_contracts_find() -> None:
    chance = np.random.default_rng(6)
    strict = replace(HELD, promises=tuple(replace(promise, filled=0.75) for promise in HELD.promises))
    for case in range(6):
        count = int(chance.integers(1, 40))
        values, times = rows(count)
        spoilt = np.array([-1.0, 2.0, np.nan, np.inf, 0.0, 1.0])
        hit = chance.random(values.shape) < 0.1 * case
        values[hit] = chance.choice(spoilt, hit.sum())
        now = NOW + timedelta(seconds=float(chance.choice([-25.0, 0.0, 7200.0, 9000.0])))
        ours = breaches(strict, EDGE.names, EDGE.units, values, times, now)
        theirs = expectations.validate(strict, EDGE.names, values, times, now)
        assert told_but_fresh(theirs) == told_but_fresh(ours)
    values, times = rows()
    others = expectations.validate(HELD, EDGE.names[::-1], values, times, NOW)
    assert [each.clause for each in others] == [Clause.COLUMNS]


def told_but_fresh(found: list[Breach]) -> set[tuple[Clause, str, int]]:
    """Freshness is about the newest row alone: Great Expectations counts none."""
    return {(each.clause, each.feature, 0 if each.clause is Clause.FRESH else each.count) for each in found}

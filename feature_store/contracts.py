"""What a view promises of its rows: columns, units, ranges, how many may be empty, how fresh. Pure and vectorised.

A row that breaks a promise is kept and told of: nothing is lost. Great Expectations holds the same contract against the
same rows in the batch flow (feature_store/expectations.py), and in a test both must agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np

from feature_store.definitions import Feature, Reading
from feature_store.views import View
from feature_store.windows import Floats, Indexes
from tonewatch.clock import microseconds

_DAY = 86_400.0
#: What a number of this unit can be at all. Ages and latencies may be a little below 0: they compare two clocks.
RANGES = {
    "1/s": (0.0, 1e9),
    "B/s": (0.0, 1e12),
    "s/s": (0.0, 1024.0),  # processors
    "s": (-5.0, 7 * _DAY),
    "dB": (-200.0, 200.0),
    "1": (0.0, 1.0),
}
#: Counts per something that are no share.
COUNTS = {"decode_errors_mean": (0.0, 1e6), "upstream_errors_per_lookup": (0.0, 1e3)}
#: Of the windows so many must have a number, where one is expected in each.
FILLED = 0.8


class Clause(StrEnum):
    """What can be broken."""

    COLUMNS = "columns"  # other features, or in another order
    UNITS = "units"
    RANGE = "range"
    FILLED = "filled"
    FRESH = "fresh"
    FUTURE = "future"


@dataclass(frozen=True, slots=True)
class Promise:
    """Of one feature: low <= number <= high wherever there is one, and a number in at least `filled` of the rows."""

    name: str
    unit: str
    low: float
    high: float
    filled: float


@dataclass(frozen=True, slots=True)
class Contract:
    """Of one view. fresh: how long ago the newest window may have ended."""

    view: str
    promises: tuple[Promise, ...]
    fresh: timedelta


@dataclass(frozen=True, slots=True)
class Breach:
    """A clause that does not hold; feature: empty where it is about whole rows. count: so many of `rows` break it."""

    clause: Clause
    feature: str
    count: int
    rows: int
    told: str


def contract(view: View) -> Contract:
    """What the view promises."""
    return Contract(view.name, tuple(map(_promise, view.features)), view.fresh)


def _promise(feature: Feature) -> Promise:
    low, high = COUNTS.get(feature.name) or RANGES.get(feature.unit, (-np.inf, np.inf))
    # Nobody asks for anything at night, and then there is no ratio per request.
    expected = feature.steady and feature.reading is not Reading.RATIO
    return Promise(feature.name, feature.unit, low, high, FILLED if expected else 0.0)


def breaches(
    held: Contract, names: Sequence[str], units: Sequence[str], values: Floats, times: Indexes, now: datetime
) -> list[Breach]:
    """Every clause that the rows break. No rows at all break freshness.

    values: (rows, features), NaN where there is none; times: (rows,), ends of windows in microseconds since 1970.
    """
    wanted = tuple(promise.name for promise in held.promises)
    if tuple(names) != wanted:
        return [Breach(Clause.COLUMNS, "", len(values), len(values), f"{', '.join(names)}; not {', '.join(wanted)}")]
    return [*_units(held, units, len(values)), *_numbers(held, values), *_times(held, times, now)]


def _units(held: Contract, units: Sequence[str], rows: int) -> Iterator[Breach]:
    for promise, unit in zip(held.promises, units, strict=True):
        if unit != promise.unit:
            yield Breach(Clause.UNITS, promise.name, rows, rows, f"kept in {unit}, not in {promise.unit}")


def outside(held: Contract, values: Floats) -> np.typing.NDArray[np.bool_]:
    """(rows, features): where there is a number that is out of its range; an infinite one always is."""
    low = np.array([promise.low for promise in held.promises])
    high = np.array([promise.high for promise in held.promises])
    return np.asarray((values < low) | (values > high) | np.isinf(values))


def _numbers(held: Contract, values: Floats) -> Iterator[Breach]:
    rows = len(values)
    beyond = outside(held, values).sum(axis=0).tolist()
    empty = np.isnan(values).sum(axis=0).tolist()
    for promise, out, missing in zip(held.promises, beyond, empty, strict=True):
        if out:
            span = f"{promise.low:g} to {promise.high:g} {promise.unit}"
            yield Breach(Clause.RANGE, promise.name, out, rows, f"{out} of {rows} rows are not within {span}")
        if rows and (rows - missing) / rows < promise.filled:
            told = f"{missing} of {rows} rows have no number; {promise.filled:.0%} must have one"
            yield Breach(Clause.FILLED, promise.name, missing, rows, told)


def _times(held: Contract, times: Indexes, now: datetime) -> Iterator[Breach]:
    rows, moment = len(times), microseconds(now)
    ahead = int((times > moment).sum())
    if ahead:
        yield Breach(Clause.FUTURE, "", ahead, rows, f"{ahead} of {rows} windows end after now: a clock runs ahead")
    oldest = microseconds(now - held.fresh)
    if not rows or int(times.max()) < oldest:
        newest = (
            "there is no window" if not rows else f"the newest window ended {(moment - int(times.max())) / 1e6:g} s ago"
        )
        yield Breach(Clause.FRESH, "", rows, rows, f"{newest}; at most {held.fresh.total_seconds():g} s")

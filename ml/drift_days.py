"""Windows as days: what drift is told from. Pure.

Neighbouring windows are not independent and a day is not flat, so that a window says little and a thousand of them
hardly more. A block of a day that ends at the check is compared with blocks of the same hours before it: each hour with
the same hour of the reference's working days, or of its free ones. What is left, averaged over a day, is one number;
days are nearly independent, and their spread holds all autocorrelation within them (blocks as in Carlstein: The use of
subseries values for estimating the variance of a general statistic, Annals of Statistics 14, 1986).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

HOURS, WEEK = 24, 7
#: 1970 began on a Thursday.
_FIRST_WEEKDAY, _SATURDAY = 3, 5
#: No hour counts for more than so many of its feature's spreads: an outage of an hour is an incident, no drift.
FARTHEST = 4.0
#: A day needs a number in so many of its hours to count.
PRESENT = 0.5
#: A day is read as one of the other kind (a holiday as a Sunday) where that leaves less than so much of its residuals.
OTHER_KIND = 0.8
#: Hours at which the two kinds lie so many of the feature's ranges apart tell which one a day was.
UNLIKE = 0.5
#: Spreads are told apart down to this part of a feature's scale: below it nothing that matters moves.
FINEST = 0.25


class Aspect(StrEnum):
    """What of a feature has moved. level: in spreads of the feature, season included; spread: the logarithm of how far
    windows lie around their season; missing: the share of windows without a number.
    """

    LEVEL = "level"
    SPREAD = "spread"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Windows of some entities. places: (rows,), which entity; times: (rows,), ends in microseconds since 1970; values:
    (rows, features), NaN where there is no number.
    """

    places: Indexes
    times: Indexes
    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Hourly:
    """Windows summed up by the hour, days counted back from `end`: day 0 is the one that ends there.

    mean, variance: (entities, days, hours, features), NaN without a number; rows: (entities, days, hours), windows;
    numbers: (entities, days, hours, features). hours: of the day in UTC, whichever day a block's hour lies in.
    """

    end: int
    day: int
    mean: Floats
    variance: Floats
    rows: Floats
    numbers: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Daily:
    """A number per aspect, day and feature, (days, features), NaN where the day has too little; day 0 is the current.

    wider: by what factor a day that helped make the season lies nearer to it than the current one.
    """

    of: dict[Aspect, Floats]
    wider: float


def hourly(rows: Rows, end: int, day: int, days: int) -> Hourly:
    """Sum up the windows of `days` days before `end`, each `day` microseconds long; others are left out.

    end counts down to the hour, so that no hour is cut.
    """
    hour = day // HOURS
    end -= end % hour
    age = (end - rows.times) // day
    kept = (age >= 0) & (age < days) & (rows.times <= end)
    places, age, times, values = rows.places[kept], age[kept], rows.times[kept], rows.values[kept]
    entities = int(rows.places.max()) + 1 if len(rows.places) else 0
    cell = (places * days + age) * HOURS + ((times - 1) % day) // hour
    shape, cells = (entities, days, HOURS), entities * days * HOURS
    count = np.bincount(cell, minlength=cells).astype(np.float64)
    columns = [_moments(cell, column, cells) for column in values.T]
    parts = zip(*columns, strict=True)
    mean, variance, numbers = (np.stack(each, axis=-1).reshape(*shape, len(columns)) for each in parts)
    return Hourly(end, day, mean, variance, count.reshape(shape), numbers)


def without(told: Hourly, days: int) -> Hourly:
    """The same, as if there were nothing of the newest `days` before day 0: nobody knows whether they were normal."""
    mean, variance, rows, numbers = (each.copy() for each in (told.mean, told.variance, told.rows, told.numbers))
    left = slice(1, 1 + days)
    mean[:, left], variance[:, left], rows[:, left], numbers[:, left] = np.nan, np.nan, 0.0, 0.0
    return Hourly(told.end, told.day, mean, variance, rows, numbers)


def together(parts: Sequence[Hourly]) -> Hourly:
    """The same days of further entities, as one. Raises ValueError: there are none."""
    first = parts[0]
    joined = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("mean", "variance", "rows", "numbers")
    )
    return Hourly(first.end, first.day, *joined)


def _moments(cell: Indexes, column: Floats, cells: int) -> tuple[Floats, Floats, Floats]:
    """Mean, variance and count of the numbers in each cell; from the column's own middle, so that none is lost."""
    there = np.isfinite(column)
    middle = float(np.median(column[there])) if there.any() else 0.0
    cell, off = cell[there], column[there] - middle
    count = np.bincount(cell, minlength=cells).astype(np.float64)
    some = np.where(count > 0, count, np.nan)
    mean = np.bincount(cell, weights=off, minlength=cells) / some
    square = np.bincount(cell, weights=off**2, minlength=cells) / some
    return mean + middle, np.maximum(square - mean**2, 0.0), count


def daily(told: Hourly, floors: Floats) -> Daily:
    """What each day says, its season taken off. floors: (features,), the smallest differences worth noticing."""
    free = _free(told)
    scale = _scales(told, floors)
    season = _seasons(told, free)
    free = _as_lived(told, free, season, scale)
    season = _seasons(told, free)
    left = (told.mean - _of_kind(season, free)) / scale
    near = np.clip(left, -FARTHEST, FARTHEST)
    counted = np.isfinite(left)
    level = _mean(near, (0, 2))
    there = _there(told)
    level[counted.mean(axis=(0, 2)) < PRESENT * _mean(counted[:, 1:][:, there], (0, 1, 2))] = np.nan
    kinds = [int(np.sum((free[1:][there] == kind).mean(axis=1) > PRESENT)) for kind in np.unique(free[0]).tolist()]
    fewest = max(min(kinds), 2)
    return Daily(
        {Aspect.LEVEL: level, Aspect.SPREAD: _spreads(told, near, scale, level), Aspect.MISSING: _missing(told)},
        float(np.sqrt((fewest + 1) / (fewest - 1))),
    )


def _there(told: Hourly) -> Flags:
    """(days - 1,): of the reference's, which have any window. Those left out, and those before there was a view, don't:
    they made no season.
    """
    return np.asarray(told.rows[:, 1:].sum(axis=(0, 2)) > 0)


def _free(told: Hourly) -> Flags:
    """(days, hours): which lie in a Saturday or Sunday."""
    hour = told.day // HOURS
    begins = told.end - (np.arange(told.mean.shape[1]) + 1)[:, None] * told.day
    starts = begins + (np.arange(HOURS)[None, :] * hour - begins) % told.day
    return np.asarray((starts // told.day + _FIRST_WEEKDAY) % WEEK >= _SATURDAY)


def _scales(told: Hourly, floors: Floats) -> Floats:
    """(entities, 1, 1, features): how far the feature ranges through a week of the reference, season and all."""
    hours = told.mean[:, 1:].reshape(len(told.mean), -1, len(floors))
    middle = _median(hours, 1)
    between = 1.4826 * _median(np.abs(hours - middle[:, None]), 1)
    within = _median(told.variance[:, 1:].reshape(hours.shape), 1)
    range_ = np.sqrt(np.nan_to_num(between) ** 2 + np.nan_to_num(within))
    return np.asarray(np.maximum(range_, floors)[:, None, None, :])


def _seasons(told: Hourly, free: Flags) -> tuple[Floats, Floats]:
    """Of working and of free days, (entities, hours, features): the middle of the reference's; NaN of less than two."""
    found = []
    for kind in (False, True):
        chosen = (free[1:] == kind)[None, :, :, None]
        values = np.where(chosen, told.mean[:, 1:], np.nan)
        middle = _median(values, 1)
        middle[np.isfinite(values).sum(axis=1) < 2] = np.nan
        found.append(middle)
    return found[0], found[1]


def _of_kind(season: tuple[Floats, Floats], free: Flags) -> Floats:
    return np.where(free[None, :, :, None], season[1][:, None], season[0][:, None])


def _as_lived(told: Hourly, free: Flags, season: tuple[Floats, Floats], scale: Floats) -> Flags:
    """The kinds of days as they were lived: a working day that ran like a free one was a holiday, and the reverse."""
    hour = told.day // HOURS
    begins = told.end - (np.arange(len(free)) + 1)[:, None] * told.day
    number = (begins + (np.arange(HOURS)[None, :] * hour - begins) % told.day) // told.day
    far = [np.minimum(np.abs(told.mean - _of_kind(season, kind)) / scale, FARTHEST) for kind in (free, ~free)]
    # Where the kinds are alike a day says nothing of which it was.
    differ = np.abs(season[0] - season[1])[:, None] >= UNLIKE * scale
    both = np.isfinite(far[0]) & np.isfinite(far[1]) & differ
    own, other = (np.where(both, each, 0.0).sum(axis=(0, 3)) for each in far)
    first = int(number.min())
    sums = [np.bincount((number - first).ravel(), weights=each.ravel()) for each in (own, other)]
    swapped = sums[1] < OTHER_KIND * sums[0]
    return np.asarray(free ^ swapped[number - first])


def _spreads(told: Hourly, near: Floats, scale: Floats, level: Floats) -> Floats:
    within = np.minimum(told.variance / scale**2, FARTHEST**2)
    around = _mean((near - _mean(near, (2,))[:, :, None]) ** 2 + within, (2,))
    spread = _mean(0.5 * np.log(around + FINEST**2), (0,))
    spread[np.isnan(level)] = np.nan
    return spread


def _missing(told: Hourly) -> Floats:
    """(days, features): of windows that there are, the share without a number; NaN for days with few windows."""
    rows = told.rows.sum(axis=(0, 2))
    there = rows[1:][_there(told)]
    usual = float(np.median(there)) if len(there) else 0.0
    enough = np.where((rows > 0) & (rows >= PRESENT * usual), rows, np.nan)
    return np.asarray(1.0 - told.numbers.sum(axis=(0, 2)) / enough[:, None])


def _mean(values: Floats, axes: tuple[int, ...]) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing: NaN is what is meant
        return np.asarray(np.nanmean(values, axis=axes))


def _median(values: Floats, axis: int) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing: NaN is what is meant
        return np.asarray(np.nanmedian(values, axis=axis))

"""Two rivals in our own words, from their description (shared/research/anchors.md 2): Netdata's vote, SigNoz's formula.

Both judge what a minute's samples tell: of counters the growth per second. Their times are kept, so that six hours
are 360 samples here; where they read each second, theirs are 21,600.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
#: Netdata: a model of each series every three hours on the six before, 18 kept; features; when a model says anomalous.
EVERY_S, LEARNS_S, KEPT = 3 * 3600.0, 6 * 3600.0, 18
SMOOTHED, LAGGED, ROUNDS = 3, 6, 6
ANOMALOUS = 0.99
#: SigNoz: its daily season, the points of its moving average, and the z-score from which it alerts.
DAY_S, MOVING, ALERTS = 86_400.0, 7, 3.0


def netdata(rates: Floats, every_s: float) -> Floats:
    """How far the least surprised of a series' models is surprised: (steps, series), NaN: not judged.

    Of all models at once it says what the vote says: from ANOMALOUS on every one of them calls the sample anomalous.
    Below it only some models were asked, and the figure is the least of theirs.
    """
    features = _features(rates)
    steps, series = rates.shape
    every, learns = round(EVERY_S / every_s), round(LEARNS_S / every_s)
    models: list[tuple[Singles, Singles, Singles]] = []
    found = np.full((steps, series), np.nan, np.float32)
    for first in range(learns, steps, every):
        models = [_model(features[first - learns : first]), *models[: KEPT - 1]]
        found[first : first + every] = _vote(features[first : first + every], models)
    return found.astype(np.float64)


def _features(rates: Floats) -> Singles:
    """Differences, smoothed, and those of the last steps beside: (steps, series, LAGGED)."""
    differences = np.diff(rates, axis=0, prepend=np.nan)
    spread = np.nanstd(differences[: 6 * 1440], axis=0)
    differences = differences / np.where(spread > 0, spread, 1.0)  # single precision has no room for bytes
    smooth = sum((_later(differences, lag) for lag in range(SMOOTHED)), np.zeros_like(differences)) / SMOOTHED
    return np.stack([_later(smooth, lag) for lag in range(LAGGED)], axis=2).astype(np.float32)


def _later(values: Floats, lag: int) -> Floats:
    return values if not lag else np.concatenate([np.full_like(values[:lag], np.nan), values[:-lag]])


def _model(rows: Singles) -> tuple[Singles, Singles, Singles]:
    """Two centres per series by k-means, and the least and largest distance of what they were learned from."""
    rows = rows.transpose(1, 0, 2)
    there = np.asarray(np.isfinite(rows).all(axis=2))
    rows = np.where(there[:, :, None], rows, 0.0).astype(np.float32)
    weight = there.astype(np.float32)
    middle = rows.sum(axis=1) / np.maximum(weight.sum(axis=1), 1)[:, None]
    away = _apart(rows, middle) * weight
    centres = np.stack([middle, rows[np.arange(len(rows)), away.argmax(axis=1)]], axis=1)
    for _ in range(ROUNDS):
        second = (_apart(rows, centres[:, 1]) < _apart(rows, centres[:, 0])).astype(np.float32) * weight
        for place, member in enumerate((weight - second, second)):
            count = member.sum(axis=1)
            mean = np.matmul(member[:, None, :], rows)[:, 0] / np.maximum(count, 1)[:, None]
            centres[:, place] = np.where(count[:, None] > 0, mean, centres[:, place])
    distance = _distance(rows, centres)
    least = np.where(there, distance, np.inf).min(axis=1)
    return centres, least.astype(np.float32), np.where(there, distance, -np.inf).max(axis=1).astype(np.float32)


def _apart(rows: Singles, centre: Singles) -> Singles:
    difference = rows - centre[:, None, :]
    squares: Singles = np.einsum("snf,snf->sn", difference, difference)
    return squares


def _distance(rows: Singles, centres: Singles) -> Singles:
    """The mean of the distances to both centres, as its code has it: (series, rows)."""
    both: Singles = np.sqrt(_apart(rows, centres[:, 0])) + np.sqrt(_apart(rows, centres[:, 1]))
    both /= 2
    return both


def _vote(rows: Singles, models: list[tuple[Singles, Singles, Singles]]) -> Singles:
    rows = rows.transpose(1, 0, 2)
    least = _surprise(_distance(rows, models[0][0]), models[0])
    for model in models[1:]:
        asked, when = np.nonzero(least >= ANOMALOUS)  # the first that calls it normal ends the vote
        if not len(asked):
            break
        some, centres = rows[asked, when], model[0][asked]
        away = np.sqrt(((some[:, None, :] - centres) ** 2).sum(axis=2)).mean(axis=1)
        told = (away - model[1][asked]) / (model[2][asked] - model[1][asked])
        least[asked, when] = np.fmin(least[asked, when], told)
    return least.T


def _surprise(distance: Singles, model: tuple[Singles, Singles, Singles]) -> Singles:
    least, most = model[1][:, None], model[2][:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        told: Singles = (distance - least) / (most - least)
    return np.where(most > least, told, np.nan).astype(np.float32)


def signoz(rates: Floats, every_s: float) -> Floats:
    """|value - expected| / the season's sd, (steps, series): expected = last day's moving average at this time + mean
    of the last day - mean of the three days before; NaN: not judged.
    """
    day = round(DAY_S / every_s)
    known = np.isfinite(rates)
    filled = np.where(known, rates, 0.0)
    level = np.nan_to_num(np.nanmedian(rates, axis=0))
    filled = np.where(known, filled - level, 0.0)
    total, squares, count = (_sums(each) for each in (filled, filled**2, known.astype(np.float64)))
    found = np.full(rates.shape, np.nan)
    for lines in np.array_split(np.arange(rates.shape[1]), 4):
        found[:, lines] = _formula(
            rates[:, lines], level[lines], (total[:, lines], squares[:, lines], count[:, lines]), day
        )
    return found


def _sums(values: Floats) -> Floats:
    return np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])


def _formula(rates: Floats, level: Floats, sums: tuple[Floats, Floats, Floats], day: int) -> Floats:
    total, squares, count = sums
    steps = len(rates)
    at = np.arange(steps)

    def mean(of: Floats, first: npt.NDArray[np.int64], until: npt.NDArray[np.int64]) -> Floats:
        first, until = np.clip(first, 0, steps), np.clip(until, 0, steps)
        number = count[until] - count[first]
        return np.asarray((of[until] - of[first]) / np.where(number > 0, number, np.nan))

    season = mean(total, at - day + 1, at + 1)
    spread = np.sqrt(np.maximum(mean(squares, at - day + 1, at + 1) - season**2, 0.0))
    before = sum(mean(total, at - (n + 1) * day + 1, at - n * day + 1) for n in (1, 2, 3)) / 3
    moving = mean(total, at - day, at - day + MOVING)
    expected = moving + season - before + level
    expected = np.where(expected < 0, np.where(level >= 0, moving + level, expected), expected)
    with np.errstate(invalid="ignore", divide="ignore"):
        told = np.abs(rates - expected) / np.where(spread > 1e-9 * np.abs(level), spread, np.nan)
    told[: 4 * day] = np.nan
    return told

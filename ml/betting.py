"""Means of bounded values, watched for as long as one likes: confidence sequences by betting.

A gambler who believes that a mean is above m stakes a share of his wealth on each value before it comes; if he is wrong
his wealth is a supermartingale, and by Ville (1939) it ever exceeds 1 / alpha with a chance of at most alpha. So a look
after every value costs nothing, and one may stop at any. The means that no gambler has beaten are the confidence
sequence (Waudby-Smith & Ramdas, JRSS-B 86, 2024). The stakes are a fixed mixture of shares, from timid to bold (there
"diversified Kelly"): the wealth depends on which values came, not on their order. Values may depend on the past and on
one another through it; what must hold is that none is expected to lie above m given those before it.
All values lie in [-1, 1].
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tonewatch.errors import ModelError

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
#: Shares that are staked, each on an equal part of the wealth. 1 would be ruin by the first bad value.
STAKES = np.geomspace(0.02, 0.95, 10)
#: Halvings that find a bound: to a millionth of the range.
_HALVINGS = 22


def log_wealth(values: Floats, mean: float) -> Floats:
    """Log of what the gambler has who bets that the mean is above `mean`, after each value of the last axis.

    values: (..., n) in [-1, 1]; mean in (-1, 1). Shape: (..., n).
    """
    odds = (np.asarray(values) + 1.0) / (mean + 1.0)
    wealth: Floats | None = None
    for stake in STAKES:  # one at a time: all at once would take ten times the memory
        with np.errstate(divide="ignore"):
            grown = np.cumsum(np.log(1.0 - stake + stake * odds), axis=-1)
        wealth = grown if wealth is None else np.logaddexp(wealth, grown)
    assert wealth is not None  # noqa: S101 - there are stakes
    return np.asarray(wealth - math.log(len(STAKES)))


def interval(values: Floats, alpha: float) -> tuple[float, float]:
    """The means that are not refuted by all `values`, (n,): low and high, each wrong with a chance of alpha / 2.

    Without values: everything, -1 to 1. Raises ModelError: a value that is no number or beyond [-1, 1].
    """
    held = np.asarray(values, np.float64)
    if not np.isfinite(held).all() or (np.abs(held) > 1.0).any():
        raise ModelError("a mean is bounded for finite values in [-1, 1] only; divide by what bounds them")
    return _low(held, alpha / 2), -_low(-held, alpha / 2)


def _low(values: Floats, alpha: float) -> float:
    if not len(values) or values.mean() <= -1.0:
        return -1.0
    refuted, possible, enough = -1.0, float(values.mean()), -math.log(alpha)
    for _ in range(_HALVINGS):
        middle = (refuted + possible) / 2
        if _last(values, middle) >= enough:
            refuted = middle
        else:
            possible = middle
    return refuted


def _last(values: Floats, mean: float) -> float:
    grown = np.log(1.0 - STAKES[:, None] + STAKES[:, None] * ((values + 1.0) / (mean + 1.0))).sum(axis=1)
    return float(np.logaddexp.reduce(grown) - math.log(len(STAKES)))


def signs_needed(most: int, alpha: float) -> Counts:
    """Of n values, how many must be above a number so that it is refuted as their median; for n = 0 to `most`.

    More than n: none is enough. The same gambler on signs, each wrong with a chance of alpha (Howard & Ramdas 2022,
    confidence sequences for quantiles). Shape: (most + 1,).
    """
    whole = np.arange(most + 1)
    few, enough = np.zeros(most + 1, np.int64), whole + 1
    won, lost = np.log1p(STAKES)[:, None], np.log1p(-STAKES)[:, None]
    while (few < enough).any():
        above = (few + enough) // 2
        wealth = np.logaddexp.reduce(above * won + (whole - above) * lost, axis=0) - math.log(len(STAKES))
        reached = (wealth >= -math.log(alpha)) | (above > whole)
        enough, few = np.where(reached, above, enough), np.where(reached, few, above + 1)
    return enough


def median_interval(values: Floats, alpha: float) -> tuple[float, float]:
    """The medians that are not refuted by `values`, (n,): each bound wrong with a chance of alpha / 2.

    -inf or inf where so few values bound nothing.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    needed = int(signs_needed(len(ordered), alpha / 2)[-1])
    if needed > len(ordered):
        return -math.inf, math.inf
    return float(ordered[len(ordered) - needed]), float(ordered[needed - 1])

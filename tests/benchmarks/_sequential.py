"""When each way of looking at a row of differences says that their mean is not 0, if it is asked after every one.

Values: (replicates, n) in [-1, 1], NaN where there is none. Each returns (replicates, n): +1 better, -1 worse, 0 none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ml.betting import log_wealth

Floats = npt.NDArray[np.float64]
Said = npt.NDArray[np.int8]
#: Values before which a variance estimated from them is not used.
LEAST = 10
#: The spread of effects that the mixture test expects.
EXPECTED = 0.1


def betting(values: Floats, alpha: float) -> Said:
    """Ours: ml/betting.py, half of alpha on either side."""
    held, enough = np.nan_to_num(values), math.log(2 / alpha)
    return _said(log_wealth(held, 0.0) >= enough, log_wealth(-held, 0.0) >= enough)


def empirical_bernstein(values: Floats, alpha: float) -> Said:
    """Howard, Ramdas, McAuliffe & Sekhon 2021, theorem 4 with the polynomial stitched boundary (eta 2, s 1.4, m 1)."""
    held, count, total = _sums(values)
    before = np.concatenate([np.zeros((len(held), 1)), (total / np.maximum(count, 1))[:, :-1]], axis=1)
    variance = np.maximum(np.cumsum(np.where(np.isnan(values), 0.0, (held - before) ** 2), axis=1), 1.0)
    level = 1.4 * np.log(np.log(2 * variance)) + math.log(3.1055 / (alpha / 2 * math.log(2) ** 1.4))
    wide = (2**0.25 + 2**-0.25) / math.sqrt(2) * np.sqrt(variance * level) + (math.sqrt(2) + 1) / 2 * 2.0 * level
    return _said(total > wide, total < -wide)


def mixture(values: Floats, alpha: float) -> Said:
    """mSPRT with a normal mixture and the variance so far (Johari et al. 2017): valid in the limit."""
    _, count, total = _sums(values)
    variance = _variance(values, count, total)
    spread = EXPECTED**2
    wealth = 0.5 * np.log(variance / (variance + count * spread))
    wealth += total**2 * spread / (2 * variance * (variance + count * spread))
    sure = (wealth >= -math.log(alpha)) & (count >= LEAST)
    return _said(sure & (total > 0), sure & (total < 0))


def naive(values: Floats, alpha: float) -> Said:
    """A test for one look at a fixed time, looked at after every value."""
    _, count, total = _sums(values)
    wide = NormalDist().inv_cdf(1 - alpha / 2) * np.sqrt(count * _variance(values, count, total))
    return _said((total > wide) & (count >= LEAST), (total < -wide) & (count >= LEAST))


def once(values: Floats, alpha: float) -> Said:
    """The same test, looked at once, at the end: what peeking is to be compared with."""
    said = naive(values, alpha)
    said[:, :-1] = 0
    return said


METHODS: dict[str, Callable[[Floats, float], Said]] = {
    "betting": betting,
    "empirical Bernstein": empirical_bernstein,
    "mSPRT": mixture,
    "fixed test, peeked": naive,
    "fixed test, once": once,
}


def first(said: Said) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
    """Where each replicate first says something (n: never), and what."""
    spoke = said != 0
    at = np.where(spoke.any(axis=1), spoke.argmax(axis=1), said.shape[1])
    return at, np.where(at < said.shape[1], said[np.arange(len(said)), np.minimum(at, said.shape[1] - 1)], 0)


def _said(better: npt.NDArray[np.bool_], worse: npt.NDArray[np.bool_]) -> Said:
    return better.astype(np.int8) - worse.astype(np.int8)


def _sums(values: Floats) -> tuple[Floats, Floats, Floats]:
    held = np.nan_to_num(values)
    return held, np.cumsum(~np.isnan(values), axis=1).astype(np.float64), np.cumsum(held, axis=1)


def _variance(values: Floats, count: Floats, total: Floats) -> Floats:
    squares = np.cumsum(np.nan_to_num(values) ** 2, axis=1)
    found = squares / np.maximum(count, 1) - (total / np.maximum(count, 1)) ** 2
    return np.maximum(found, 1e-4)

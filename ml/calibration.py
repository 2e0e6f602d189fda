"""From calm scores to a threshold that spends the page budget and no more.

A finding is a run of at least `debounce` windows above the threshold, so what counts is the running minimum of as many
scores, and how often it crosses the threshold upward. Budgets are rarer than what a calm stretch can show: beyond the
data the rate is extrapolated by peaks over threshold (generalised Pareto by probability-weighted moments, Hosking &
Wallis 1987; exponential where there are few peaks) on -log(1 - score), where a bounded score has an unbounded tail.
Margin and interval come from resampling whole blocks of time (Künsch 1989), all entities together: neighbouring
windows, and entities of one host, are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tonewatch.errors import ModelError

Floats = npt.NDArray[np.float64]
#: Fewer debounced windows than this say nothing about how calm calm is.
LEAST_WINDOWS = 20
#: Peaks from which on the tail's shape is fitted; below, it is taken as exponential.
PEAKS_FOR_SHAPE = 60
#: The tail begins at the highest of these quantiles that leaves PEAKS_FOR_TAIL peaks.
TAIL_BEGINS = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
PEAKS_FOR_TAIL = 30
_HIGHEST = 60.0  # in -log(1 - score): beyond what a double can tell from 1


@dataclass(frozen=True, slots=True)
class Budget:
    """What one family may spend. tick_seconds: from one scored window to the next; debounce: windows in a row."""

    pages_per_week: float
    week_seconds: float
    tick_seconds: float
    debounce: int
    families: int = 1

    @property
    def per_tick(self) -> float:
        """Findings that one family may raise per tick, over all its entities."""
        return self.pages_per_week / self.families / (self.week_seconds / self.tick_seconds)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold and what is expected of it. Rates are this family's findings per calm budget week.

    rate: by the fit, at the threshold, margin included; low, high: 90 % interval of the threshold by resampling,
    widened to hold it; seen: findings that the threshold would have raised in the calibration stretch; tail: `seen`
    (the stretch is long enough to show it), `exponential` or `pareto`.
    """

    threshold: float
    rate: float
    low: float
    high: float
    seen: float
    ticks: float
    highest: float
    tail: str


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    """How often, per tick, the debounced score rises through a level. levels ascend; rates do not rise."""

    levels: Floats
    rates: Floats
    shape: float
    scale: float

    def level(self, rate: float) -> float:
        """The lowest level that is crossed at most `rate` times per tick; non-increasing in `rate`."""
        within = np.flatnonzero(self.rates <= rate)
        if len(within):
            return float(self.levels[within[0]])
        share = rate / self.rates[-1]
        if abs(self.shape) < 1e-6:
            return float(self.levels[-1] - self.scale * np.log(share))
        return float(self.levels[-1] + self.scale / self.shape * (share**-self.shape - 1))

    def rate(self, level: float) -> float:
        """Expected crossings of `level` per tick."""
        if level <= self.levels[-1]:
            return float(self.rates[np.searchsorted(self.levels, level)])
        excess = (level - self.levels[-1]) / self.scale
        if abs(self.shape) < 1e-6:
            return float(self.rates[-1] * np.exp(-excess))
        return float(self.rates[-1] * max(0.0, 1 + self.shape * excess) ** (-1 / self.shape))


def debounced(scores: Floats, debounce: int, phases: int = 1) -> Floats:
    """The smallest of `debounce` scores, one tick apart, ending at each window; NaN where one of them is missing.

    scores: (entities, windows); phases: windows per tick. Shape: (entities, windows - (debounce - 1) * phases).
    """
    width = scores.shape[1] - (debounce - 1) * phases
    if width <= 0:
        return np.empty((scores.shape[0], 0))
    shifted = [scores[:, step * phases : step * phases + width] for step in range(debounce)]
    return np.asarray(np.min(shifted, axis=0), dtype=np.float64)  # np.min hands NaN on


def findings(scores: Floats, threshold: float, debounce: int, phases: int = 1) -> float:
    """How many findings the scores raise: runs of `debounce` windows above, averaged over the phases of the tick."""
    strand = _strand(debounced(scores, debounce, phases), phases)
    return float(_crossings(strand, np.array([threshold]))[0]) / phases


def calibrate(
    scores: Floats, budget: Budget, *, phases: int = 1, caution: float = 0.9, resamples: int = 200, seed: int = 0
) -> Calibration:
    """The threshold within `budget`, from calm scores that the detector was not fitted on.

    scores: (entities, windows) in [0, 1], by time, NaN where there was none. `phases` windows lie in one tick: closer
    windows than the watcher will score show the same process from more sides. `caution`: the threshold is this
    quantile of those of the resamples. Raises ModelError: too few windows.
    """
    levels = -np.log1p(-np.clip(scores, 0.0, 1.0 - 1e-15))
    runs = debounced(levels, budget.debounce, phases)
    if np.isfinite(runs).sum() < LEAST_WINDOWS:
        raise ModelError(
            f"{int(np.isfinite(runs).sum())} calm windows to calibrate on; at least {LEAST_WINDOWS} are needed"
        )
    curve = _curve(runs, phases)
    chance = np.random.default_rng(seed)
    block = 4 * budget.debounce * phases
    resampled = [_curve(_resample(runs, block, chance), phases).level(budget.per_tick) for _ in range(resamples)]
    own = curve.level(budget.per_tick)
    level = min(max(own, float(np.quantile(resampled, caution))), _HIGHEST)
    low, high = np.quantile([own, *resampled], [0.05, 0.95])
    return Calibration(
        threshold=_score(level),
        rate=curve.rate(level) * budget.week_seconds / budget.tick_seconds,
        low=_score(min(low, level)),
        high=_score(max(high, level)),
        seen=len(_peaks(_strand(runs, phases), level)) / phases,
        ticks=runs.shape[1] / phases,
        highest=_score(float(np.nanmax(runs))),
        tail="seen" if level <= curve.levels[-1] else "pareto" if curve.shape else "exponential",
    )


def _score(level: float) -> float:
    return float(-np.expm1(-min(level, _HIGHEST)))


def _strand(runs: Floats, phases: int) -> Floats:
    """Every entity's and phase's windows on one line, apart from each other; what is missing is never above a level."""
    parts = [entity[phase::phases] for entity in runs for phase in range(phases)]
    gap = np.array([-np.inf])
    strand = np.concatenate([piece for part in parts for piece in (gap, part)] + [gap])
    return np.where(np.isnan(strand), -np.inf, strand)


def _crossings(strand: Floats, levels: Floats) -> Floats:
    """How often each level is risen through: at all levels from the value before (inclusive) to the value after."""
    before, after = strand[:-1], strand[1:]
    rising = after > before
    started = np.searchsorted(np.sort(before[rising]), levels, "right")
    passed = np.searchsorted(np.sort(after[rising]), levels, "right")
    return np.asarray(started - passed, dtype=np.float64)


def _peaks(strand: Floats, level: float) -> Floats:
    """The highest value of each stretch above `level`."""
    above = strand > level
    starts = np.flatnonzero(above[1:] & ~above[:-1]) + 1
    return np.maximum.reduceat(strand, starts) if len(starts) else np.empty(0)


def _curve(runs: Floats, phases: int) -> _Curve:
    finite = runs[np.isfinite(runs)]
    strand = _strand(runs, phases)
    quantiles = np.quantile(finite, TAIL_BEGINS)
    enough = np.flatnonzero(_crossings(strand, quantiles) >= PEAKS_FOR_TAIL)
    begin = float(quantiles[enough[0]] if len(enough) else quantiles[-1])
    below = np.unique(np.quantile(finite, np.linspace(0.0, 1.0, 101)))
    levels = np.append(below[below < begin], begin)
    counts = _crossings(strand, levels)
    rates = np.maximum.accumulate(counts[::-1])[::-1] / runs.shape[1]  # runs.shape[1] / phases ticks, phases times
    shape, scale = _tail(_peaks(strand, begin) - begin, finite)
    return _Curve(levels, np.maximum(rates, 1 / runs.shape[1]), shape, scale)  # unseen is not never


def _tail(excesses: Floats, finite: Floats) -> tuple[float, float]:
    """Shape and scale of the excesses; shape 0 is exponential."""
    least = 1e-3 * max(float(finite.max() - finite.min()), 1e-3)  # a flat calm must not make a tail of width 0
    if len(excesses) == 0:
        return 0.0, least
    mean = float(excesses.mean())
    if len(excesses) < PEAKS_FOR_SHAPE:
        return 0.0, max(mean, least)
    ordered = np.sort(excesses)
    positions = (np.arange(1, len(ordered) + 1) - 0.35) / len(ordered)
    weighted = float(np.mean((1 - positions) * ordered))
    shape = 2 - mean / (mean - 2 * weighted) if mean > 2 * weighted else 0.0
    shape = float(np.clip(shape, 0.0, 0.5))  # a fitted end point would promise that nothing lies beyond it
    return shape, max(mean * (1 - shape), least)


def _resample(runs: Floats, block: int, chance: np.random.Generator) -> Floats:
    """Blocks of time drawn with replacement, wrapping around, the same for all entities."""
    width = runs.shape[1]
    length = max(1, min(block, width // 3))
    starts = chance.integers(0, width, size=-(-width // length))
    moments = (starts[:, None] + np.arange(length)[None, :]).ravel()[:width] % width
    return runs[:, moments]

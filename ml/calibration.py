"""From calm scores to thresholds that together spend the page budget and no more.

What the budget counts are incidents: an anomaly that has held for a run of windows, each of them notable, and those of
related entities within reach of each other in time as one. All families are laid on one axis: a score becomes the
surprise -log(share of its family's calm windows that score higher), so that one common level is as rare in each.
The smallest surprise of each run, the largest of each group of related entities, and that carried on for as long as
findings join: how often this rises through a level is how often incidents open at it. Budgets are rarer than what a
calm stretch can show: beyond the data the rate, and each family's share, are extrapolated by peaks over threshold
(generalised Pareto by probability-weighted moments, Hosking & Wallis 1987; exponential where there are few peaks).
Margin and interval come from resampling whole blocks of time (Künsch 1989), all families together: neighbouring
windows, and entities of one host, are not independent. See docs/decisions/0005-thresholds-are-set-on-incidents.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tonewatch.errors import ModelError

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
#: Fewer judged windows of a family, or fewer runs of all, say nothing about how calm calm is.
LEAST_WINDOWS = 20
#: Peaks from which on the tail's shape is fitted; below, it is taken as exponential.
PEAKS_FOR_SHAPE = 60
#: The tail begins at the highest of these quantiles that leaves PEAKS_FOR_TAIL peaks.
TAIL_BEGINS = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5)
PEAKS_FOR_TAIL = 30
#: A family's own tail begins higher where it has the windows (CROSSED_WINDOWS): what is usual and what is an outlier
#: are two things, and a tail fitted to the usual says nothing of the outliers.
OWN_TAIL_BEGINS = (0.9999, 0.9998, 0.9995, 0.999, 0.998, 0.995, 0.99, 0.98, *TAIL_BEGINS)
#: How many incidents open at once is told from the highest level, of these and those above, with so many occasions.
OCCASIONS = 10
TAIL_BEGINS_TOGETHER = (0.995, 0.99, 0.98)
#: No tail of the incidents narrower than this, in surprise, is believed; 1: a run as likely as its last window alone.
NARROWEST = 0.5
#: The share of weeks in which the budget is to be kept.
WEEKS_KEPT = 0.95
#: Pages a week from which on counts are as good as normal.
MANY = 100
#: Judged windows, a tick apart, of a family in each half of the stretch from which on each half is told by the other.
CROSSED_WINDOWS = 9_000
_HIGHEST = 60.0  # in -log(1 - score): beyond what a double can tell from 1
_FLAT = 1e-6  # shapes below are exponential to a double's eye


@dataclass(frozen=True, slots=True)
class Budget:
    """What a tenant may spend, and what spends it.

    tick_seconds: from one scored window to the next; debounce: windows in a row that make a finding; lasting_seconds:
    how long it must then hold to open an incident; reach_seconds: how long after one a related one still joins it.
    """

    pages_per_week: float
    week_seconds: float
    tick_seconds: float
    debounce: int
    lasting_seconds: float = 0.0
    reach_seconds: float = 0.0

    @property
    def run(self) -> int:
        """Windows in a row that open an incident."""
        return self.debounce + math.ceil(self.lasting_seconds / self.tick_seconds)

    @property
    def reach(self) -> int:
        """Ticks for which an incident takes in what is related."""
        return int(self.reach_seconds // self.tick_seconds)

    def per_week(self, together: float = 1.0) -> float:
        """The mean of incidents at which the budget is kept in 95 % of weeks; `together`: incidents that open at once.

        Occasions come at random, each with a geometric number of incidents (Pólya-Aeppli). A budget below one page a
        week is one page in so many weeks, kept in 95 % of such stretches.
        """
        weeks = max(1.0, 1.0 / self.pages_per_week)
        allowed = math.floor(self.pages_per_week * weeks + 1e-9)
        low, high = 0.0, allowed + 1.0
        for _ in range(50):
            mean = (low + high) / 2
            low, high = (mean, high) if _at_most(allowed, mean / together, together) >= WEEKS_KEPT else (low, mean)
        return low / weeks

    def per_tick(self, together: float = 1.0) -> float:
        """The same per tick."""
        return self.per_week(together) / (self.week_seconds / self.tick_seconds)


def _at_most(count: int, occasions: float, together: float) -> float:
    """The chance of at most `count` incidents, by Panjer's recursion (ASTIN Bulletin 12, 1981); normal for many."""
    if count > MANY:
        mean, variance = occasions * together, occasions * together * (2 * together - 1)
        return 0.5 * (1 + math.erf((count + 0.5 - mean) / math.sqrt(2 * variance)))
    more = 1.0 - 1.0 / together
    sizes = [(1.0 - more) * more ** (size - 1) for size in range(1, count + 1)]
    chances = [math.exp(-occasions)]
    for number in range(1, count + 1):
        terms = (size * sizes[size - 1] * chances[number - size] for size in range(1, number + 1))
        chances.append(occasions / number * sum(terms))
    return sum(chances)


@dataclass(frozen=True, slots=True, eq=False)
class Calm:
    """One family's scores in a calm stretch that its detector was not fitted on.

    scores: (entities, windows) in [0, 1], by time, NaN where a window is not judged; notable: the same shape, whether
    a window holds what is worth telling; groups: per entity the number of the group whose incidents are one, the same
    numbers in all families. run: windows in a row that open an incident, None: as the budget says; hold: ticks for
    which one window that was strange enough counts as still strange: a detector that tells only what is new goes
    quiet while its episode lasts.
    """

    scores: Floats
    notable: Flags
    groups: Sequence[int]
    run: int | None = None
    hold: int = 0

    def runs(self, budget: Budget) -> int:
        """Windows in a row that open an incident here."""
        return budget.run if self.run is None else self.run


@dataclass(frozen=True, slots=True)
class Threshold:
    """A family's threshold. low, high: its 90 % interval by resampling, widened to hold it; highest: calm score."""

    value: float
    low: float
    high: float
    highest: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """All families' thresholds and what is expected of them together. Rates are incidents of the tenant per calm week.

    exceedance: the share of calm windows above the threshold, alike in all families before the margin; rate: by the
    fit, margin included; aim: what the budget allows; seen: incidents that the thresholds would have opened in the
    stretch of `ticks`; tail: `seen` (the stretch is long enough to show it), `exponential` or `pareto`.
    """

    thresholds: Mapping[str, Threshold]
    exceedance: float
    rate: float
    aim: float
    seen: float
    ticks: float
    tail: str


@dataclass(frozen=True, slots=True, eq=False)
class _Marginal:
    """How surprising a level is in one family: -log(share of windows above it). levels and surprises ascend."""

    levels: Floats
    surprises: Floats
    shape: float
    scale: float

    def surprise(self, levels: Floats) -> Floats:
        """Of each level; NaN stays NaN."""
        within = np.interp(levels, self.levels, self.surprises)
        excess = np.maximum(levels - self.levels[-1], 0.0) / self.scale
        beyond = excess if self.shape < _FLAT else np.log1p(self.shape * excess) / self.shape
        return np.asarray(within + beyond)

    def level(self, surprise: float) -> float:
        """The level that is so surprising."""
        beyond = surprise - float(self.surprises[-1])
        if beyond <= 0:
            return float(np.interp(surprise, self.surprises, self.levels))
        excess = beyond if self.shape < _FLAT else math.expm1(min(self.shape * beyond, 700.0)) / self.shape
        return float(self.levels[-1] + self.scale * excess)


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    """How often, per tick, incidents open at a level, and how many at once. levels ascend; rates do not rise."""

    levels: Floats
    rates: Floats
    shape: float
    scale: float
    together: float

    def level(self, rate: float) -> float:
        """The lowest level at which at most `rate` open per tick; non-increasing in `rate`."""
        within = np.flatnonzero(self.rates <= rate)
        if len(within):
            return float(self.levels[within[0]])
        share = rate / self.rates[-1]
        if self.shape < _FLAT:
            return float(self.levels[-1] - self.scale * np.log(share))
        return float(self.levels[-1] + self.scale / self.shape * (share**-self.shape - 1))

    def rate(self, level: float) -> float:
        """Incidents per tick expected at `level`."""
        if level <= self.levels[-1]:
            return float(self.rates[np.searchsorted(self.levels, level)])
        excess = (level - self.levels[-1]) / self.scale
        if self.shape < _FLAT:
            return float(self.rates[-1] * np.exp(-excess))
        return float(self.rates[-1] * (1 + self.shape * excess) ** (-1 / self.shape))


@dataclass(frozen=True, slots=True, eq=False)
class _Runs:
    """One family on the axis -log(1 - score). lowest, notable: of each run, the second only where all are notable."""

    levels: Floats
    lowest: Floats
    notable: Floats
    groups: Sequence[int]
    hold: int


def refuse_short(family: str, scores: Floats) -> None:
    """Raise ModelError if the scores, (entities, windows), are too few to say what is rare in this family."""
    judged = int(np.isfinite(scores).sum())
    if judged < LEAST_WINDOWS:
        raise ModelError(
            f"{judged} calm windows of {family} to calibrate on; at least {LEAST_WINDOWS} are needed: "
            "train on a longer stretch"
        )


def debounced(scores: Floats, debounce: int, phases: int = 1) -> Floats:
    """The smallest of `debounce` scores, one tick apart, ending at each window; NaN where one of them is missing.

    scores: (entities, windows); phases: windows per tick. Shape: (entities, windows - (debounce - 1) * phases).
    """
    width = scores.shape[1] - (debounce - 1) * phases
    if width <= 0:
        return np.empty((scores.shape[0], 0))
    lowest = scores[:, :width].astype(np.float64)
    for step in range(1, debounce):
        np.minimum(lowest, scores[:, step * phases : step * phases + width], out=lowest)  # hands NaN on
    return lowest


def incidents(calm: Mapping[str, Calm], thresholds: Mapping[str, float], budget: Budget, phases: int = 1) -> float:
    """How many incidents the scores open at these thresholds, averaged over the phases of the tick."""
    above = []
    width = _width(calm, budget, phases)
    for family, of_family in calm.items():
        scores = np.where(of_family.notable, of_family.scores, np.nan)
        lowest = debounced(scores, of_family.runs(budget), phases)
        held = lowest[:, lowest.shape[1] - width :] > thresholds[family]
        above.append((_carried(held.astype(np.float64), of_family.hold, phases), of_family.groups))
    strand = _strand(_carried(_grouped(above), budget.reach, phases), phases)
    return float(_crossings(strand, np.array([0.5]))[0]) / phases


def calibrate(
    calm: Mapping[str, Calm],
    budget: Budget,
    *,
    phases: int = 1,
    caution: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
    least: Mapping[str, float] | None = None,
) -> Calibration:
    """The thresholds that together keep to `budget`, from all families' calm scores on one common axis of time.

    `phases` windows lie in one tick: closer windows than the watcher will score show the same process from more sides.
    `caution`: a threshold is this quantile of those of the resamples; `least`: by family, below which it is never set:
    what other platforms' calm has shown and this stretch may be too short to show. Raises ModelError: too few windows
    of a family, too few runs of all together, or families of different lengths.
    """
    runs = _runs(calm, budget, phases)
    marginals = {family: _marginal(one.levels, phases) for family, one in runs.items()}
    everything, notable = _surprises(runs, _crossed(runs, marginals, phases), phases)
    curve = _curve(everything, notable, budget, phases)
    own = curve.level(budget.per_tick(curve.together))
    chance = np.random.default_rng(seed)
    drawn = []
    longest = max(of_family.runs(budget) + of_family.hold for of_family in calm.values())
    for _ in range(resamples):
        moments = _moments(everything, 4 * longest * phases, chance)
        one = _curve(everything[:, moments], notable[:, moments], budget, phases)
        drawn.append(one.level(budget.per_tick(one.together)))
    level = max(own, float(np.quantile(drawn, caution)))
    low, high = np.quantile([own, *drawn], [0.05, 0.95])
    thresholds = {
        family: Threshold(
            value=max(_score(marginal.level(level)), (least or {}).get(family, 0.0)),
            low=_score(marginal.level(min(low, level))),
            high=_score(marginal.level(max(high, level))),
            highest=_score(float(np.nanmax(runs[family].levels))),
        )
        for family, marginal in marginals.items()
    }
    return Calibration(
        thresholds=thresholds,
        exceedance=math.exp(-level),
        rate=curve.rate(level) * budget.week_seconds / budget.tick_seconds,
        aim=budget.per_week(curve.together),
        seen=incidents(calm, {family: threshold.value for family, threshold in thresholds.items()}, budget, phases),
        ticks=everything.shape[1] / phases,
        tail="seen" if level <= curve.levels[-1] else "pareto" if curve.shape >= _FLAT else "exponential",
    )


def _width(calm: Mapping[str, Calm], budget: Budget, phases: int) -> int:
    """The windows at which a run of every family can end: the last so many."""
    return min(max(0, int(each.scores.shape[1]) - (each.runs(budget) - 1) * phases) for each in calm.values())


def _runs(calm: Mapping[str, Calm], budget: Budget, phases: int) -> dict[str, _Runs]:
    if len({of_family.scores.shape[1] for of_family in calm.values()}) != 1:
        raise ModelError("the families' calm scores must cover the same windows, and there must be some")
    runs, width = {}, _width(calm, budget, phases)
    for family, of_family in calm.items():
        refuse_short(family, of_family.scores)
        levels, run = -np.log1p(-np.clip(of_family.scores, 0.0, 1.0 - 1e-15)), of_family.runs(budget)
        both = (debounced(each, run, phases) for each in (levels, np.where(of_family.notable, levels, np.nan)))
        lowest, notable = (each[:, each.shape[1] - width :] for each in both)
        runs[family] = _Runs(levels, lowest, notable, of_family.groups, of_family.hold)
    if (whole := sum(int(np.isfinite(one.lowest).sum()) for one in runs.values())) < LEAST_WINDOWS:
        raise ModelError(
            f"{whole} calm runs of {budget.run} windows to calibrate on; at least {LEAST_WINDOWS} are needed: "
            "train on a longer stretch"
        )
    return runs


def _surprises(
    runs: Mapping[str, _Runs], crossed: Mapping[str, tuple[_Marginal, _Marginal]], phases: int
) -> tuple[Floats, Floats]:
    """Per group the most surprising run, (groups, windows): of all runs, and of those that are notable throughout."""

    def held(family: str, lowest: Floats) -> tuple[Floats, Sequence[int]]:
        one, halves = runs[family], np.array_split(lowest, 2, axis=1)
        surprise = np.hstack([by.surprise(half) for by, half in zip(crossed[family], halves, strict=True)])
        if one.hold:
            surprise = _carried(np.where(np.isnan(surprise), -np.inf, surprise), one.hold, phases)
        return surprise, one.groups

    everything = [held(family, one.lowest) for family, one in runs.items()]
    notable = [held(family, one.notable) for family, one in runs.items()]
    return _grouped(everything), _grouped(notable)


def _crossed(
    runs: Mapping[str, _Runs], marginals: Mapping[str, _Marginal], phases: int
) -> dict[str, tuple[_Marginal, _Marginal]]:
    """By which to tell how surprising the first half's levels are, and the second's: each by the other half.

    A tail fitted to a stretch fits that stretch's own extremes: of many families, some will be exceeded soon. Families
    with too few windows for that are told by all of theirs.
    """
    found = {}
    for family, one in runs.items():
        halves = np.array_split(one.levels, 2, axis=1)
        enough = all(np.isfinite(half).sum() >= CROSSED_WINDOWS * phases for half in halves)
        first, second = (_marginal(half, phases) for half in halves) if enough else (marginals[family],) * 2
        found[family] = (second, first)
    return found


def _score(level: float) -> float:
    return float(-np.expm1(-min(level, _HIGHEST)))


def _grouped(parts: Sequence[tuple[Floats, Sequence[int]]]) -> Floats:
    """Per group of related entities the largest value, (groups, windows); -inf where there is none."""
    places = {group: place for place, group in enumerate(sorted({group for _, groups in parts for group in groups}))}
    found = np.full((len(places), parts[0][0].shape[1]), -np.inf)
    for values, groups in parts:
        for row, group in zip(values, groups, strict=True):
            np.fmax(found[places[group]], row, out=found[places[group]])
    return found


def _carried(values: Floats, reach: int, phases: int) -> Floats:
    """The largest value of the last `reach` ticks and now: what comes up again within it is no rise."""
    carried, covered = values, 0
    while covered < reach:
        step = min(covered + 1, reach - covered)
        later = carried.copy()
        np.maximum(later[:, step * phases :], carried[:, : -step * phases], out=later[:, step * phases :])
        carried, covered = later, covered + step
    return carried


def _strand(rows: Floats, phases: int) -> Floats:
    """Every group's and phase's windows on one line, apart from each other."""
    parts = [row[phase::phases] for row in rows for phase in range(phases)]
    gap = np.array([-np.inf])
    return np.concatenate([piece for part in parts for piece in (gap, part)] + [gap])


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


def _begin(strand: Floats, finite: Floats, begins: Sequence[float] = TAIL_BEGINS) -> tuple[float, bool]:
    """Where the tail begins, and whether it holds enough peaks to speak for itself."""
    quantiles = np.quantile(finite, begins)
    enough = np.flatnonzero(_crossings(strand, quantiles) >= PEAKS_FOR_TAIL)
    return float(quantiles[enough[0]] if len(enough) else quantiles[-1]), bool(len(enough))


def _marginal(levels: Floats, phases: int) -> _Marginal:
    finite = levels[np.isfinite(levels)]
    strand = _strand(np.where(np.isnan(levels), -np.inf, levels), phases)
    begin, _ = _begin(strand, finite, OWN_TAIL_BEGINS if len(finite) >= CROSSED_WINDOWS * phases else TAIL_BEGINS)
    shares = np.append(np.linspace(0.0, 1.0, 200, endpoint=False), float(np.mean(finite <= begin)))
    shares = np.unique(shares[shares <= shares[-1]])
    steps = np.append(np.quantile(finite, shares[:-1]), begin)
    last = np.append(np.flatnonzero(np.diff(steps) > 0), len(steps) - 1)  # of equal levels the largest share is below
    above = np.maximum(1.0 - shares[last], 1.0 / (len(finite) + 1))
    shape, scale = _tail(_peaks(strand, begin) - begin, finite)
    return _Marginal(steps[last], -np.log(above), shape, scale)


def _curve(everything: Floats, notable: Floats, budget: Budget, phases: int) -> _Curve:
    """Of what is notable, where that is enough to show a tail; else of everything: no less is ever opened by it."""
    everything, notable = (_carried(rows, budget.reach, phases) for rows in (everything, notable))
    rows = notable
    strand, finite = _strand(rows, phases), rows[np.isfinite(rows)]
    begin, enough = _begin(strand, finite) if len(finite) else (0.0, False)
    if not enough:
        rows = everything
        strand, finite = _strand(rows, phases), rows[np.isfinite(rows)]
        begin, _ = _begin(strand, finite)
    below = np.unique(np.quantile(finite, np.linspace(0.0, 1.0, 101)))
    levels = np.append(below[below < begin], begin)
    rates = np.maximum.accumulate(_crossings(strand, levels)[::-1])[::-1] / rows.shape[1]
    shape, scale = _tail(_peaks(strand, begin) - begin, finite)
    # On the axis of surprise a run as dependent as one window, and families as one, have a tail of width 1. Common
    # shocks are so, and rarer than the noise that fills the fit: no narrower tail is believed.
    unseen = 1 / rows.shape[1]  # is not never
    return _Curve(levels, np.maximum(rates, unseen), shape, max(scale, NARROWEST), _together(rows, finite, phases))


def _together(rows: Floats, finite: Floats, phases: int) -> float:
    """How many groups open an incident on one occasion, at the highest level with enough occasions to tell."""
    merged = _strand(rows.max(axis=0, keepdims=True), phases)
    levels = np.quantile(finite, (*TAIL_BEGINS_TOGETHER, *TAIL_BEGINS))
    occasions = _crossings(merged, levels)
    enough = np.flatnonzero(occasions >= OCCASIONS)
    if not len(enough):
        return 1.0
    place = enough[0]
    return max(1.0, float(_crossings(_strand(rows, phases), levels[place : place + 1])[0] / occasions[place]))


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


def _moments(rows: Floats, block: int, chance: np.random.Generator) -> npt.NDArray[np.int64]:
    """Blocks of time drawn with replacement, wrapping around: places in rows, the same for all of them."""
    width = rows.shape[1]
    length = max(1, min(block, width // 3))
    while True:
        starts = chance.integers(0, width, size=-(-width // length))
        moments = (starts[:, None] + np.arange(length)[None, :]).ravel()[:width] % width
        if np.isfinite(rows[:, moments]).any():  # a draw without a single whole run says nothing
            return np.asarray(moments, dtype=np.int64)

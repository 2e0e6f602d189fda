"""Drift: whether a view's windows, or a model's scores, are still what they were. Pure; the season is drift_days.py's.

A feature drifts where its day lies farther from the reference's days than these lie from one another (Student's t for
one further observation), with the family-wise error over the view's features held by Holm (A simple sequentially
rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979; valid under any dependence, and features
of one machine do depend), and where the difference is large enough to matter to a model that has learned a whole week.
What goes on growing as it grew is told as growth. Too little to judge by is said, and is no alarm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from ml.drift_days import WEEK, Aspect, Daily, Hourly, daily

Floats = npt.NDArray[np.float64]

#: The chance that a check of a view without drift says drift. Six checks share most of a day and a half.
ALPHA = 1e-3
#: Smaller differences are no drift, however sure they are: half of a feature's range in a week, half again as much
#: spread, a fifth of the windows.
LEAST = {Aspect.LEVEL: 0.5, Aspect.SPREAD: float(np.log(1.5)), Aspect.MISSING: 0.2}
#: Days never lie nearer to one another than this: a feature that was constant may move a little.
CLOSEST = {Aspect.LEVEL: 0.05, Aspect.SPREAD: 0.05, Aspect.MISSING: 0.02}
#: Days that are longer away than so many of their spreads count as if they were not.
WINSOR = 4.0
#: A trend needs so many days, and to be so sure (Mann and Kendall), to be called growth.
TREND_DAYS, TREND_SURE = 14, 1e-3
#: A line drawn on beyond its days is so much less sure than their middle.
BEYOND = 1.1


class Verdict(StrEnum):
    """unjudged: too little to judge by; growth: it goes on as it grew before."""

    STEADY = "steady"
    DRIFT = "drift"
    GROWTH = "growth"
    UNJUDGED = "unjudged"


@dataclass(frozen=True, slots=True)
class Shift:
    """One aspect of one feature. statistic: t; effect: as the aspect has it (see Aspect); p; q: after Holm, over the
    view; days: of the reference that could be used. NaN where it could not be judged, and `told` says why.
    """

    feature: str
    aspect: Aspect
    statistic: float
    effect: float
    p: float
    q: float
    verdict: Verdict
    days: int
    told: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A view. verdict: drift if any shift is one; else growth, else steady; unjudged if nothing could be judged."""

    verdict: Verdict
    shifts: tuple[Shift, ...]

    @property
    def drifted(self) -> tuple[Shift, ...]:
        """What has drifted, the surest first."""
        return tuple(sorted((s for s in self.shifts if s.verdict is Verdict.DRIFT), key=lambda s: (s.q, s.p)))


@dataclass(frozen=True, slots=True)
class _Test:
    """What a feature's days say. grown: of what follows a trend, how far it lies from the reference's middle."""

    statistic: float
    effect: float
    p: float
    grown: float
    days: int


def judge(told: Hourly, names: Sequence[str], floors: Sequence[float]) -> Judged:
    """Compare day 0 with the others. names, floors: (features,), floors: the smallest differences worth noticing.

    A reference with fewer days than a week is too short to know a season: unjudged; so is an empty current day.
    """
    if told.mean.size == 0 or not np.isfinite(told.mean[:, 0]).any():
        return unjudged(names, "the current day has no window with a number")
    if told.mean.shape[1] <= WEEK:
        return unjudged(names, f"the reference has {told.mean.shape[1] - 1} days; a season is {WEEK}")
    found = daily(told, np.asarray(floors, np.float64))
    tests = list(_tests(found, names))
    judged = [test for _, _, test in tests if isinstance(test, _Test)]
    adjusted = iter(holm([test.p for test in judged]))
    shifts = [
        _shift(name, aspect, test, next(adjusted)) if isinstance(test, _Test) else _unknown(name, aspect, test)
        for name, aspect, test in tests
    ]
    return Judged(worst([shift.verdict for shift in shifts]), tuple(shifts))


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Of several, the one that stands for all."""
    order = (Verdict.DRIFT, Verdict.GROWTH, Verdict.STEADY)
    return next((verdict for verdict in order if verdict in verdicts), Verdict.UNJUDGED)


def holm(chances: Sequence[float]) -> list[float]:
    """p-values adjusted for being several: reject those that are at most the family-wise error."""
    order = np.argsort(chances, kind="stable")
    adjusted = np.empty(len(chances))
    highest = 0.0
    for rank, place in enumerate(order.tolist()):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[place]))
        adjusted[place] = highest
    return [float(each) for each in adjusted]


def unjudged(names: Sequence[str], why: str) -> Judged:
    """Every aspect of these could not be judged, and why."""
    return Judged(Verdict.UNJUDGED, tuple(_unknown(name, aspect, why) for name in names for aspect in Aspect))


def _unknown(name: str, aspect: Aspect, why: str) -> Shift:
    none = float("nan")
    return Shift(name, aspect, none, none, none, none, Verdict.UNJUDGED, 0, why)


def _tests(found: Daily, names: Sequence[str]) -> Iterator[tuple[str, Aspect, _Test | str]]:
    for place, name in enumerate(names):
        for aspect in Aspect:
            column = found.of[aspect][:, place]
            yield name, aspect, _test(column, aspect, found.wider)


def _test(column: Floats, aspect: Aspect, wider: float) -> _Test | str:
    """column: (days,), the current first. A text: why it cannot be judged."""
    ages = np.flatnonzero(np.isfinite(column[1:])) + 1
    if len(ages) < WEEK:
        return f"the reference has {len(ages)} days with numbers of it; a season is {WEEK}"
    if not np.isfinite(column[0]):
        return "the current day has too few numbers of it"
    past, now = column[ages], float(column[0])
    flat = _against(now, float(np.median(past)), past - np.median(past), aspect, wider, len(ages) - 1)
    slope = _trend(ages, past)
    if slope is None:
        return _Test(*flat, 0.0, len(ages))
    start = float(np.median(past + slope * ages))  # where the trend stands today
    along = _against(now, start, past + slope * ages - start, aspect, wider * BEYOND, len(ages) - 2)
    return _Test(*along, flat[1], len(ages))


def _against(
    now: float, expected: float, off: Floats, aspect: Aspect, wider: float, freedom: int
) -> tuple[float, float, float]:
    """t, effect and two-sided p of one further day."""
    from scipy.stats import t as student  # a second of import that only a check pays

    robust = 1.4826 * float(np.median(np.abs(off)))
    kept = np.clip(off, -WINSOR * robust, WINSOR * robust) if robust > 0 else off
    spread = max(float(np.sqrt(np.sum(kept**2) / freedom)), CLOSEST[aspect])
    statistic = (now - expected) / (spread * wider * np.sqrt(1 + 1 / len(off)))
    return float(statistic), now - expected, float(2 * student.sf(abs(statistic), freedom))


def _trend(ages: npt.NDArray[np.int64], past: Floats) -> float | None:
    """How much a day adds (Theil and Sen), where that is sure (Mann and Kendall); None: there is no trend."""
    if len(ages) < TREND_DAYS:
        return None
    from scipy.stats import kendalltau, theilslopes

    if not kendalltau(-ages, past).pvalue < TREND_SURE:
        return None
    return float(theilslopes(past, -ages)[0])


def _shift(name: str, aspect: Aspect, test: _Test, q: float) -> Shift:
    least = LEAST[aspect]
    told = Shift(name, aspect, test.statistic, test.effect, test.p, q, Verdict.STEADY, test.days, "")
    if q <= ALPHA and abs(test.effect) >= least:
        return replace(told, verdict=Verdict.DRIFT, told=_words(aspect, test.effect))
    if abs(test.grown) >= least:
        grown = f"{_words(aspect, test.grown)} against the reference's middle, as the trend through it foretold"
        return replace(told, verdict=Verdict.GROWTH, told=grown)
    return told


def _words(aspect: Aspect, effect: float) -> str:
    match aspect:
        case Aspect.LEVEL:
            return f"{effect:+.2f} of its range in a week"
        case Aspect.SPREAD:
            return f"{np.exp(effect):.2f} times as spread around its season"
        case Aspect.MISSING:
            return f"{effect:+.0%} of its windows without a number"

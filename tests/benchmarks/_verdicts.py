"""ml/ab_test.py and ml/ab_split.py for many made validations at once, asked after every observation.

The gambler's wealth is the product's own (ml/betting.py); how guards and effect make a verdict is written here a second
time, by columns, and `agrees` holds it against the product's own `judge` on some of the replicates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from ml.ab_plan import Answer, Guard, Plan
from ml.ab_split import RANGE, differences
from ml.ab_test import DAYS_PER_WEEK, FEWER, GUARDS, LATENCY, Calm, Cost, Observed, Outcome, judge
from ml.betting import log_wealth, signs_needed
from tests.benchmarks._streams import DAY, HOURS, Stream

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Said = npt.NDArray[np.int8]
START = datetime(2026, 1, 5, tzinfo=UTC)
#: What is said when the effect is known to be too small to matter, either way.
FUTILE = 2


def plan_of(tenants: int, days: int, guards: tuple[Guard, ...] = GUARDS) -> Plan:
    """The product's defaults, for so many tenants and days."""
    names = tuple(f"tenant-{number}" for number in range(tenants))
    return Plan("bench", "1", "2", names, START, guards, longest=timedelta(days=days))


def blocks(stream: Stream) -> Floats:
    """(replicates, bursts x tenants): the mean of what lies in a burst of HOURS, as the bursts end; NaN: nothing."""
    made, hours, tenants, _ = stream.items.shape
    held = stream.items.reshape(made, hours // HOURS, HOURS, tenants, -1)
    there = ~np.isnan(held)
    count = there.sum(axis=(2, 4))
    total = np.nan_to_num(held).sum(axis=(2, 4))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(made, -1)


def singles(stream: Stream) -> Floats:
    """(replicates, n): each incident and anomaly by itself, in the order of time; NaN: none any more."""
    held = stream.items.reshape(len(stream.items), -1)
    none = np.isnan(held)
    ordered = np.take_along_axis(held, np.argsort(none, axis=1, kind="stable"), axis=1)
    return ordered[:, : int((~none).sum(axis=1).max())]


def paired(plan: Plan, stream: Stream) -> Said:
    """What is said as each burst of each tenant ends: +1 better, -1 worse, FUTILE, or 0. None here is deaf."""
    tenants = len(plan.tenants)
    tolerated = {guard.name: guard.tolerance for guard in plan.guards}
    least = {guard.name: guard.least for guard in plan.guards}
    values, half = blocks(stream), plan.alpha_of_guard / 2
    events = values.shape[1]
    pages = np.full((len(values), events // tenants, tenants), np.nan)
    pages[:, DAY // HOURS - 1 :: DAY // HOURS] = np.sign(stream.days)
    pages = pages.reshape(len(values), events)
    may = tolerated["pages"] / DAYS_PER_WEEK
    broken = beaten(pages, may, half)
    slow, quick = _median(stream.ratios, tolerated["latency"], half)
    broken |= slow
    of_tenants, share = -values.reshape(len(values), -1, tenants), half / tenants
    broken |= beaten(of_tenants, tolerated["fairness"], share, axis=1).reshape(len(values), events)
    fair = _current(~beaten(of_tenants, 0.0, share, axis=1)).reshape(len(values), events)
    enough = np.cumsum(~np.isnan(pages), axis=1) >= least["pages"]
    fewer = _mean(pages) <= -FEWER / DAYS_PER_WEEK
    kept = quick & fair & ((enough & (_mean(pages) <= may)) | beaten(-pages, -may, half))
    found = beaten(values, -plan.loss, plan.alpha_of_effect / 2)
    spared = kept & fewer & beaten(-pages, 0.0, plan.alpha_of_pages) & found
    return _said(plan, values, broken, kept, plan.alpha_of_effect / 2, fewer=fewer, spared=spared)


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Made units of the split form: (replicates, units) each; tenants: (units,)."""

    outcome: Floats
    paged: Floats
    slow: Floats
    challenger: Flags
    tenants: npt.NDArray[np.int64]


def split(plan: Plan, units: Units) -> Said:
    """What is said after each unit."""
    tolerated = {guard.name: guard.tolerance / RANGE for guard in plan.guards}
    least = {guard.name: guard.least for guard in plan.guards}
    half = plan.alpha_of_guard / 2
    served = differences(units.outcome, units.challenger, units.tenants)
    broken, calm = np.zeros(served.shape, bool), np.ones(served.shape, bool)
    for name, harm in (("paged", units.paged), ("slow", units.slow)):
        more = differences(harm, units.challenger, units.tenants)
        broken |= beaten(more, tolerated[name], half)
        calm &= _mean(more) <= tolerated[name]
        calm[:, : least[name] - 1] = False
    for tenant in range(len(plan.tenants)):
        of = np.flatnonzero(units.tenants == tenant)
        broken[:, of] |= beaten(-served[:, of], tolerated["fairness"], half / len(plan.tenants))
        harmless = np.ones(served.shape, np.int8)
        harmless[:, of] = np.where(beaten(-served[:, of], 0.0, half / len(plan.tenants)), -1, 2)
        calm &= _carried(harmless)
    return _said(plan, served, broken, calm, plan.alpha_of_effect / 2, scale=RANGE)


def beaten(values: Floats, mean: float, alpha: float, axis: int = -1) -> Flags:
    """Where the gambler shows that the mean is above `mean`; NaN is no value."""
    turned = np.moveaxis(np.where(np.isnan(values), mean, values), axis, -1)
    return np.moveaxis(log_wealth(turned, mean) >= -math.log(alpha), -1, axis)


def _current(fair: Flags) -> Flags:
    """(replicates, bursts, tenants): whether all tenants are served fairly as each of them ends its burst, by the last
    burst that each has ended.
    """
    before = np.concatenate([np.ones_like(fair[:, :1]), fair[:, :-1]], axis=1)
    held = np.empty_like(fair)
    for tenant in range(fair.shape[2]):
        held[:, :, tenant] = fair[:, :, : tenant + 1].all(axis=2) & before[:, :, tenant + 1 :].all(axis=2)
    return held


def _carried(marks: Said) -> Flags:
    """(replicates, units), 2 fair or -1 unfair at a tenant's units, 1 at others: the last that was said, carried on."""
    place = np.where(marks == 1, -1, np.arange(marks.shape[1]))
    last = np.maximum.accumulate(place, axis=1)
    return np.asarray((last < 0) | (np.take_along_axis(marks, np.maximum(last, 0), axis=1) != -1))


def _said(
    plan: Plan,
    values: Floats,
    broken: Flags,
    allowed: Flags,
    alpha: float,
    scale: float = 1.0,
    fewer: Flags | bool = False,
    spared: Flags | bool = False,
) -> Said:
    least = plan.minimum_effect / scale
    small = beaten(-values, -least, alpha) & beaten(values, -least, alpha) & ~np.asarray(fewer)
    worse = broken | beaten(-values, 0.0, alpha)
    better = (beaten(values, 0.0, alpha) & (_mean(values) >= least) & allowed) | spared
    return np.where(worse, -1, np.where(better, 1, np.where(small, FUTILE, 0))).astype(np.int8)


def _mean(values: Floats) -> Floats:
    return np.asarray(np.nancumsum(values, axis=1) / np.maximum(np.cumsum(~np.isnan(values), axis=1), 1))


def _median(ratios: Floats, tolerance: float, alpha: float) -> tuple[Flags, Flags]:
    """Whether the median is shown to be above, and whether it is shown not to be."""
    made, hours, tenants = ratios.shape
    values = np.median(ratios.reshape(made, hours // HOURS, HOURS, tenants), axis=2).reshape(made, -1)
    above = np.cumsum(values > tolerance, axis=1)
    count = np.arange(1, above.shape[1] + 1)
    needed = signs_needed(above.shape[1], alpha)[1:]
    return above >= needed, count - above >= needed


def agrees(plan: Plan, stream: Stream, replicate: int, days: list[int]) -> int:
    """At how many of these days' ends the product says the same of one replicate."""
    said = paired(plan, stream)[replicate]
    same = 0
    for day in days:
        observed = _observed(stream, replicate, day)
        answer = judge(plan, observed)
        mine = int(said[day * (DAY // HOURS) * len(plan.tenants) - 1])
        theirs = {Answer.BETTER: 1, Answer.WORSE: -1, Answer.INCONCLUSIVE: 0}[answer.answer]
        if answer.answer is Answer.INCONCLUSIVE and max(answer.effect.high, -answer.effect.low) < plan.minimum_effect:
            theirs = FUTILE
        same += mine == theirs
    return same


def _observed(stream: Stream, replicate: int, days: int) -> Observed:
    outcomes, calm, costs = [], [], []
    for hour, tenant, number in zip(*np.nonzero(~np.isnan(stream.items[replicate, : days * DAY])), strict=True):
        value = stream.items[replicate, hour, tenant, number]
        when = START + timedelta(hours=int(hour))
        name = f"{hour}-{tenant}-{number}"
        outcomes.append(Outcome(when, name, f"tenant-{tenant}", bool(value < 0), bool(value > 0)))
    for day, tenant in zip(*np.nonzero(~np.isnan(stream.days[replicate, :days])), strict=True):
        more = int(stream.days[replicate, day, tenant])
        when = START + timedelta(days=int(day))
        calm.append(Calm(when, f"c{day}-{tenant}", f"tenant-{tenant}", 86400.0, max(-more, 0), max(more, 0)))
    for hour in range(days * DAY):
        when = START + timedelta(hours=hour)
        for tenant, ratio in enumerate(stream.ratios[replicate, hour].tolist()):
            costs.append(Cost(when, f"t{hour}-{tenant}", f"tenant-{tenant}", 1.0, ratio, 100.0, 100.0))
    return Observed(START + timedelta(days=days), outcomes, calm, costs)


def median_shown(ratios: Floats, plan: Plan) -> Flags:
    """Of which replicates the latency is shown broken at any time."""
    return np.asarray(_median(ratios, slowest(plan), plan.alpha_of_guard / 2)[0].any(axis=1))


def slowest(plan: Plan) -> float:
    """How many times as long as the champion a challenger may take."""
    return next(guard.tolerance for guard in plan.guards if guard.name == LATENCY)

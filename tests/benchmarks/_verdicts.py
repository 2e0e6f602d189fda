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

from ml.ab_calm import Calm
from ml.ab_plan import Answer, Guard, Plan
from ml.ab_split import RANGE, differences
from ml.ab_test import DAYS_PER_WEEK, FEWER, GUARDS, LATENCY, STANDING, Cost, Observed, Outcome, judge
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
    return Plan("bench", "1", "2", names, START, guards, longest=timedelta(days=days), standing=STANDING)


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
    every, begun, stood = days_of(stream)
    told, tested = (_at_day_ends(np.sign(each), events) for each in (every, begun))
    may = tolerated["pages"] / DAYS_PER_WEEK
    broken = beaten(tested, may, half)
    slow, quick = _median(stream.ratios, tolerated["latency"], half)
    broken |= slow
    of_tenants, share = -values.reshape(len(values), -1, tenants), half / tenants
    broken |= beaten(of_tenants, tolerated["fairness"], share, axis=1).reshape(len(values), events)
    fair = _current(~beaten(of_tenants, 0.0, share, axis=1)).reshape(len(values), events)
    enough = np.cumsum(~np.isnan(tested), axis=1) >= least["pages"]
    fewer = _mean(told) <= -FEWER / DAYS_PER_WEEK
    # By what was estimated and by what was tested: as `more_pages` has both in one interval.
    kept = quick & fair & (_mean(told) <= may) & (enough | beaten(-tested, -may, half))
    found = beaten(values, -plan.loss, plan.alpha_of_effect / 2)
    behind, ahead = (_since_day_ends((side * stood >= plan.standing).sum(axis=2), events) for side in (-1, 1))
    broken |= 2 * ahead >= tenants
    kept &= ahead == 0
    spared = kept & fewer & (beaten(-tested, 0.0, plan.alpha_of_pages) | (2 * behind >= tenants)) & found
    clear = np.where(blurred(stream), np.nan, values)
    return _said(plan, clear, broken, kept, plan.alpha_of_effect / 2, fewer=fewer, spared=spared)


def days_of(stream: Stream) -> tuple[Floats, Floats, Floats]:
    """(replicates, days, tenants) each: pages more, each burst in which one still holds for a page; those that began;
    and on how many calm days up to this one the same side alone has stood, those of the champion below 0. NaN: no calm.
    """
    still = _held(stream, HOURS)
    made, _, tenants = stream.days.shape
    more = (still[0].astype(int) - still[1]).reshape(made, -1, DAY // HOURS, tenants).sum(axis=2)
    sides = _held(stream, DAY)
    side = np.where(np.isnan(stream.days), np.nan, sides[0].astype(float) - sides[1])
    runs, run = np.zeros(side.shape), np.zeros((made, tenants))
    for day in range(side.shape[1]):
        today = side[:, day]
        grown = np.where(np.sign(run) == today, run + today, today)
        run = np.where(np.isnan(today), run, grown)
        runs[:, day] = run
    return stream.days + more, stream.days, runs


def blurred(stream: Stream) -> Flags:
    """(replicates, bursts x tenants): in which one side alone stands in alarm, of calm days."""
    one, other = _held(stream, HOURS)
    calm = np.repeat(~np.isnan(stream.days), DAY // HOURS, axis=1)
    return np.asarray(((one != other) & calm).reshape(len(one), -1))


def _held(stream: Stream, hours: int) -> Flags:
    """(2, replicates, stretches of so many hours, tenants): in which an alarm holds that had begun before."""
    sides, made, whole, tenants = stream.still.shape
    return np.asarray(stream.still.reshape(sides, made, whole // hours, hours, tenants).any(axis=3))


def _at_day_ends(days: Floats, events: int) -> Floats:
    """(replicates, bursts x tenants): what each day says as its last burst ends; NaN before."""
    made, _, tenants = days.shape
    told = np.full((made, events // tenants, tenants), np.nan)
    told[:, DAY // HOURS - 1 :: DAY // HOURS] = days
    return told.reshape(made, events)


def _since_day_ends(counts: npt.NDArray[np.int64], events: int) -> npt.NDArray[np.int64]:
    """(replicates, bursts x tenants): what was counted at the end of the last day that is over for all tenants."""
    per_day = events // counts.shape[1]
    late = np.repeat(counts, per_day, axis=1)
    last = np.zeros_like(late)
    last[:, per_day - 1 :] = late[:, : events - per_day + 1]
    return last


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
    still = _held(stream, HOURS)[:, replicate].astype(int)
    for day, tenant in zip(*np.nonzero(~np.isnan(stream.days[replicate, :days])), strict=True):
        begun = int(stream.days[replicate, day, tenant])
        for burst in range(day * (DAY // HOURS), (day + 1) * (DAY // HOURS)):
            its, his = still[:, burst, tenant].tolist()
            pages = max(-begun, 0) + his, max(begun, 0) + its
            when = START + timedelta(hours=burst * HOURS)
            calm.append(Calm(when, f"c{burst}-{tenant}", f"tenant-{tenant}", HOURS * 3600.0, *pages, his, its))
            begun = 0
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

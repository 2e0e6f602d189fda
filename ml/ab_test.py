"""Champion and challenger on the same stream: the paired validation, whose unit is the incident.

Both score the same windows in shadow. Of each incident, and of each anomaly injected into a copy of the stream, it is
known which of the two found it: +1 the challenger alone, -1 the champion alone, 0 both or none. What happens to a
tenant within one burst may have one cause, so a burst is one value, the mean of its incidents, and it counts when it is
over; each tenant's bursts weigh alike, however large the tenant. If neither detector is better no value is expected to
lie on either side of 0 given those before it, whatever both find hard together: that is what ml/betting.py needs.
A champion that has got out of its page budget may find all there is: one that pages on fewer calm days, has found
anything, and of which no loss of recall is shown and a large one refuted, is better too.
Guards: calm days on which the challenger pages and the champion does not (per week, less the opposite), latency and
memory (the median of the bursts' ratios, by signs: no outlier weighs more than one), and no tenant loses recall.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import TypeVar

import numpy as np

from ml.ab_plan import Fewer, Guard, Guarded, Interval, Judged, Plan, Proof, Tally, conclude
from ml.betting import Floats, interval, median_interval
from tonewatch.errors import ModelError

PAGES, LATENCY, MEMORY, FAIRNESS = "pages", "latency", "memory", "fairness"
#: Recall that a challenger must be shown not to lose before fewer pages make it better: what no tenant may lose either.
LOSS = 0.15
#: Where a plan has too few bursts to refute that, so much may have to be, and never more.
MOST_LOSS = 0.35
#: The share of a plan's bursts after which a loss must be refutable: some hold no incident, and a look comes late.
_KEPT_BURSTS = 0.75
#: Calm days a week fewer that are worth a change: as many as are tolerated more.
FEWER = 0.5
#: Calm days a week more; times as long (forests of the same settings differ 1.6 times: a stream that has left one
#: behind is soon told apart by it, and slowly by one that knows it); times as much; of a tenant's recall.
GUARDS = (
    Guard(PAGES, 0.5, Proof.LIKELY, least=14),
    Guard(LATENCY, 2.0, Proof.SHOWN),
    Guard(MEMORY, 1.5, Proof.SHOWN),
    Guard(FAIRNESS, LOSS, Proof.HARMLESS),
)
#: A day of which less was calm says nothing of a calm day.
LEAST_CALM = 0.5
DAYS_PER_WEEK = 7


@dataclass(frozen=True, slots=True, order=True)
class Outcome:
    """An incident or an injected anomaly that began at `time`, and who found it."""

    time: datetime
    id: str
    tenant: str
    champion: bool
    challenger: bool
    injected: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Calm:
    """A calm stretch that began at `time`: pages that each would have sent. Raises ModelError: negative figures."""

    time: datetime
    id: str
    tenant: str
    seconds: float
    champion: int
    challenger: int

    def __post_init__(self) -> None:
        if not math.isfinite(self.seconds) or min(self.seconds, self.champion, self.challenger) < 0:
            raise ModelError(f"the calm stretch {self.id} has {self.seconds} s and pages below 0, or no numbers")


@dataclass(frozen=True, slots=True, order=True)
class Cost:
    """What scoring the same windows took each: seconds and MiB. Raises ModelError: not above 0 or no number."""

    time: datetime
    id: str
    tenant: str
    champion_s: float
    challenger_s: float
    champion_mb: float
    challenger_mb: float

    def __post_init__(self) -> None:
        given = (self.champion_s, self.challenger_s, self.champion_mb, self.challenger_mb)
        if not all(math.isfinite(each) and each > 0 for each in given):
            raise ModelError(f"the cost {self.id} is {given}: seconds and MiB are numbers above 0")


@dataclass(frozen=True, slots=True, order=True)
class Crash:
    """The challenger failed on windows of the tenant that the champion scored."""

    time: datetime
    id: str
    tenant: str
    error: str


@dataclass(frozen=True, slots=True)
class Observed:
    """All that was observed, in any order, by `until`."""

    until: datetime
    outcomes: Sequence[Outcome] = ()
    calm: Sequence[Calm] = ()
    costs: Sequence[Cost] = ()
    crashes: Sequence[Crash] = ()


Kind = TypeVar("Kind", Outcome, Calm, Cost, Crash)


def judge(plan: Plan, observed: Observed) -> Judged:
    """The answer at `observed.until`. Whoever stores a final one need not ask again.

    An id counts once: of several by that name the earliest. Raises ModelError: an observation that does not belong to
    the plan, or a guard that is not known here.
    """
    tally = Tally()
    outcomes = _counted(plan, observed.outcomes, observed.until, tally)
    calm = _counted(plan, observed.calm, observed.until, tally)
    costs = _counted(plan, observed.costs, observed.until, tally)
    crashes = _counted(plan, observed.crashes, observed.until, tally)
    bursts = _bursts(plan, outcomes, observed.until)
    guards = [_guarded(plan, guard, bursts, calm, costs, observed.until) for guard in plan.guards]
    failed = sorted({f"the challenger fails on tenant {each.tenant}: {each.error}" for each in crashes})
    effect = effect_of(np.array(list(bursts.values())), plan.alpha_of_effect)
    days = effect_of(_days(plan, calm, observed.until), 2 * plan.alpha_of_pages)
    fewer = Fewer(scaled(days, DAYS_PER_WEEK), FEWER, plan.loss, deaf=not any(each.challenger for each in outcomes))
    return conclude(plan, observed.until, effect, guards, failed, tally.ignored, fewer)


def refutable_loss(bursts: int, alpha: float) -> float:
    """The loss of recall that a plan of so many bursts asks to be refuted: LOSS, or where that would take more of them
    than there are, what bursts without any difference can refute. From LOSS to MOST_LOSS. alpha: of the effect.
    """
    alike = effect_of(np.zeros(math.floor(bursts * _KEPT_BURSTS)), alpha)
    return min(max(LOSS, math.ceil(-alike.low * 100) / 100), MOST_LOSS)


def effect_of(values: Floats, alpha: float) -> Interval:
    """The mean of the values in [-1, 1], and what is not refuted of it."""
    mean = float(values.mean()) if len(values) else 0.0
    return Interval(mean, *interval(values, alpha), len(values))


def _counted(plan: Plan, given: Iterable[Kind], until: datetime, tally: Tally) -> list[Kind]:
    return [each for each in sorted(given) if tally.take(plan, each, until)]


def _bursts(plan: Plan, outcomes: Sequence[Outcome], until: datetime) -> dict[tuple[int, str], float]:
    """(number, tenant) -> the mean difference of a burst that is over, in order of time."""
    over = plan.closed(plan.burst, until)
    differences: dict[tuple[int, str], list[int]] = defaultdict(list)
    for each in outcomes:
        number = plan.number(each.time, plan.burst)
        if number < over:
            differences[number, each.tenant].append(each.challenger - each.champion)
    return {key: sum(found) / len(found) for key, found in sorted(differences.items())}


def _guarded(
    plan: Plan,
    guard: Guard,
    bursts: dict[tuple[int, str], float],
    calm: Sequence[Calm],
    costs: Sequence[Cost],
    until: datetime,
) -> Guarded:
    match guard.name:
        case "pages":
            days = effect_of(_days(plan, calm, until), plan.alpha_of_guard)
            return guard.judged(scaled(days, DAYS_PER_WEEK))
        case "latency":
            seconds = [(each, each.challenger_s / each.champion_s) for each in costs]
            return guard.judged(_ratio(plan, seconds, until))
        case "memory":
            return guard.judged(_ratio(plan, [(each, each.challenger_mb / each.champion_mb) for each in costs], until))
        case "fairness":
            return fairness(plan, guard, [tenant for _, tenant in bursts], np.array(list(bursts.values())))
        case _:
            raise ModelError(f"{plan.name}: no guard {guard.name}; there are {PAGES}, {LATENCY}, {MEMORY}, {FAIRNESS}")


def _days(plan: Plan, calm: Sequence[Calm], until: datetime) -> Floats:
    """Of each tenant's calm day that is over: +1 only the challenger paged more, -1 the champion, 0 neither."""
    over = plan.closed(plan.day, until)
    days: dict[tuple[int, str], tuple[float, int]] = {}
    for each in calm:
        key = plan.number(each.time, plan.day), each.tenant
        seconds, more = days.get(key, (0.0, 0))
        days[key] = seconds + each.seconds, more + each.challenger - each.champion
    least = LEAST_CALM * (plan.day / timedelta(seconds=1))
    kept = [more for (number, _), (seconds, more) in sorted(days.items()) if number < over and seconds >= least]
    return np.sign(np.array(kept, np.float64))


def _ratio(plan: Plan, ratios: Sequence[tuple[Cost, float]], until: datetime) -> Interval:
    """The median ratio; what was measured within one burst is one value, their median."""
    over = plan.closed(plan.burst, until)
    bursts: dict[tuple[int, str], list[float]] = defaultdict(list)
    for cost, ratio in ratios:
        number = plan.number(cost.time, plan.burst)
        if number < over:
            bursts[number, cost.tenant].append(ratio)
    if not bursts:
        return Interval(1.0, 0.0, math.inf, 0)
    values = np.array([median(found) for found in bursts.values()])
    low, high = median_interval(values, plan.alpha_of_guard)
    return Interval(float(np.median(values)), max(low, 0.0), high, len(values))


def scaled(seen: Interval, by: float) -> Interval:
    """The same in another unit; a negative `by` turns it round."""
    low, high = sorted((seen.low * by, seen.high * by))
    return Interval(seen.estimate * by, low, high, seen.count)


def fairness(plan: Plan, guard: Guard, tenants: Sequence[str], values: Floats) -> Guarded:
    """What the tenant loses that loses most; values: of bursts or units, each of its tenant.

    Each tenant of the plan has an equal share of the guard's error.
    """
    worst: Guarded | None = None
    owners = np.array(tenants)
    for tenant in plan.tenants:
        seen = effect_of(values[owners == tenant], plan.alpha_of_guard / len(plan.tenants))
        judged = guard.judged(scaled(seen, -1.0))
        one = Guarded(guard, judged.state, judged.seen, tenant)
        if worst is None or one.seen.low > worst.seen.low:
            worst = one
    assert worst is not None  # noqa: S101 - a plan has tenants
    return worst

"""What an A/B validation is asked, and what it answers: the plan before it begins, and the verdict at any time after.

Every bound holds at all times at once (ml/betting.py), so that whoever looks may look after each observation and stop
at any. The chance of a wrong answer, `alpha`, is shared: half for the effect, both its sides; a quarter for guards that
are shown broken, equally; a quarter for pages that are shown to be fewer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from tonewatch.errors import ModelError


class Answer(StrEnum):
    """Of the challenger, against the champion."""

    BETTER = "better"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"


class Held(StrEnum):
    """Of a guard: shown to hold, shown to be broken, or neither."""

    HELD = "held"
    BROKEN = "broken"
    OPEN = "open"


class Proof(StrEnum):
    """What a guard asks of a challenger that is to be called better, besides that it is not shown to break it.

    shown: it is shown to keep to the tolerance; likely: its estimate does, where a proof would take a year (pages are
    few); harmless: no harm at all is shown, where even an estimate is chance (the smallest of many tenants).
    """

    SHOWN = "shown"
    LIKELY = "likely"
    HARMLESS = "harmless"


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and what is not refuted: `low` to `high` at all times at once. count: values that speak."""

    estimate: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.estimate:+.3f} ({self.low:+.3f} to {self.high:+.3f}, {self.count} counted)"


@dataclass(frozen=True, slots=True)
class Guard:
    """One thing that must not get worse. tolerance: by how much it may, in the guard's own unit.

    least: values from which on its estimate says anything.
    """

    name: str
    tolerance: float
    proof: Proof
    least: int = 0

    def judged(self, seen: Interval) -> Guarded:
        """By the interval of the harm."""
        if seen.low > self.tolerance:
            return Guarded(self, Held.BROKEN, seen)
        return Guarded(self, Held.HELD if seen.high <= self.tolerance else Held.OPEN, seen)


@dataclass(frozen=True, slots=True)
class Fewer:
    """Pages, of which a challenger may send fewer than a champion that has got out of its budget; per week.

    seen: how many more it sends, in the unit of the guard; least: by how many it must be fewer to be worth it; loss: of
    recall, what must be refuted before fewer pages count as better: a deaf one pages least. deaf: the challenger has
    found nothing yet; beside a champion that finds nothing either it would lose nothing.
    """

    seen: Interval
    least: float
    loss: float
    deaf: bool = False

    @property
    def likely(self) -> bool:
        """Whether it looks as if they were fewer: then it is too early to say that nothing is worth it."""
        return self.seen.count > 0 and self.seen.estimate <= -self.least

    def shown(self, effect: Interval) -> bool:
        """Whether they are, while it hears, no loss of recall is shown and one of `loss` is refuted."""
        return not self.deaf and self.likely and self.seen.high < 0 and effect.high >= 0 and effect.low > -self.loss


@dataclass(frozen=True, slots=True)
class Guarded:
    """A guard and how it stands. about: whom it concerns, where it is not everybody."""

    guard: Guard
    state: Held
    seen: Interval
    about: str = ""

    @property
    def allows(self) -> bool:
        """Whether a challenger may be called better."""
        if self.state is not Held.OPEN:
            return self.state is Held.HELD
        if self.guard.proof is Proof.LIKELY:
            return self.seen.count >= self.guard.least and self.seen.estimate <= self.guard.tolerance
        return self.guard.proof is Proof.HARMLESS and self.seen.low <= 0

    def __str__(self) -> str:
        of = f" ({self.about})" if self.about else ""
        return f"{self.guard.name}{of} {self.state}: {self.seen}, tolerated {self.guard.tolerance:+g}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared, how long, and what counts. Made once, before the first observation, and never changed.

    minimum_effect: of the difference in shares (0 to 1) below which a change is not worth it; longest: after that the
    answer is inconclusive; burst: what happens to a tenant within so long may have one cause, and counts as one; day:
    a day of the platform, which a demo compresses; loss: of recall, what must be refuted before fewer pages count as
    better. Raises ModelError: a plan that can answer nothing.
    """

    name: str
    champion: str
    challenger: str
    tenants: tuple[str, ...]
    started: datetime
    guards: tuple[Guard, ...]
    longest: timedelta = timedelta(days=28)
    minimum_effect: float = 0.05
    alpha: float = 0.05
    burst: timedelta = timedelta(hours=6)
    day: timedelta = timedelta(days=1)
    loss: float = 0.15

    def __post_init__(self) -> None:
        if self.champion == self.challenger:
            raise ModelError(f"{self.name}: {self.challenger} is the champion already; name another as challenger")
        if not self.tenants or len(set(self.tenants)) != len(self.tenants):
            raise ModelError(f"{self.name}: name each tenant once, and at least one")
        if self.started.tzinfo is None or not timedelta() < self.burst <= self.longest or self.day <= timedelta():
            raise ModelError(f"{self.name}: give the start with its zone, and 0 < burst <= longest, 0 < day")
        if not 0 < self.alpha < 1 or not 0 <= self.minimum_effect < 1 or not 0 < self.loss < 1:
            raise ModelError(f"{self.name}: alpha and loss lie between 0 and 1, the minimum effect from 0 up to 1")
        names = [guard.name for guard in self.guards]
        if len(set(names)) != len(names) or not all(math.isfinite(guard.tolerance) for guard in self.guards):
            raise ModelError(f"{self.name}: each guard once, with a finite tolerance")

    @property
    def alpha_of_effect(self) -> float:
        """Of both sides together."""
        return self.alpha / 2

    @property
    def alpha_of_guard(self) -> float:
        """Of each guard, both sides together. Only the side that shows it broken can make an answer wrong."""
        return self.alpha / 2 / max(len(self.guards), 1)

    @property
    def alpha_of_pages(self) -> float:
        """Of pages shown to be fewer, one side: what the guards' other sides leave."""
        return self.alpha / 4

    def number(self, time: datetime, length: timedelta) -> int:
        """Which stretch of that length, counted from the start, the time lies in; below 0: before the start."""
        return (time - self.started) // length

    def closed(self, length: timedelta, until: datetime) -> int:
        """How many of them are over."""
        return max(0, (until - self.started) // length)


@dataclass(frozen=True, slots=True)
class Judged:
    """The answer at `until`. final: nothing that may come changes it. reasons: in words, the weightiest first."""

    answer: Answer
    final: bool
    until: datetime
    effect: Interval
    guards: tuple[Guarded, ...]
    reasons: tuple[str, ...]
    ignored: int = 0


class Observation(Protocol):
    """Whatever is counted: once per id, of a tenant, at a time."""

    @property
    def id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def time(self) -> datetime: ...


@dataclass(slots=True)
class Tally:
    """What was given but does not count: said twice, before the start, or after the moment that is judged."""

    ignored: int = 0
    seen: set[str] = field(default_factory=set)

    def take(self, plan: Plan, one: Observation, until: datetime) -> bool:
        """Whether it counts. Raises ModelError: of a tenant that the plan does not name, or a time without zone."""
        if one.tenant not in plan.tenants or one.time.tzinfo is None:
            raise ModelError(f"{plan.name}: {one.id} is of tenant {one.tenant!r} at {one.time}; not in the plan")
        counts = one.id not in self.seen and plan.started <= one.time < until
        self.ignored += not counts
        self.seen.add(one.id)
        return counts


def conclude(
    plan: Plan,
    until: datetime,
    effect: Interval,
    guards: Sequence[Guarded],
    crashes: Sequence[str],
    ignored: int,
    fewer: Fewer | None = None,
) -> Judged:
    """The answer. crashes: what of the challenger ended where the champion worked, in words; fewer: pages, where what
    is compared sends any.
    """
    over = until - plan.started >= plan.longest
    broken = [str(each) for each in guards if each.state is Held.BROKEN]
    lacking = [str(each) for each in guards if not each.allows]
    told = f"effect {effect}"
    small = -plan.minimum_effect < effect.low and effect.high < plan.minimum_effect
    if crashes or broken or effect.high < 0:
        answer, final, reasons = Answer.WORSE, True, [*crashes, *broken, told]
    elif effect.low > 0 and effect.estimate >= plan.minimum_effect and not lacking:
        answer, final, reasons = Answer.BETTER, True, [told, *map(str, guards)]
    elif fewer is not None and fewer.shown(effect) and not lacking:
        why = f"it pages less: {fewer.seen} a week, and a loss of {fewer.loss:g} of recall is refuted"
        answer, final, reasons = Answer.BETTER, True, [why, told, *map(str, guards)]
    elif small and (fewer is None or not fewer.likely):
        why = f"either way it is less than {plan.minimum_effect:g}, below which a change is not worth it"
        answer, final, reasons = Answer.INCONCLUSIVE, True, [f"{told}: {why}"]
    else:
        when = f"the longest duration, {plan.longest}, is over" if over else "not enough is known yet"
        nothing = [] if effect.count else ["no burst of incidents or injected anomalies is over yet"]
        if effect.count and fewer is not None and fewer.deaf and fewer.likely:
            nothing = ["it pages less, and has found nothing yet: that a deaf one does, too"]
        answer, final, reasons = Answer.INCONCLUSIVE, over, [when, *nothing, told, *lacking]
    return Judged(answer, final, until, effect, tuple(guards), tuple(reasons), ignored)

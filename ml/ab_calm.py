"""Calm days of a paired validation: on which of them who would have paged, and who stood in alarm.

An alarm that stands for days is one cause. Were each of its days a page by itself, two equal models, each with such an
alarm now and then, would be called unequal by the one that one of them happened to have. So where a plan says after how
many days a standing alarm speaks (`Plan.standing`), a page counts on the day on which it begins; what happened while
one side alone stood in alarm says nothing of who finds more; and whoever alone has stood for so many calm days in half
of the tenants is judged by that: it is the one that the stream has left behind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from ml.ab_plan import Plan
from ml.betting import Floats
from tonewatch.errors import ModelError

#: A day of which less was calm says nothing of a calm day.
LEAST_CALM = 0.5


@dataclass(frozen=True, slots=True, order=True)
class Calm:
    """A calm stretch that began at `time`: pages that each would have sent, those that had begun before it and still
    held among them (`*_still`). Raises ModelError: negative figures, or more that held than there are.
    """

    time: datetime
    id: str
    tenant: str
    seconds: float
    champion: int
    challenger: int
    champion_still: int = 0
    challenger_still: int = 0

    def __post_init__(self) -> None:
        if not math.isfinite(self.seconds) or min(self.seconds, self.champion_still, self.challenger_still) < 0:
            raise ModelError(f"the calm stretch {self.id} has {self.seconds} s and pages below 0, or no numbers")
        if self.champion < self.champion_still or self.challenger < self.challenger_still:
            raise ModelError(f"the calm stretch {self.id} has fewer pages than hold in it, or below 0")

    @property
    def alone(self) -> int:
        """Who alone stands in alarm: +1 the challenger, -1 the champion, 0 neither or both."""
        return (self.challenger_still > 0) - (self.champion_still > 0)


@dataclass(slots=True)
class Day:
    """A tenant's day. more, begun: pages of the challenger less the champion's, all and those that began on it."""

    seconds: float = 0.0
    more: int = 0
    begun: int = 0
    champion_stood: bool = False
    challenger_stood: bool = False

    def add(self, each: Calm) -> None:
        """A calm stretch of it."""
        self.seconds += each.seconds
        self.more += each.challenger - each.champion
        self.begun += (each.challenger - each.challenger_still) - (each.champion - each.champion_still)
        self.champion_stood |= each.champion_still > 0
        self.challenger_stood |= each.challenger_still > 0


@dataclass(frozen=True, slots=True)
class Alone:
    """One who alone has stood in alarm on each of the last `days` calm days in so many tenants, of so many."""

    who: str
    days: int
    tenants: int
    of: int

    @property
    def in_half(self) -> bool:
        """Whether that is so in half of the tenants, so that it is judged by that."""
        return 0 < self.of <= 2 * self.tenants

    @property
    def told(self) -> str:
        """In words."""
        where = f"in {self.tenants} of {self.of} tenants"
        return f"the {self.who} alone has stood in alarm for {self.days} calm days {where}"


@dataclass(frozen=True, slots=True)
class Stood:
    """Both sides."""

    champion: Alone
    challenger: Alone


def days_of(plan: Plan, calm: Sequence[Calm], until: datetime) -> dict[tuple[int, str], Day]:
    """(number, tenant) -> each calm day that is over, in order of time."""
    over = plan.closed(plan.day, until)
    days: dict[tuple[int, str], Day] = {}
    for each in calm:
        days.setdefault((plan.number(each.time, plan.day), each.tenant), Day()).add(each)
    least = LEAST_CALM * (plan.day / timedelta(seconds=1))
    return {key: day for key, day in sorted(days.items()) if key[0] < over and day.seconds >= least}


def signs(plan: Plan, days: dict[tuple[int, str], Day]) -> tuple[Floats, Floats]:
    """Of each day: +1 the challenger paged more, -1 the champion, 0 neither. By all pages, and by what is tested: the
    same, or where standing alarms speak for themselves those that began on the day.
    """
    every = np.sign(np.array([day.more for day in days.values()], np.float64))
    begun = np.sign(np.array([day.begun for day in days.values()], np.float64))
    return every, begun if plan.standing else every


def blurred(plan: Plan, calm: Sequence[Calm]) -> set[tuple[int, str]]:
    """(number, tenant) of the bursts in which one side alone stood in alarm; none where each day of it counts."""
    if not plan.standing:
        return set()
    sides: dict[tuple[int, str], set[int]] = {}
    for each in calm:
        held = {side for side, still in ((1, each.challenger_still), (-1, each.champion_still)) if still}
        sides.setdefault((plan.number(each.time, plan.burst), each.tenant), set()).update(held)
    return {key for key, held in sides.items() if len(held) == 1}


def stood(plan: Plan, days: dict[tuple[int, str], Day]) -> Stood:
    """Who stands, and has for long. A day that was not calm neither breaks a run of days nor counts in it."""
    runs: dict[str, int] = {}
    for (_, tenant), day in days.items():
        side = int(day.challenger_stood) - int(day.champion_stood)
        before = runs.get(tenant, 0)
        runs[tenant] = side + before if side * before >= 0 and side else side
    enough, of = plan.standing or math.inf, len(plan.tenants)
    return Stood(
        Alone("champion", plan.standing, sum(run <= -enough for run in runs.values()), of),
        Alone("challenger", plan.standing, sum(run >= enough for run in runs.values()), of),
    )

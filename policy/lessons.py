"""What verdicts on the incidents of a backtest teach: settings that would have told the real ones alone. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tonewatch.settings import Profile

FALSE_ALARM, REAL = "false-alarm", "real"


@dataclass(frozen=True, slots=True)
class Judged:
    """An incident of the past and what a person called it.

    alerts: names of the user's own alerts in it; outage: whether failed scrapes are in it, and `lasted` their time.
    """

    verdict: str
    alerts: frozenset[str]
    outage: bool
    lasted: timedelta


@dataclass(frozen=True, slots=True)
class Lesson:
    """A setting that should be another, and why. `value` is None where no setting tells the real from the false."""

    key: str
    value: Any
    why: str


def lessons(judged: Sequence[Judged], profile: Profile, every_s: float) -> list[Lesson]:
    """The changes that the verdicts call for; `every_s`: seconds between two scrapes in the past that was judged.

    Planned work teaches nothing: it is announced, not ignored.
    """
    return [*_mixed(judged), *_outages(judged, profile, every_s), *_alerts(judged, profile)]


def _mixed(judged: Sequence[Judged]) -> list[Lesson]:
    mixed = {name for each in judged if each.verdict == FALSE_ALARM and each.outage for name in each.alerts}
    if not mixed:
        return []
    why = f"{', '.join(sorted(mixed))} fired while scrapes failed: which of the two was wrong is not known"
    return [Lesson("ignored_alerts", None, why)]


def _outages(judged: Sequence[Judged], profile: Profile, every_s: float) -> list[Lesson]:
    alone = [each for each in judged if each.outage and not each.alerts]
    denied = [_scrapes(each, every_s) for each in alone if each.verdict == FALSE_ALARM]
    real = [_scrapes(each, every_s) for each in alone if each.verdict == REAL]
    if not denied:
        return []
    wanted = max(denied) + 1
    if real and min(real) < wanted:
        why = (
            f"a false alarm lasted {max(denied)} scrapes and a real outage {min(real)}: length does not tell them apart"
        )
        return [Lesson("scrapes_failed", None, why)]
    if wanted <= profile.scrapes_failed:
        return []
    return [Lesson("scrapes_failed", wanted, f"the longest false alarm failed {max(denied)} scrapes in a row")]


def _scrapes(each: Judged, every_s: float) -> int:
    return max(1, math.ceil(each.lasted.total_seconds() / every_s - 1e-9))


def _alerts(judged: Sequence[Judged], profile: Profile) -> list[Lesson]:
    denied = {name for each in judged if each.verdict == FALSE_ALARM for name in each.alerts if not each.outage}
    others = {name for each in judged if each.verdict != FALSE_ALARM for name in each.alerts}
    found = []
    if denied & others:
        names = ", ".join(sorted(denied & others))
        found.append(Lesson("ignored_alerts", None, f"{names}: a false alarm once and not another time"))
    fresh = denied - others - set(profile.ignored_alerts)
    if fresh:
        wanted = sorted({*profile.ignored_alerts, *fresh})
        found.append(Lesson("ignored_alerts", wanted, f"{', '.join(sorted(fresh))} told nothing but false alarms"))
    return found

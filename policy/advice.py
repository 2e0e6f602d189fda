"""What verdicts on the incidents of a backtest advise: settings that would have told the real ones alone. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tonewatch.settings import LOOK_BACK_SECONDS, Profile

FALSE_ALARM, REAL, UNJUDGED = "false-alarm", "real", ""


@dataclass(frozen=True, slots=True)
class Past:
    """An incident of the past and what a person called it, or UNJUDGED.

    alerts: names of the user's own alerts in it; outages: how many parts' scrapes failed in it; lasted: its whole time.
    """

    verdict: str
    alerts: frozenset[str]
    outages: int
    lasted: timedelta


@dataclass(frozen=True, slots=True)
class Advice:
    """A setting that should be another, and why. `value` is None where no setting tells the real from the false."""

    key: str
    value: Any
    why: str


def advice(past: Sequence[Past], profile: Profile, every_s: float) -> list[Advice]:
    """The changes that the verdicts call for; `every_s`: seconds between two scrapes in the past that was judged.

    past: every incident that was told, also those that nobody judged: a setting must not take those away unseen.
    Planned work advises nothing: it is announced, not ignored.
    """
    if not any(each.verdict == FALSE_ALARM for each in past):
        return []
    return [*_mixed(past), *_outages(past, profile, every_s), *_alerts(past, profile)]


def _mixed(past: Sequence[Past]) -> list[Advice]:
    denied = [each for each in past if each.verdict == FALSE_ALARM and each.outages]
    found = []
    if names := sorted({name for each in denied for name in each.alerts}):
        why = f"{', '.join(names)} fired while scrapes failed: which of the two was wrong is not known"
        found.append(Advice("ignored_alerts", None, why))
    if any(each.outages > 1 for each in denied):
        why = "a false alarm in which several parts failed: how long each of them did is not known"
        found.append(Advice("scrapes_failed", None, why))
    return found


def _outages(past: Sequence[Past], profile: Profile, every_s: float) -> list[Advice]:
    told = {verdict: _lengths(past, verdict, every_s) for verdict in (FALSE_ALARM, REAL, UNJUDGED)}
    if not told[FALSE_ALARM]:
        return []
    longest = max(told[FALSE_ALARM])
    wanted = longest + 1
    if wanted <= profile.scrapes_failed:
        return []
    unseen = sum(length < wanted for length in told[UNJUDGED])
    if wanted * every_s > LOOK_BACK_SECONDS:
        why = f"a false alarm lasted {longest * every_s:g} s: no rule waits longer than {LOOK_BACK_SECONDS:g} s"
    elif told[REAL] and min(told[REAL]) < wanted:
        shortest = min(told[REAL])
        why = f"a false alarm lasted {longest} scrapes and a real outage {shortest}: length does not tell them apart"
    elif unseen:
        why = f"{unseen} outages that nobody judged were no longer than the false alarm: judge them too"
    else:
        return [Advice("scrapes_failed", wanted, f"the longest false alarm failed {longest} scrapes in a row")]
    return [Advice("scrapes_failed", None, why)]


def _lengths(past: Sequence[Past], verdict: str, every_s: float) -> list[int]:
    """Scrapes that failed in a row, of the incidents in which one part's did and no alert fired."""
    alone = (each for each in past if each.verdict == verdict and each.outages == 1 and not each.alerts)
    return [max(1, math.ceil(each.lasted.total_seconds() / every_s - 1e-9)) for each in alone]


def _alerts(past: Sequence[Past], profile: Profile) -> list[Advice]:
    denied = {name for each in past if each.verdict == FALSE_ALARM and not each.outages for name in each.alerts}
    unjudged = {name for each in past if each.verdict == UNJUDGED for name in each.alerts}
    heeded = {name for each in past if each.verdict not in (FALSE_ALARM, UNJUDGED) for name in each.alerts}
    found = []
    if names := sorted(denied & heeded):
        found.append(Advice("ignored_alerts", None, f"{', '.join(names)}: a false alarm once and not another time"))
    if names := sorted(denied & unjudged - heeded):
        why = f"{', '.join(names)} fired in other incidents, which nobody judged: judge them too"
        found.append(Advice("ignored_alerts", None, why))
    if fresh := denied - heeded - unjudged - set(profile.ignored_alerts):
        wanted = sorted({*profile.ignored_alerts, *fresh})
        found.append(Advice("ignored_alerts", wanted, f"{', '.join(sorted(fresh))} told nothing but false alarms"))
    return found

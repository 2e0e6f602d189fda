"""What Tonewatch would have told of a stretch of the past: the rules and the grouping of today, on yesterday's samples.

Time is the samples' own. Only stretches in which something was amiss are gone through tick by tick: where every scrape
was answered no rule on scrapes can hold.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter

from feature_store.recent import Recent
from policy import rules
from policy.alerts import condition, heeded
from policy.conditions import Condition, carried_on
from policy.grouping import Group, group
from policy.readings import Readings, after, usual_gap
from tasks.correlate import ECHO
from tasks.detect import HORIZON
from tonewatch.records import Change, Finding, Sample
from tonewatch.settings import Profile
from tonewatch.topology import Topology

#: An alert whose samples are further apart than this has ended in between.
APART = timedelta(minutes=5)
_TIME = attrgetter("time")


@dataclass(frozen=True, slots=True)
class Episode:
    """One thing that was wrong, from its finding's beginning, the first failed scrape, until the first good one."""

    finding: Finding
    until: datetime


@dataclass(frozen=True, slots=True)
class PastIncident:
    """An incident that would have been opened. It would have been one page; how many it lost nobody can tell."""

    onset: datetime
    opened: datetime
    ended: datetime
    title: str
    entities: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class _Open:
    group: Group
    ended: datetime
    findings: list[Finding] = field(default_factory=list)


def backtest(
    tenant: str,
    scrapes: Sequence[Sample],
    alerts: Sequence[Sample],
    topology: Topology,
    profile: Profile,
    end: datetime,
    every_s: float,
) -> list[PastIncident]:
    """The incidents of the past, in the order of their onset.

    scrapes: samples of `up`, 1 answered and 0 not; alerts: samples of Prometheus' ALERTS that fired,
    one series per alert; end: what still holds then has no end yet, and `ended` is it; every_s: between two scrapes.
    """
    watched = profile.model_copy(update={"scrape_seconds": every_s})
    told = [sample for sample in alerts if heeded(sample.series, profile)]
    episodes = [*outages(tenant, scrapes, watched), *fired(tenant, told)]
    return incidents(episodes, topology, end)


def outages(tenant: str, scrapes: Sequence[Sample], profile: Profile) -> Iterator[Episode]:
    """What rules/scrape_down makes of the scrapes, tick by tick."""
    ordered = sorted(scrapes, key=_TIME)
    held: dict[tuple[str, str], Condition] = {}
    until: dict[tuple[str, str], datetime] = {}
    for start, stop in _amiss(ordered, profile):
        for now, recent in _ticks(ordered, start, stop, profile):
            found = carried_on(held, rules.scrape_down(recent.readings, now, profile))
            for key in held.keys() - found.keys():
                yield Episode(held[key].finding(tenant), _answered(recent.readings, key[0], until[key]))
            until |= dict.fromkeys(found, now)
            held = found
    for key, last in held.items():
        yield Episode(last.finding(tenant), until[key])


def _answered(readings: Readings, entity: str, seen: datetime) -> datetime:
    """When it was scraped again after `seen`, at which it still failed; `seen` itself where it never was."""
    return next((sample.time for sample in after(readings[entity, "up"], seen) if sample.value > 0), seen)


def _amiss(ordered: Sequence[Sample], profile: Profile) -> Iterator[tuple[datetime, datetime]]:
    """Stretches that hold every failed scrape and end when nothing of it can hold any more."""
    after = timedelta(seconds=2 * profile.tick_seconds) + HORIZON
    stretch: tuple[datetime, datetime] | None = None
    for sample in ordered:
        if sample.value > 0:
            continue
        if stretch is not None and sample.time > stretch[1]:
            yield stretch
            stretch = None
        stretch = (stretch[0] if stretch else sample.time, sample.time + after)
    if stretch is not None:
        yield stretch


def _ticks(
    ordered: Sequence[Sample], start: datetime, stop: datetime, profile: Profile
) -> Iterator[tuple[datetime, Recent]]:
    recent, tick = Recent(HORIZON), timedelta(seconds=profile.tick_seconds)
    place = bisect_left(ordered, start - HORIZON, key=_TIME)
    now = start
    while now <= stop:
        upto = bisect_right(ordered, now, lo=place, key=_TIME)
        recent.add(ordered[place:upto])
        recent.forget(now)
        place = upto
        yield now, recent
        now += tick


def fired(tenant: str, alerts: Iterable[Sample]) -> Iterator[Episode]:
    """One episode per stretch in which an alert of the user's own rules fired."""
    lines: dict[int, list[Sample]] = {}
    for sample in alerts:
        lines.setdefault(sample.series.id, []).append(sample)
    for line in lines.values():
        line.sort(key=_TIME)
        began = 0
        for place in range(1, len(line) + 1):
            if place == len(line) or line[place].time - line[place - 1].time > APART:
                # It was gone at the evaluation after its last sample; of a single one nobody knows when that was.
                until = line[place - 1].time + (usual_gap(line[began:place]) or timedelta())
                yield Episode(condition(line[began].series, line[began].time).finding(tenant), until)
                began = place


def incidents(
    episodes: Iterable[Episode],
    topology: Topology,
    end: datetime,
    lasting: Collection[str] = (),
    changes: Sequence[Change] = (),
) -> list[PastIncident]:
    """The episodes as incidents: grouped as findings are when they come one after the other.

    lasting: ids of the anomalies' findings that lasted long enough to open one; changes: what was announced then.
    """
    past: list[_Open] = []
    ordered = sorted(episodes, key=lambda each: (each.finding.ended, each.finding.entity))
    longest = max((each.finding.ended - each.finding.started for each in ordered), default=timedelta())
    late: list[_Open] = []
    for episode in ordered:
        finding = episode.finding
        late = [each for each in late if each.ended + ECHO >= finding.ended - longest]  # no later one reaches others
        active = {id(each.group): each for each in late if each.ended + ECHO >= finding.started}
        for grown in group([finding], [each.group for each in active.values()], topology, lasting, changes):
            home = active.get(id(grown))
            if home is None:
                grown.incident = finding.id
                home = _Open(grown, episode.until)
                past.append(home)
                late.append(home)
            home.findings.append(finding)
            home.ended = max(home.ended, episode.until)
    return sorted((_told(each, end) for each in past), key=lambda each: each.onset)


def _told(each: _Open, end: datetime) -> PastIncident:
    root = each.group.root
    others = sorted({finding.entity for finding in each.findings} - {root})
    first = each.findings[0]
    return PastIncident(
        onset=each.group.onset,
        opened=first.ended,
        ended=min(each.ended, end),
        title=next((finding.summary for finding in each.findings if finding.entity == root), first.summary),
        entities=(root, *others),
        findings=tuple(each.findings),
    )

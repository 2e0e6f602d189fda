"""Puts what the warehouse holds of a stretch of time into the figures of a report. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from policy.period import Period
from tonewatch.availability import Listening, Slo, Spread, pages_allowed, person_minutes, spread
from tonewatch.records import ActionState, IncidentState, Outcome
from tonewatch.settings import Profile
from warehouse.minutes import FALSE_ALARM, OVER, Saved, lost_by_basis, saved
from warehouse.weekly import ChannelTime, Deed, IncidentLine

SEVERITIES: Final = ("critical", "major", "minor")
#: What can have become of an action, in the order in which it is told.
FATES: Final = (
    "worked (controlled)",
    "worked (uncontrolled)",
    "harmed",
    "inconclusive",
    "not judged yet",
    "failed",
    "refused",
    "under way",
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of the picture: minutes lost, and incidents by severity."""

    period: Period
    lost_minutes: float
    incidents: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Pages:
    """Incidents of which somebody was told, by what people said that they were, and the budget for false ones."""

    told: int
    false: int
    planned: int
    real: int
    unlabelled: int
    not_told: int
    allowed: float


@dataclass(frozen=True, slots=True)
class Read:
    """What was read for a report: listening by bar, incidents, deeds, and seconds that people took."""

    listening: Sequence[tuple[Period, Sequence[ChannelTime]]]
    incidents: Sequence[IncidentLine]
    deeds: Sequence[Deed]
    carried: int
    handed_over_s: Sequence[float]


@dataclass(frozen=True, slots=True)
class Summary:
    """Every figure of a report on `period`, as known at `as_of`."""

    tenant: str
    period: Period
    as_of: datetime
    channels: Mapping[str, Listening]
    total: Listening
    slo: Slo
    bars: tuple[Bar, ...]
    incidents: tuple[IncidentLine, ...]
    carried: int
    by_state: Mapping[str, int]
    by_severity: Mapping[str, int]
    by_cause: Mapping[str, int]
    repaired: Spread | None  # MTTR: from onset to the end of the impact
    noticed: Spread | None  # from onset to opening
    lasting: tuple[str, ...]  # incidents whose end is not known yet
    unfelt: int  # over, and no player lost sound
    lost_by_basis: Mapping[str, float]
    deeds: tuple[Deed, ...]
    fates: Mapping[str, Mapping[str, int]]  # runbook -> fate -> actions
    refused_by: Mapping[str, int]  # guard -> actions
    controlled: Saved
    uncontrolled: Saved
    person_minutes: float
    person_cases: int
    pages: Pages
    state_dir: str = ""  # the folder that commands must be told; empty: they find it
    asked: tuple[str, ...] = ()  # what people's word would help most with, in words
    unheard: tuple[str, ...] = ()  # whose labels are in quarantine

    @property
    def saved_minutes(self) -> float:
        """Saved in all, controlled or not."""
        return self.controlled.minutes + self.uncontrolled.minutes


def summarise(tenant: str, period: Period, as_of: datetime, read: Read, profile: Profile) -> Summary:
    """The figures of the period."""
    channels: dict[str, Listening] = defaultdict(Listening)
    for _, found in read.listening:
        for each in found:
            channels[each.channel] += Listening(each.due_ms, each.lost_ms)
    faults = [each for each in read.incidents if each.judged != FALSE_ALARM]
    over = [each for each in faults if each.state in OVER]
    minutes, cases = person_minutes(read.handed_over_s)
    return Summary(
        tenant=tenant,
        period=period,
        as_of=as_of,
        channels=dict(sorted(channels.items())),
        total=sum(channels.values(), Listening()),
        slo=Slo.of(profile),
        bars=tuple(_bar(bar, found, read.incidents) for bar, found in read.listening),
        incidents=tuple(read.incidents),
        carried=read.carried,
        by_state=_counted((each.state for each in read.incidents), [state.value for state in IncidentState]),
        by_severity=_counted((each.severity for each in read.incidents), SEVERITIES),
        by_cause=_counted(each.cause_kind or "not diagnosed" for each in read.incidents),
        repaired=spread([_seconds(each.onset, each.impact_ended) for each in over if each.impact_ended]),
        noticed=spread([_seconds(each.onset, each.opened) for each in faults]),
        lasting=tuple(each.id for each in faults if each.state not in OVER),
        unfelt=sum(each.impact_ended is None for each in over),
        lost_by_basis=lost_by_basis(read.incidents),
        deeds=tuple(read.deeds),
        fates=_fates(read.deeds),
        refused_by=_counted(
            guard for deed in read.deeds if deed.state == ActionState.REFUSED for guard in deed.refused_by
        ),
        controlled=saved(read.incidents, read.deeds, minutes, controlled=True),
        uncontrolled=saved(read.incidents, read.deeds, minutes, controlled=False),
        person_minutes=minutes,
        person_cases=cases,
        pages=_pages(read.incidents, pages_allowed(profile.budget, period.seconds)),
    )


def fate(deed: Deed) -> str:
    """What has become of the action, one of FATES."""
    if deed.outcome == Outcome.WORKED:
        return f"worked ({'controlled' if deed.controlled else 'uncontrolled'})"
    if deed.outcome:
        return deed.outcome
    by_state = {ActionState.FINISHED: "not judged yet", ActionState.FAILED: "failed", ActionState.REFUSED: "refused"}
    return by_state.get(ActionState(deed.state), "under way")


def _bar(bar: Period, found: Iterable[ChannelTime], incidents: Sequence[IncidentLine]) -> Bar:
    lost = sum((Listening(0, each.lost_ms) for each in found), Listening())
    mine = [each.severity for each in incidents if bar.start <= each.opened < bar.end]
    return Bar(bar, lost.lost_minutes, _counted(mine, SEVERITIES))


def _counted(names: Iterable[str], order: Sequence[str] = ()) -> dict[str, int]:
    """How often each name comes: in the given order, else the most frequent first."""
    counts = Counter(names)
    known = [name for name in order if name in counts]
    return {name: counts[name] for name in [*known, *sorted(counts.keys() - known, key=lambda n: (-counts[n], n))]}


def _seconds(start: datetime, end: datetime | None) -> float:
    return max(0.0, (end - start).total_seconds()) if end else 0.0


def _fates(deeds: Iterable[Deed]) -> dict[str, dict[str, int]]:
    found: dict[str, list[str]] = defaultdict(list)
    for deed in deeds:
        found[deed.runbook].append(fate(deed))
    return {runbook: _counted(mine, FATES) for runbook, mine in sorted(found.items())}


def _pages(incidents: Sequence[IncidentLine], allowed: float) -> Pages:
    said = Counter(each.judged for each in incidents if each.told)
    return Pages(
        told=said.total(),
        false=said[FALSE_ALARM],
        planned=said["planned"],
        real=said["real"],
        unlabelled=said[""],
        not_told=len(incidents) - said.total(),
        allowed=allowed,
    )

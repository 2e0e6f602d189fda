"""Listener-minutes lost and saved in a stretch of time, and availability by channel: the weekly report's own counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tonewatch.availability import HANDED_OVER_SINCE, Listening, person_minutes, saved_minutes
from tonewatch.clock import stretches
from tonewatch.records import IncidentState, Outcome
from warehouse import weekly
from warehouse.database import Warehouse
from warehouse.weekly import Deed, IncidentLine

FALSE_ALARM: Final = "false-alarm"
#: In these nobody works on an incident any more.
OVER: Final = frozenset({IncidentState.MENDED.value, IncidentState.CLOSED.value})
#: A busy day's reports are many, and a statement may last a minute.
_AT_ONCE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Saved:
    """Listener-minutes saved by `count` incidents' remedies, `inferred_minutes` of them from a loss that was not
    measured; for `unknown` further ones there was no loss to reckon from.
    """

    count: int
    minutes: float
    inferred_minutes: float
    unknown: int


@dataclass(frozen=True, slots=True)
class Minutes:
    """Lost by the incidents' own count, by how it is known (they may overlap), and saved by their remedies."""

    incidents: int
    lost_by_basis: Mapping[str, float]
    controlled: Saved
    uncontrolled: Saved
    person_minutes: float
    person_cases: int


async def channels(tenant: str, warehouse: Warehouse, start: datetime, end: datetime) -> dict[str, Listening]:
    """Listening due and lost in start <= time < end, by channel in the order of their names."""
    found: dict[str, Listening] = defaultdict(Listening)
    for since, until in stretches(start, end, _AT_ONCE):
        async with warehouse.as_tenant(tenant) as db:
            for each in await weekly.listening(tenant, db, since, until):
                found[each.channel] += Listening(each.due_ms, each.lost_ms)
    return dict(sorted(found.items()))


async def of_incidents(tenant: str, warehouse: Warehouse, start: datetime, end: datetime) -> Minutes:
    """Of the incidents opened in start <= time < end."""
    async with warehouse.as_tenant(tenant) as db:
        incidents = await weekly.opened(tenant, db, start, end)
        deeds = await weekly.deeds(tenant, db, start, end)
        took = await weekly.handed_over_seconds(tenant, db, end - HANDED_OVER_SINCE, end)
    person, cases = person_minutes(took)
    return Minutes(
        incidents=len(incidents),
        lost_by_basis=lost_by_basis(incidents),
        controlled=saved(incidents, deeds, person, controlled=True),
        uncontrolled=saved(incidents, deeds, person, controlled=False),
        person_minutes=person,
        person_cases=cases,
    )


def lost_by_basis(incidents: Sequence[IncidentLine]) -> dict[str, float]:
    """Listener-minutes lost, by how they are known: measured, inferred, probe."""
    lost: dict[str, float] = defaultdict(float)
    for each in incidents:
        lost[each.basis] += each.lost
    return dict(sorted(lost.items()))


def saved(incidents: Sequence[IncidentLine], deeds: Sequence[Deed], person: float, *, controlled: bool) -> Saved:
    """Of the incidents that were none by mistake, are over, and whose last verdict is worked, with a control or
    without one; `person`: minutes in which people end such a thing.
    """
    over = (each for each in incidents if each.judged != FALSE_ALARM and each.state in OVER)
    last: dict[str, Deed] = {}
    for deed in deeds:
        before = last.get(deed.incident)
        if deed.decided and (before is None or before.decided is None or deed.decided >= before.decided):
            last[deed.incident] = deed
    mine = [
        each
        for each in over
        if each.id in last and last[each.id].outcome == Outcome.WORKED and last[each.id].controlled is controlled
    ]
    reckoned = [(e, saved_minutes(e.lost, e.onset, e.impact_started, e.impact_ended, person)) for e in mine]
    known = [(each, minutes) for each, minutes in reckoned if minutes is not None]
    return Saved(
        count=len(known),
        minutes=sum(minutes for _, minutes in known),
        inferred_minutes=sum(minutes for each, minutes in known if each.basis != "measured"),
        unknown=len(mine) - len(known),
    )

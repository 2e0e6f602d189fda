"""Incidents at a glance: a line of a list, with what caused it and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from tonewatch.errors import SettingsError
from tonewatch.records import IncidentState
from warehouse.database import Connection
from warehouse.pages import Page, within

NEWEST = text(f"""
    select i.id, i.state, i.onset, i.opened, i.impact_ended, i.closed, i.title, i.entities, i.severity,
        i.listener_minutes_lost,
        coalesce(c.entity || ':' || c.kind, '') as cause, coalesce(v.outcome, '') as verdict,
        coalesce(e.level, '') as level, coalesce(e.stopped_by, '') as answered
    from incident i
    left join cause c on c.tenant = i.tenant and c.incident = i.id and c.rank = 1
    left join lateral (
        select outcome from verdict v where v.tenant = i.tenant and v.incident = i.id order by decided desc limit 1
    ) v on true
    left join escalation e on e.tenant = i.tenant and e.incident = i.id
    where i.tenant = :tenant and (cardinality(cast(:states as text[])) = 0 or i.state = any(cast(:states as text[])))
        and (:entity = '' or :entity = any(i.entities) or exists (
            select from cause n where n.tenant = i.tenant and n.incident = i.id and n.entity = :entity))
        and {within("i.opened", "i.id")}
""")  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class Glance:
    """`level`: the highest that was told; `answered`: what stopped the escalation. Empty text: there is none."""

    id: str
    state: IncidentState
    onset: datetime
    opened: datetime
    impact_ended: datetime | None
    closed: datetime | None
    title: str
    entities: tuple[str, ...]
    severity: str
    listener_minutes_lost: float
    cause: str
    verdict: str
    level: str
    answered: str


async def newest(
    tenant: str, db: Connection, page: Page, states: Sequence[IncidentState] = (), entity: str = ""
) -> list[Glance]:
    """Incidents by the time at which they were opened; without `states` of every state. `entity`: of those alone that
    it felt or may have caused.
    """
    values = {"tenant": tenant, "states": [state.value for state in states], "entity": entity} | page.values()
    found = (await db.execute(NEWEST, values)).mappings()
    return [
        Glance(**{**each, "state": IncidentState(each["state"]), "entities": tuple(each["entities"])}) for each in found
    ]


def states_of(names: Sequence[str]) -> list[IncidentState]:
    """The states of these names; `active` stands for all but closed. Raises SettingsError: one is none."""
    found: list[IncidentState] = []
    for name in names:
        if name == "active":
            found += [state for state in IncidentState if state is not IncidentState.CLOSED]
        elif name in set(IncidentState):
            found.append(IncidentState(name))
        else:
            raise SettingsError(f"{name!r} is no state; known are active, {', '.join(IncidentState)}")
    return found

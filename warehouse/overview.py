"""Incidents at a glance: a line of a list, with what caused it and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from tonewatch.records import IncidentState
from warehouse.database import Connection

NEWEST = text("""
    select i.id, i.state, i.onset, i.opened, i.title, i.severity, i.listener_minutes_lost,
        coalesce(c.entity || ':' || c.kind, '') as cause, coalesce(v.outcome, '') as verdict,
        coalesce(e.level, '') as level, coalesce(e.stopped_by, '') as answered
    from incident i
    left join cause c on c.tenant = i.tenant and c.incident = i.id and c.rank = 1
    left join lateral (
        select outcome from verdict v where v.tenant = i.tenant and v.incident = i.id order by decided desc limit 1
    ) v on true
    left join escalation e on e.tenant = i.tenant and e.incident = i.id
    where i.tenant = :tenant and (cardinality(cast(:states as text[])) = 0 or i.state = any(cast(:states as text[])))
    order by i.opened desc, i.id limit :limit
""")


@dataclass(frozen=True, slots=True)
class Glance:
    """`level`: the highest that was told; `answered`: what stopped the escalation. Empty text: there is none."""

    id: str
    state: IncidentState
    onset: datetime
    opened: datetime
    title: str
    severity: str
    listener_minutes_lost: float
    cause: str
    verdict: str
    level: str
    answered: str


async def newest(tenant: str, db: Connection, states: Sequence[IncidentState], limit: int) -> list[Glance]:
    """The `limit` incidents that were opened last, the newest first; without `states` of every state."""
    values = {"tenant": tenant, "states": [state.value for state in states], "limit": limit}
    found = (await db.execute(NEWEST, values)).mappings()
    return [Glance(**{**each, "state": IncidentState(each["state"])}) for each in found]

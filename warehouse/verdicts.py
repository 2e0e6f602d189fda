"""Verdicts: whether an action worked, and how that is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, text

from tonewatch.records import Outcome, Verdict
from warehouse.database import Connection
from warehouse.rows import packed, row

SAVE = text("""
    insert into verdict (tenant, action, incident, outcome, controlled, decided, slis, reason)
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (action text, incident text, outcome text,
        controlled boolean, decided timestamptz, slis jsonb, reason text)
    on conflict (tenant, action) do update set outcome = excluded.outcome, controlled = excluded.controlled,
        decided = excluded.decided, slis = excluded.slis, reason = excluded.reason
""")
OF_INCIDENT = text("""
    select action, incident, outcome, controlled, decided, slis, reason from verdict
    where tenant = :tenant and incident = :incident order by decided, action
""")

OF_ACTIONS = text("""
    select action, incident, outcome, controlled, decided, slis, reason from verdict
    where tenant = :tenant and action = any(cast(:actions as text[])) order by decided, action
""")
# Of earlier incidents with a first cause of this kind, how many ended although nothing was done to them.
SELF_HEALED = text("""
    select count(*) filter (where not exists (
               select from action a where a.tenant = i.tenant and a.incident = i.id
               and a.state in ('started', 'finished', 'failed'))), count(*)
    from incident i join cause c on c.tenant = i.tenant and c.incident = i.id and c.rank = 1
    where i.tenant = :tenant and c.kind = :kind and i.state = 'closed' and i.id <> :incident
""")


async def save(tenant: str, db: Connection, verdict: Verdict) -> None:
    """Keep the verdict on an action that is kept already; one given later takes its place."""
    await db.execute(SAVE, {"tenant": tenant, "rows": packed([row(verdict)])})


async def of_incident(tenant: str, db: Connection, incident: str) -> list[Verdict]:
    """The verdicts on an incident's actions in the order in which they were given."""
    found = await db.execute(OF_INCIDENT, {"tenant": tenant, "incident": incident})
    return [_verdict(each) for each in found.mappings()]


async def of_actions(tenant: str, db: Connection, actions: Sequence[str]) -> list[Verdict]:
    """The verdicts on the actions with these keys."""
    found = await db.execute(OF_ACTIONS, {"tenant": tenant, "actions": list(actions)})
    return [_verdict(each) for each in found.mappings()]


async def self_healed(tenant: str, db: Connection, kind: str, incident: str) -> tuple[int, int]:
    """Of the tenant's closed incidents with such a first cause, `incident` left out: how many ended though nothing was
    done, and how many there were.
    """
    found = await db.execute(SELF_HEALED, {"tenant": tenant, "kind": kind, "incident": incident})
    healed, every = found.one()
    return int(healed), int(every)


def _verdict(found: RowMapping) -> Verdict:
    values: dict[str, Any] = dict(found)
    values["outcome"] = Outcome(values["outcome"])
    return Verdict(**values)

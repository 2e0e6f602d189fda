"""Verdicts: whether an action worked, and how that is known."""

from __future__ import annotations

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


async def save(tenant: str, db: Connection, verdict: Verdict) -> None:
    """Keep the verdict on an action that is kept already; one given later takes its place."""
    await db.execute(SAVE, {"tenant": tenant, "rows": packed([row(verdict)])})


async def of_incident(tenant: str, db: Connection, incident: str) -> list[Verdict]:
    """The verdicts on an incident's actions in the order in which they were given."""
    found = await db.execute(OF_INCIDENT, {"tenant": tenant, "incident": incident})
    return [_verdict(each) for each in found.mappings()]


def _verdict(found: RowMapping) -> Verdict:
    values: dict[str, Any] = dict(found)
    values["outcome"] = Outcome(values["outcome"])
    return Verdict(**values)

"""Incidents: findings that belong together, what caused them, and the whole story."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, TextClause, text

from tonewatch.errors import WarehouseError
from tonewatch.records import Cause, CauseKind, Incident, IncidentState
from warehouse.database import Connection
from warehouse.rows import packed, row, same_tenant, utc

SAVE = text("""
    insert into incident (tenant, id, state, onset, opened, title, entities, impact_started, impact_ended,
        listener_minutes_lost, loss_basis, severity, incident_class, closed)
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, state text, onset timestamptz,
        opened timestamptz, title text, entities text[], impact_started timestamptz, impact_ended timestamptz,
        listener_minutes_lost double precision, loss_basis text, severity text, incident_class text, closed timestamptz)
    on conflict (tenant, id) do update set state = excluded.state, onset = excluded.onset, opened = excluded.opened,
        title = excluded.title, entities = excluded.entities, impact_started = excluded.impact_started,
        impact_ended = excluded.impact_ended, listener_minutes_lost = excluded.listener_minutes_lost,
        loss_basis = excluded.loss_basis, severity = excluded.severity, incident_class = excluded.incident_class,
        closed = excluded.closed
""")
ATTACH = text("""
    insert into incident_finding (tenant, incident, finding)
    select :tenant, :incident, finding from unnest(cast(:findings as text[])) as finding order by finding
    on conflict do nothing
""")
COLUMNS = """id, state, onset, opened, title, entities, impact_started, impact_ended, listener_minutes_lost,
    loss_basis, severity, incident_class, closed"""
GET = text(f"select {COLUMNS} from incident where tenant = :tenant and id = :id")  # noqa: S608 - a constant
HOLD = text(f"select {COLUMNS} from incident where tenant = :tenant and id = :id for update")  # noqa: S608 - a constant
ACTIVE = text(f"""
    select {COLUMNS} from incident where tenant = :tenant and state <> 'closed' order by opened, id
""")  # noqa: S608 - a constant
OPENED_SINCE = text(f"""
    select {COLUMNS} from incident where tenant = :tenant and opened >= :time order by opened, id
""")  # noqa: S608 - a constant
CLOSED_BETWEEN = text(f"""
    select {COLUMNS} from incident where tenant = :tenant and closed >= :since and closed < :until order by closed, id
""")  # noqa: S608 - a constant
FORGET_CAUSES = text("delete from cause where tenant = :tenant and incident = :incident")
ADD_CAUSES = text("""
    insert into cause (tenant, incident, rank, entity, kind, confidence, evidence, path, named)
    select :tenant, :incident, n.*, :named from jsonb_to_recordset(cast(:rows as jsonb)) as n (rank integer,
        entity text, kind text, confidence double precision, evidence text[], path text[])
""")
CAUSES = text("""
    select rank, entity, kind, confidence, evidence, path from cause
    where tenant = :tenant and incident = :incident order by rank
""")
STORY = text("""
    with line (time, step, what, detail) as (
        select time, step, what, detail from incident_story where tenant = :tenant and incident = :incident
        union all
        select time, 'close', 'closed: ' || reason, jsonb_build_object('who', who) from audit
        where tenant = :tenant and subject = :incident and what = 'incident.state' and after ->> 'state' = 'closed'
    )
    select time, step, what, detail from line
    order by time, array_position(
        array['detect', 'correlate', 'diagnose', 'decide', 'act', 'verify', 'notify', 'answer', 'close'], step),
        detail ->> 'rank', what
""")


@dataclass(frozen=True, slots=True)
class StoryLine:
    """One line of the view incident_story, or its end as the audit has it.

    `step` is detect, correlate, diagnose, decide, act, verify, notify, answer for what a person did, or close.
    """

    time: datetime
    step: str
    what: str
    detail: Mapping[str, Any]


async def save(tenant: str, db: Connection, incident: Incident) -> None:
    """Keep the incident as it is now, new or not."""
    same_tenant(tenant, [incident])
    await db.execute(SAVE, {"tenant": tenant, "rows": packed([row(incident)])})


async def attach(tenant: str, db: Connection, incident_id: str, finding_ids: Iterable[str]) -> None:
    """Note that these findings belong to the incident; both must be kept already."""
    await db.execute(ATTACH, {"tenant": tenant, "incident": incident_id, "findings": list(finding_ids)})


async def get(tenant: str, db: Connection, incident_id: str) -> Incident | None:
    """The incident; None: there is none of that id."""
    found = await _read(tenant, db, GET, {"id": incident_id})
    return found[0] if found else None


async def hold(tenant: str, db: Connection, incident_id: str) -> Incident | None:
    """The incident, held for this transaction: who else would hold or change it waits. None: there is none."""
    found = await _read(tenant, db, HOLD, {"id": incident_id})
    return found[0] if found else None


async def active(tenant: str, db: Connection) -> list[Incident]:
    """The incidents that are not closed, oldest first."""
    return await _read(tenant, db, ACTIVE, {})


async def opened_since(tenant: str, db: Connection, time: datetime) -> list[Incident]:
    """The incidents opened at `time` or later, oldest first."""
    return await _read(tenant, db, OPENED_SINCE, {"time": utc(time)})


async def closed_between(tenant: str, db: Connection, since: datetime, until: datetime) -> list[Incident]:
    """The incidents closed at since <= time < until, in the order in which they were."""
    return await _read(tenant, db, CLOSED_BETWEEN, {"since": utc(since), "until": utc(until)})


async def set_causes(
    tenant: str, db: Connection, incident_id: str, causes: Sequence[Cause], at: datetime | None = None
) -> None:
    """Put these causes in place of those before. `at`: when they were named (else the story says: at the opening)."""
    if any(cause.incident != incident_id for cause in causes):
        raise WarehouseError(f"a cause of another incident can not be kept for {incident_id}")
    values = {"tenant": tenant, "incident": incident_id}
    await db.execute(FORGET_CAUSES, values)
    if causes:
        named = None if at is None else utc(at)
        await db.execute(ADD_CAUSES, values | {"rows": packed(row(cause) for cause in causes), "named": named})


async def causes(tenant: str, db: Connection, incident_id: str) -> list[Cause]:
    """The causes of an incident by rank, the likeliest first."""
    found = (await db.execute(CAUSES, {"tenant": tenant, "incident": incident_id})).all()
    return [
        Cause(incident_id, rank, entity, CauseKind(kind), confidence, tuple(evidence), tuple(path))
        for rank, entity, kind, confidence, evidence, path in found
    ]


async def story(tenant: str, db: Connection, incident_id: str) -> list[StoryLine]:
    """The incident from its first Finding on, in the order of time."""
    found = await db.execute(STORY, {"tenant": tenant, "incident": incident_id})
    return [StoryLine(**each) for each in found.mappings()]


async def _read(tenant: str, db: Connection, statement: TextClause, values: dict[str, Any]) -> list[Incident]:
    found = await db.execute(statement, {"tenant": tenant} | values)
    return [_incident(tenant, each) for each in found.mappings()]


def _incident(tenant: str, found: RowMapping) -> Incident:
    values: dict[str, Any] = dict(found)
    values["state"] = IncidentState(values["state"])
    values["entities"] = tuple(values["entities"])
    return Incident(tenant=tenant, **values)

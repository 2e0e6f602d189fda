"""Labels: what people's acts said of incidents and actions, and which of these acts have had their effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from tonewatch.records import ActKind, Label
from warehouse.database import Connection
from warehouse.rows import packed, row

PUT = text("""
    insert into label (tenant, id, subject_kind, subject, value, who, reason, time)
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, subject_kind text, subject text,
        value text, who text, reason text, time timestamptz)
    on conflict do nothing
""")
OF = """
    from label l left join action a on l.subject_kind = 'action' and a.tenant = l.tenant and a.key = l.subject
    where l.tenant = :tenant and (l.subject_kind = 'incident' or a.key is not null)
      and coalesce(a.incident, l.subject) = any(cast(:incidents as text[]))
"""
OF_INCIDENT = text(f"""
    select l.id, l.subject_kind, l.subject, l.value, l.who, l.reason, l.time {OF} order by l.time, l.id
""")
OF_SUBJECT = text("""
    select id, subject_kind, subject, value, who, reason, time from label
    where tenant = :tenant and subject_kind = :kind order by time, id
""")
VETOED_BY = text("""
    select who from label where tenant = :tenant and subject_kind = 'action' and subject = :action and value = 'veto'
    order by time, id limit 1
""")
WAITING = text(f"""
    select l.id, coalesce(a.incident, l.subject) as incident, a.key as action, l.value, l.who, l.reason, l.time {OF}
      and l.value = any(cast(:kinds as text[]))
      and not exists (select from heeded h where h.tenant = l.tenant and h.label = l.id)
    order by l.time, l.id
""")  # noqa: S608 - constants
SAW = text("""
    insert into label_evidence (tenant, label, incident, saw)
    select :tenant, id, :incident, coalesce((
        select jsonb_agg(jsonb_build_object('finding', f.id, 'detector', f.detector, 'kind', f.kind,
            'model_version', f.model_version, 'score', f.score) order by f.started, f.id)
        from incident_finding i join finding f on f.tenant = :tenant and f.id = i.finding
        where i.tenant = :tenant and i.incident = :incident), '[]')
    from unnest(cast(:ids as text[])) as id
    on conflict do nothing
""")
EVIDENCE = text("""
    select label, saw from label_evidence where tenant = :tenant and incident = :incident order by label
""")
# Of two that take up the same act at once, the second waits for the first's transaction and then gets nothing.
HEED = text("""
    insert into heeded (tenant, label) select :tenant, id from unnest(cast(:ids as text[])) as id order by id
    on conflict do nothing returning label
""")


async def put(tenant: str, db: Connection, labels: Sequence[Label]) -> int:
    """Keep the labels; gives how many were new: one of an id that is there stays as it is."""
    rows = packed(row(label) for label in labels)
    return (await db.execute(PUT, {"tenant": tenant, "rows": rows})).rowcount


async def saw(tenant: str, db: Connection, incident: str, labels: Sequence[Label]) -> None:
    """Keep beside the labels what their author saw: the incident's findings, as they are in this transaction."""
    await db.execute(SAW, {"tenant": tenant, "incident": incident, "ids": [label.id for label in labels]})


async def evidence_of(tenant: str, db: Connection, incident: str) -> dict[str, list[dict[str, Any]]]:
    """Label -> what its author saw: finding, detector, kind, model_version, score. Older labels have none."""
    found = await db.execute(EVIDENCE, {"tenant": tenant, "incident": incident})
    return {each["label"]: each["saw"] for each in found.mappings()}


async def of_incident(tenant: str, db: Connection, incident: str) -> list[Label]:
    """What people said of the incident and of its actions, in the order in which they said it."""
    found = await db.execute(OF_INCIDENT, {"tenant": tenant, "incidents": [incident]})
    return [Label(**each) for each in found.mappings()]


async def of_subject(tenant: str, db: Connection, kind: str) -> list[Label]:
    """Everything that was said of subjects of that kind, in the order in which it was said."""
    return [Label(**each) for each in (await db.execute(OF_SUBJECT, {"tenant": tenant, "kind": kind})).mappings()]


async def vetoed_by(tenant: str, db: Connection, action: str) -> str:
    """Who said no to the action with this key; empty: nobody."""
    found = await db.execute(VETOED_BY, {"tenant": tenant, "action": action})
    return found.scalar_one_or_none() or ""


async def waiting(tenant: str, db: Connection, incidents: Sequence[str]) -> list[dict[str, Any]]:
    """Acts on these incidents that have had no effect yet, the oldest first: id, incident, action (a key, or None),
    value, who, reason, time.
    """
    values = {"tenant": tenant, "incidents": list(incidents), "kinds": list(ActKind)}
    return [dict(each) for each in (await db.execute(WAITING, values)).mappings()]


async def heed(tenant: str, db: Connection, ids: Sequence[str]) -> set[str]:
    """Note that these acts have their effect in this transaction; gives those that had not had it before."""
    return set((await db.execute(HEED, {"tenant": tenant, "ids": list(ids)})).scalars()) if ids else set()

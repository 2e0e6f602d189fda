"""Findings: what detectors and rules saw."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, text

from tonewatch.records import Finding, FindingKind
from warehouse.database import Connection
from warehouse.pages import Page, within
from warehouse.rows import packed, row, same_tenant, utc

COLUMNS = """entity, detector, kind, started, ended, summary, symptom, expected, actual, score, rate, features,
    model_version, evidence"""
SAVE = text("""
    insert into finding (tenant, id, entity, detector, kind, started, ended, summary, symptom, expected, actual, score,
        rate, features, model_version, evidence)
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, entity text, detector text,
        kind text, started timestamptz, ended timestamptz, summary text, symptom text, expected text, actual text,
        score double precision, rate double precision, features jsonb, model_version text, evidence text[])
    order by n.id
    on conflict do nothing
""")
SINCE = text(f"""
    select {COLUMNS} from finding where tenant = :tenant and ended >= :time order by ended, id
""")  # noqa: S608 - a constant
OF_INCIDENT = text(f"""
    select {COLUMNS} from finding
    where tenant = :tenant
      and id in (select finding from incident_finding where tenant = :tenant and incident = :incident)
    order by started, id
""")  # noqa: S608 - a constant


UNPLACED = text(f"""
    select {COLUMNS} from finding f
    where tenant = :tenant and ended >= :time and kind in ('rule', 'signal', 'security')
      and not exists (select from incident_finding i where i.tenant = :tenant and i.finding = f.id)
    order by started, id
""")  # noqa: S608 - a constant


NEWEST = text(f"""
    select {COLUMNS} from finding
    where tenant = :tenant and (:entity = '' or entity = :entity) and (:kind = '' or kind = :kind)
        and {within("ended", "id")}
""")  # noqa: S608 - a constant
PLACED = text("""
    select finding, min(incident) as incident from incident_finding
    where tenant = :tenant and finding = any(cast(:findings as text[])) group by finding
""")


async def save(tenant: str, db: Connection, findings: Sequence[Finding]) -> int:
    """Keep the findings; gives how many were new (the same finding again, after a crash, is none)."""
    if not findings:
        return 0
    same_tenant(tenant, findings)
    rows = packed(row(finding, id=finding.id) for finding in findings)
    return (await db.execute(SAVE, {"tenant": tenant, "rows": rows})).rowcount


async def since(tenant: str, db: Connection, time: datetime) -> list[Finding]:
    """Findings whose window ended at `time` or later, in that order."""
    found = await db.execute(SINCE, {"tenant": tenant, "time": utc(time)})
    return [_finding(tenant, each) for each in found.mappings()]


async def unplaced(tenant: str, db: Connection, time: datetime) -> list[Finding]:
    """Findings that may open an incident, ended at `time` or later, and belong to none yet."""
    found = await db.execute(UNPLACED, {"tenant": tenant, "time": utc(time)})
    return [_finding(tenant, each) for each in found.mappings()]


async def of_incident(tenant: str, db: Connection, incident: str) -> list[Finding]:
    """The findings of an incident in the order in which they started."""
    found = await db.execute(OF_INCIDENT, {"tenant": tenant, "incident": incident})
    return [_finding(tenant, each) for each in found.mappings()]


async def newest(tenant: str, db: Connection, page: Page, entity: str = "", kind: str = "") -> list[Finding]:
    """Findings by the end of their window; of `entity` and `kind` alone where one is given."""
    found = await db.execute(NEWEST, {"tenant": tenant, "entity": entity, "kind": kind} | page.values())
    return [_finding(tenant, each) for each in found.mappings()]


async def placed(tenant: str, db: Connection, ids: Sequence[str]) -> dict[str, str]:
    """The incident that each of these findings belongs to, of those that belong to one."""
    found = await db.execute(PLACED, {"tenant": tenant, "findings": list(ids)})
    return {each.finding: each.incident for each in found}


def _finding(tenant: str, found: RowMapping) -> Finding:
    values: dict[str, Any] = dict(found)
    values["kind"] = FindingKind(values["kind"])
    values["features"] = {name: float(value) for name, value in values["features"].items()}
    values["evidence"] = tuple(values["evidence"])
    return Finding(tenant=tenant, **values)

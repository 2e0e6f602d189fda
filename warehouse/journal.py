"""The run journal: what ran, kept whether the orchestrator was there or not."""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping, text

from tonewatch.records import Run, RunKind
from warehouse.database import Connection
from warehouse.rows import packed, row, same_tenant

START = text("""
    insert into run (tenant, id, kind, started, ended, incident, outcome, summary, flow_run)
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, kind text, started timestamptz,
        ended timestamptz, incident text, outcome text, summary jsonb, flow_run text)
    on conflict (tenant, id) do nothing
""")
# flow_run is left alone unless it is given: set_flow_run may have been quicker than the end of the run.
FINISH = text("""
    insert into run as r (tenant, id, kind, started, ended, incident, outcome, summary, flow_run)
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, kind text, started timestamptz,
        ended timestamptz, incident text, outcome text, summary jsonb, flow_run text)
    on conflict (tenant, id) do update set ended = excluded.ended, incident = coalesce(excluded.incident, r.incident),
        outcome = excluded.outcome, summary = excluded.summary, flow_run = coalesce(excluded.flow_run, r.flow_run)
""")
UNRECORDED = text("""
    select id, kind, started, ended, incident, outcome, summary, flow_run from run
    where tenant = :tenant and flow_run is null and ended is not null order by started, id
""")
RUNNING = text("""
    select id, kind, started, ended, incident, outcome, summary, flow_run from run
    where tenant = :tenant and ended is null order by started, id
""")
SET_FLOW_RUN = text("update run set flow_run = :flow_run where tenant = :tenant and id = :id")


async def start(tenant: str, db: Connection, run: Run) -> None:
    """Note that the run has started."""
    same_tenant(tenant, [run])
    await db.execute(START, {"tenant": tenant, "rows": packed([row(run)])})


async def finish(tenant: str, db: Connection, run: Run) -> None:
    """Note how the run ended, also when its start was never noted."""
    same_tenant(tenant, [run])
    await db.execute(FINISH, {"tenant": tenant, "rows": packed([row(run)])})


async def unrecorded(tenant: str, db: Connection) -> list[Run]:
    """Runs that have ended and that no flow run shows yet, oldest first."""
    found = await db.execute(UNRECORDED, {"tenant": tenant})
    return [_run(tenant, each) for each in found.mappings()]


async def running(tenant: str, db: Connection) -> list[Run]:
    """Runs that have not ended, oldest first."""
    found = await db.execute(RUNNING, {"tenant": tenant})
    return [_run(tenant, each) for each in found.mappings()]


async def set_flow_run(tenant: str, db: Connection, run_id: str, flow_run_id: str) -> None:
    """Note which flow run shows the run."""
    await db.execute(SET_FLOW_RUN, {"tenant": tenant, "id": run_id, "flow_run": flow_run_id})


def _run(tenant: str, found: RowMapping) -> Run:
    values: dict[str, Any] = dict(found)
    values["kind"] = RunKind(values["kind"])
    return Run(tenant=tenant, **values)

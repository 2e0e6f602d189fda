"""Correlation: findings become incidents. It runs in every tick; its Prefect run opens with the incident."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from prefect import flow, runtime
from prefect.artifacts import acreate_markdown_artifact

from flows.detection import summary_text
from flows.recorder import ended
from tasks.correlate import Correlated, correlate
from tonewatch.records import Run
from tonewatch.topology import Topology
from warehouse import findings
from warehouse.database import Warehouse

#: A finding older than this opens no incident: whatever it told of is over.
MEMORY = timedelta(minutes=10)


async def round_of_correlation(
    tenant: str, warehouse: Warehouse, topology: Topology, now: datetime, excused: Collection[str] = ()
) -> Correlated:
    """Place every finding that belongs to no incident yet; the warehouse knows which, also after a crash.

    `excused`: ids of findings that are left alone (a starved watcher's).
    """
    async with warehouse.as_tenant(tenant) as db:
        unplaced = await findings.unplaced(tenant, db, now - MEMORY)
        return await correlate(tenant, db, [f for f in unplaced if f.id not in excused], topology, now)


@flow(name="correlation", flow_run_name="{tenant}-{incident}", validate_parameters=False)
async def correlation(
    tenant: str,
    run_id: str,
    incident: str,
    started: datetime,
    ended_at: datetime | None = None,
    recorded_late: bool = False,
) -> Mapping[str, Any]:
    """The correlation of one incident: from its first finding to its ranked causes."""
    run = await ended(run_id, runtime.flow_run.id)
    text = summary_text(run, recorded_late)
    await acreate_markdown_artifact(key="correlation", markdown=text, description=f"Incident {incident}")
    return dict(run.summary)


async def show_correlation(run: Run, recorded_late: bool) -> Any:
    """Run the flow that shows the correlation `run`."""
    return await correlation(run.tenant, run.id, run.incident or "", run.started, run.ended, recorded_late)

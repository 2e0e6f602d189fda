"""Correlation: findings become incidents. It runs in every tick; its Prefect run opens with the incident."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from prefect import flow, runtime
from prefect.artifacts import acreate_markdown_artifact

from flows.detection import DetectionState, summary_text
from flows.recorder import ended
from policy.grouping import BLAMED, explained
from policy.strange import lasts
from tasks.correlate import Correlated, correlate
from tonewatch.records import FindingKind, Run
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse import changes, findings
from warehouse.database import Warehouse

#: A finding older than this opens no incident: whatever it told of is over.
MEMORY = timedelta(minutes=10)


async def round_of_correlation(
    tenant: str, warehouse: Warehouse, detection: DetectionState, topology: Topology, profile: Profile, now: datetime
) -> Correlated:
    """Place every finding that belongs to no incident yet; the warehouse knows which, also after a crash.

    What a starved watcher saw is left alone; so are an anomaly that has not lasted and what announced work explains.
    """
    held_back = set(detection.excused.values())
    # What still holds is placed however long ago it began: starvation may have held it back.
    oldest = min((c.met for c in detection.conditions.values()), default=now)
    async with warehouse.as_tenant(tenant) as db:
        unplaced = [f for f in await findings.unplaced(tenant, db, min(now - MEMORY, oldest)) if f.id not in held_back]
        known = await changes.standing(tenant, db, min(now - MEMORY, oldest) - BLAMED, now + timedelta(microseconds=1))
        holding = {condition.finding(tenant).id for condition in detection.conditions.values()}
        unexplained = [f for f in unplaced if explained(f, known, topology, now, f.id in holding) is None]
        lasted = lasting(detection, profile, tenant, now)
        return await correlate(tenant, db, unexplained, topology, now, lasted, known)


def lasting(detection: DetectionState, profile: Profile, tenant: str, now: datetime) -> set[str]:
    """The findings of anomalies that hold now and have held for as long as the profile asks."""
    since = now - timedelta(seconds=profile.anomaly_seconds)
    held = (c for c in detection.conditions.values() if c.kind is FindingKind.SIGNAL)
    return {condition.finding(tenant).id for condition in held if condition.met <= since or lasts(condition.detector)}


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

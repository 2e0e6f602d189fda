"""Detection: a tick takes what arrived through check and detect into the warehouse; a shift is a stretch of ticks.

The watcher runs ticks; Prefect sees shifts.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from prefect import flow, runtime
from prefect.artifacts import acreate_markdown_artifact

from flows.recorder import ended
from flows.ticks import Batch as Batch  # whoever ticks finds what a tick needs here
from flows.ticks import DetectionState as DetectionState
from flows.ticks import carry_on, excused, judge, take_in
from tasks.detect import HORIZON
from tonewatch.errors import WarehouseAway, WarehouseError
from tonewatch.records import Finding, Run
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse import cursors, deliveries, findings, samples
from warehouse.database import Warehouse

#: Samples kept for the warehouse while it is away: about ten minutes of the soundstage.
UNSAVED_LIMIT = 300_000


async def tick(
    tenant: str, warehouse: Warehouse, state: DetectionState, batch: Batch, topology: Topology, profile: Profile
) -> list[Finding]:
    """One tick: check, detect, then findings, samples and cursor in one transaction; the findings that are new.

    Raises WarehouseAway: nothing is written; samples are kept and findings come out the same in the next tick.
    WarehouseError: the samples are refused; they are given up and counted, the next tick goes on without them.
    """
    now = batch.window[1]
    good, broken = take_in(state, batch)
    state.unsaved.extend(good)
    if len(state.unsaved) > UNSAVED_LIMIT:
        state.lost += len(state.unsaved) - UNSAVED_LIMIT
        del state.unsaved[:-UNSAVED_LIMIT]
    found = await asyncio.to_thread(judge, state, batch, broken, topology, profile)
    doubted = excused(state.excused, state.conditions, found, tenant)
    position = {
        **batch.positions,
        "time": now.isoformat(),
        "excused": [[*key, finding] for key, finding in doubted.items()],
    }
    try:
        async with warehouse.as_tenant(tenant) as db:
            await samples.append(tenant, db, state.unsaved)
            await findings.save(tenant, db, [condition.finding(tenant) for condition in found.values()])
            await cursors.set(tenant, db, "detection", position, now)
            if "pushed" in batch.positions:
                await deliveries.forget(tenant, db, deliveries.position(batch.positions["pushed"]))
    except WarehouseAway:
        raise
    except WarehouseError:
        # Something in the batch is refused and would be for ever; findings and incidents must not stop for it.
        state.lost += len(state.unsaved)
        state.unsaved.clear()
        raise
    state.unsaved.clear()
    return carry_on(tenant, state, found, doubted)


async def restore(tenant: str, warehouse: Warehouse, state: DetectionState, now: datetime) -> dict[str, Any]:
    """Fill the state from the warehouse, as an earlier watcher left it; the cursor to go on from."""
    async with warehouse.as_tenant(tenant) as db:
        position = await cursors.get(tenant, db, "detection") or {}
        state.restored = await samples.read(tenant, db, now - HORIZON, now)
        state.recent.add(state.restored)
    state.excused = {(entity, detector): finding for entity, detector, finding in position.get("excused", ())}
    return position


@flow(name="detection", flow_run_name="{tenant}-shift-{run_id}", validate_parameters=False)
async def detection(
    tenant: str, run_id: str, started: datetime, ended_at: datetime | None = None, recorded_late: bool = False
) -> dict[str, Any]:
    """A shift of the watcher: stands for its ticks from beginning to end, and leaves a summary."""
    run = await ended(run_id, runtime.flow_run.id)
    await acreate_markdown_artifact(key="shift", markdown=summary_text(run, recorded_late), description="One shift")
    return dict(run.summary)


async def show_shift(run: Run, recorded_late: bool) -> Any:
    """Run the flow that shows the shift `run`."""
    return await detection(run.tenant, run.id, run.started, run.ended, recorded_late)


def summary_text(run: Run, recorded_late: bool) -> str:
    """A run's artifact: its true times and its figures; ids only, nothing of a tenant's content."""
    lines = [
        f"# {run.kind.value} {run.id}",
        "",
        f"- tenant: `{run.tenant}`",
        f"- began: {run.started.isoformat()}",
        f"- ended: {run.ended.isoformat() if run.ended else 'not yet'}",
        f"- outcome: {run.outcome}",
        *([f"- incident: `{run.incident}`"] if run.incident else []),
        *(["- recorded later: Prefect was away while this ran"] if recorded_late else []),
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in run.summary.items()),
    ]
    return "\n".join(lines)

"""Reporting: once a week each tenant's people get its figures by mail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from prefect import flow, get_run_logger, runtime
from prefect.artifacts import acreate_table_artifact

from policy.period import week_before
from tasks.summarise import Summary
from tasks.weekly import Laid, lay, make
from tonewatch.clock import SYSTEM
from tonewatch.settings import addressed, read
from warehouse import tenants
from warehouse.database import Warehouse


@flow(name="weekly-report", flow_run_name="{tenant}-weekly-report", log_prints=False)
async def weekly_report(
    tenant: str | None = None, as_of: datetime | None = None, force: bool = False
) -> Mapping[str, Any]:
    """Report the tenant's last whole ISO week (UTC) before `as_of` by e-mail, through the outbox.

    Without them: the tenant of the settings, and the time for which the run was scheduled, so that a worker that was
    away reports each week that it missed. The same week is written once, unless `force`. Gives the figures that the
    run's artifact shows: ids and numbers, nothing of the tenant's content. Raises SettingsError, WarehouseAway.
    """
    settings = read()
    tenant = tenant or settings.tenant
    now = SYSTEM.now()
    due = as_of or runtime.flow_run.scheduled_start_time or now
    warehouse = Warehouse.from_settings(settings)
    try:
        async with warehouse.as_tenant(tenant) as db:
            profile = await tenants.profile(tenant, db)
        report = await make(tenant, warehouse, week_before(due), profile, now, settings.named_state_dir)
        if "email" in addressed(settings, profile).alert_channels:
            laid = await lay(tenant, warehouse, report, now, force=force)
        else:
            laid = Laid("", False, "e-mail is not among alert_channels: nothing was put into the outbox")
    finally:
        await warehouse.close()
    get_run_logger().info("%s", laid.told)
    figures = figures_of(report.summary, laid)
    rows = [{"figure": name, "value": value} for name, value in figures.items()]
    await acreate_table_artifact(rows, key="weekly-report", description=f"Tenant `{tenant}`: {laid.told}.")
    return figures


def figures_of(summary: Summary, laid: Laid) -> dict[str, Any]:
    """What the orchestrator may show of a report."""
    repaired, total = summary.repaired, summary.total
    return {
        "period": summary.period.key,
        "notice": laid.notice,
        "new": laid.new,
        "availability": total.availability,
        "due_minutes": round(total.due_minutes, 3),
        "lost_minutes": round(total.lost_minutes, 3),
        "saved_minutes": round(summary.saved_minutes, 3),
        "incidents": len(summary.incidents),
        "mttr_median_s": repaired and round(repaired.median_s, 3),
        "false_pages": summary.pages.false,
        "unlabelled_pages": summary.pages.unlabelled,
        "pages_allowed": round(summary.pages.allowed, 3),
    }

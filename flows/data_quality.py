"""Data quality: every hour what is kept of the views is held against their contracts; owners are told what breaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact

from tasks.data_quality import Inspected, Inspection, inspect
from tonewatch.clock import SYSTEM, Clock, ManualClock
from tonewatch.errors import TonewatchError, WarehouseError
from tonewatch.settings import Settings, read
from warehouse import tenants
from warehouse.database import Warehouse

#: Below a tenant's folder of reports, which is written out and removed with it.
DOCS = "data-docs"


@dataclass(slots=True)
class Round:
    """What a round found, and the tenants that failed, with why."""

    done: list[Inspection] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


async def look_through(warehouse: Warehouse, settings: Settings, clock: Clock) -> Round:
    """Inspect every tenant's views. One that fails keeps no other from its turn. Raises WarehouseAway."""
    told = Round()
    for slug in await tenants.everybody(warehouse):
        docs = settings.state_dir / "reports" / slug / DOCS
        try:
            told.done.append(await inspect(slug, warehouse, settings, clock.now(), docs))
        except TonewatchError as error:
            told.failed[slug] = str(error)
    return told


@flow(name="data-quality", flow_run_name="data-quality", log_prints=False)
async def data_quality(as_of: datetime | None = None) -> Mapping[str, Any]:
    """A round for all tenants. Raises WarehouseError at the end, naming the tenants that failed."""
    settings = read()
    warehouse = Warehouse.from_settings(settings)
    try:
        told = await look_through(warehouse, settings, ManualClock(as_of) if as_of else SYSTEM)
    finally:
        await warehouse.close()
    log = get_run_logger()
    for slug, why in told.failed.items():
        log.error("%s: %s", slug, why)
    for note in dict.fromkeys(view.note for each in told.done for view in each.views if view.note):
        log.warning("%s", note)
    rows = [_row(each.tenant, view) for each in told.done for view in each.views]
    await acreate_table_artifact(rows, key="data-quality", description=_words(told))
    if told.failed:
        raise WarehouseError(f"{len(told.failed)} tenants failed: {told.failed}")
    return {"views": rows}


def _row(tenant: str, of: Inspected) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "view": of.view,
        "owner": of.owner,
        "rows": of.rows,
        "broken": [f"{each.clause} {each.feature}".strip() for each in of.broken],
        "began": len(of.began),
        "ended": len(of.ended),
    }


def _words(told: Round) -> str:
    views = [view for each in told.done for view in each.views]
    sent = sum(each.notices for each in told.done)
    return f"{len(views)} views, {sum(len(each.broken) for each in views)} clauses do not hold; {sent} notices."

"""Maintenance: once an hour samples are rolled up, and what has outlived its retention ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact

from tasks.retain import Retained, drop_days, retain
from tonewatch.clock import SYSTEM
from tonewatch.errors import TonewatchError, WarehouseError
from tonewatch.settings import read
from warehouse import tenants
from warehouse.database import Warehouse


@flow(name="maintenance", flow_run_name="maintenance", log_prints=False)
async def maintenance(as_of: datetime | None = None) -> Mapping[str, Any]:
    """Roll up and end for every tenant, then drop the days that nobody needs.

    One tenant that fails keeps no other from its turn; but no day is dropped before all of it is rolled up. Raises
    WarehouseError at the end, naming those that failed.
    """
    warehouse = Warehouse.from_settings(read())
    now = as_of or SYSTEM.now()
    done: list[Retained] = []
    failed: dict[str, str] = {}
    dropped = 0
    try:
        async with warehouse.as_dispatcher() as db:
            slugs = await tenants.slugs(db)
        for slug in slugs:
            try:
                done.append(await retain(slug, warehouse, now))
            except TonewatchError as error:
                failed[slug] = str(error)
                get_run_logger().error("%s: %s", slug, error)
        if done and not failed:
            dropped = await drop_days(warehouse, done[0].tenant, now)
    finally:
        await warehouse.close()
    rows = [{"tenant": each.tenant, "rolled_up": each.rolled_up, **each.ended} for each in done]
    await acreate_table_artifact(rows, key="maintenance", description=f"{dropped} days of samples were dropped.")
    if failed:
        raise WarehouseError(f"{len(failed)} of {len(slugs)} tenants failed: {failed}")
    return {"days_dropped": dropped, "tenants": [asdict(each) for each in done]}

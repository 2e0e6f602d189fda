"""Maintenance: once an hour verdicts ease thresholds, samples are rolled up, and what is outlived ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact

from tasks.keep_cases import keep_closed
from tasks.recalibrate import recalibrate
from tasks.retain import Retained, drop_days, end_features, retain
from tonewatch.clock import SYSTEM
from tonewatch.errors import TonewatchError, WarehouseError
from tonewatch.settings import Settings, read
from warehouse import tenants
from warehouse.database import Warehouse


@dataclass(frozen=True, slots=True)
class Round:
    """What a round did: per tenant, which tenants failed and why, and how many days of samples were dropped.

    eased: tenant -> thresholds that were raised after what people said; features: tenant -> rows of features ended;
    cases: tenant -> incidents that were kept as cases.
    """

    done: list[Retained]
    eased: dict[str, int]
    failed: dict[str, str]
    dropped: int
    features: dict[str, int]
    cases: dict[str, int]


async def keep_house(warehouse: Warehouse, now: datetime, settings: Settings) -> Round:
    """Roll up and end for every tenant, drop the days that nobody needs, ease thresholds, keep incidents as cases.

    One tenant that fails keeps no other from its turn; but no day is dropped before all of it is rolled up. Rows of
    features, of which there may be millions, end last: nothing else waits for them. Raises WarehouseAway.
    """
    done: list[Retained] = []
    eased: dict[str, int] = {}
    features: dict[str, int] = {}
    cases: dict[str, int] = {}
    failed: dict[str, str] = {}
    slugs = await tenants.everybody(warehouse)
    for slug in slugs:
        try:
            done.append(await retain(slug, warehouse, now))
        except TonewatchError as error:
            failed[slug] = str(error)
    dropped = await drop_days(warehouse, done[0].tenant, now) if done and not failed else 0
    for slug in slugs:  # last: it keeps nothing from ending
        try:
            eased[slug] = len(await recalibrate(slug, warehouse, now))
            features[slug] = await end_features(slug, warehouse, now)
            cases[slug] = await keep_closed(slug, warehouse, settings.cases_dir / slug, now, settings.cases_kept)
        except TonewatchError as error:
            failed.setdefault(slug, str(error))
    return Round(done, eased, failed, dropped, features, cases)


@flow(name="maintenance", flow_run_name="maintenance", log_prints=False)
async def maintenance(as_of: datetime | None = None) -> Mapping[str, Any]:
    """A round of housekeeping. Raises WarehouseError at the end, naming the tenants that failed."""
    settings = read()
    warehouse = Warehouse.from_settings(settings)
    try:
        kept = await keep_house(warehouse, as_of or SYSTEM.now(), settings)
    finally:
        await warehouse.close()
    for slug, why in kept.failed.items():
        get_run_logger().error("%s: %s", slug, why)
    rows = [
        {
            "tenant": each.tenant,
            "rolled_up": each.rolled_up,
            "eased": kept.eased.get(each.tenant, 0),
            "cases": kept.cases.get(each.tenant, 0),
            "feature_row": kept.features.get(each.tenant, 0),
            **each.ended,
        }
        for each in kept.done
    ]
    await acreate_table_artifact(rows, key="maintenance", description=f"{kept.dropped} days of samples were dropped.")
    if kept.failed:
        tried = len({*kept.failed, *(each.tenant for each in kept.done)})
        raise WarehouseError(f"{len(kept.failed)} of {tried} tenants failed: {kept.failed}")
    return {"days_dropped": kept.dropped, "tenants": [asdict(each) for each in kept.done]}

"""Retraining: every night it is decided for each tenant whether its models are old, or labels ask for new ones."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact

from flows import learn
from flows.drift import Ask, Round, deliver
from tasks.retrain import Considered, retrain
from tonewatch.clock import SYSTEM, Clock, ManualClock
from tonewatch.errors import TonewatchError, WarehouseError
from tonewatch.settings import read
from warehouse import tenants
from warehouse.database import Warehouse


async def consider(warehouse: Warehouse, clock: Clock, ask: Ask = learn.ask) -> tuple[list[Considered], Round]:
    """Decide for every tenant, and hand what is asked for to Prefect, also what waited. One that fails keeps no other
    from its turn. Raises WarehouseAway.
    """
    told, done = Round(), []
    for slug in await tenants.everybody(warehouse):
        try:
            considered = await retrain(slug, warehouse, clock.now())
            if considered is not None:
                done.append(considered)
            await deliver(slug, warehouse, clock, ask, told)
        except TonewatchError as error:
            told.failed[slug] = str(error)
    return done, told


@flow(name="retraining", flow_run_name="retraining", log_prints=False)
async def retraining(as_of: datetime | None = None) -> Mapping[str, Any]:
    """A round for all tenants. Raises WarehouseError at the end, naming the tenants that failed."""
    warehouse = Warehouse.from_settings(read())
    try:
        done, told = await consider(warehouse, ManualClock(as_of) if as_of else SYSTEM)
    finally:
        await warehouse.close()
    log = get_run_logger()
    for line in [*told.away, *(f"{slug}: {why}" for slug, why in told.failed.items())]:
        log.error("%s", line)
    rows = [row for each in done for row in _rows(each)]
    asked = [f"{tenant} {each.view}: {each.why}" for tenant, each in told.asked]
    words = f"{len(done)} tenants were considered; {len(asked)} trainings were asked for."
    await acreate_table_artifact(rows, key="retraining", description=words)
    if told.failed:
        raise WarehouseError(f"{len(told.failed)} tenants failed: {told.failed}")
    return {"considered": rows, "asked": asked, "away": told.away}


def _rows(of: Considered) -> list[dict[str, Any]]:
    return [
        {"tenant": of.tenant, "by": why.value, "asks": decision.ask, "why": decision.why}
        for why, decision in of.decided.items()
    ]

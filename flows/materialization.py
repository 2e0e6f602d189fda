"""Materialisation: once an hour samples become rows of features, and contracts are held against them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact

from feature_store import expectations, offline
from feature_store.contracts import Breach, contract
from feature_store.views import view
from tasks.materialize import Materialized, materialize
from tonewatch.clock import SYSTEM, Clock, ManualClock
from tonewatch.errors import TonewatchError, WarehouseError
from tonewatch.settings import read
from warehouse import tenants
from warehouse.cache import Cache
from warehouse.database import Warehouse


@dataclass(frozen=True, slots=True)
class Round:
    """What a round did, which tenants failed and why, and what Great Expectations says, by tenant and view.

    expected: None where the group `learning` is not installed; the contracts were held against the rows all the same.
    """

    done: list[Materialized]
    failed: dict[str, str]
    expected: dict[str, list[Breach]] | None


async def make_features(warehouse: Warehouse, cache: Cache, clock: Clock) -> Round:
    """Materialise every tenant's views. One tenant that fails keeps no other from its turn. Raises WarehouseAway."""
    done: list[Materialized] = []
    failed: dict[str, str] = {}
    expected: dict[str, list[Breach]] | None = {} if expectations.installed() else None
    for slug in await tenants.everybody(warehouse):
        try:
            made = await materialize(slug, warehouse, cache, clock)
            done += made
            if expected is not None:
                expected |= {f"{slug} {each.view}": await validated(warehouse, each, clock.now()) for each in made}
        except TonewatchError as error:
            failed[slug] = str(error)
    return Round(done, failed, expected)


async def validated(warehouse: Warehouse, made: Materialized, now: datetime) -> list[Breach]:
    """What Great Expectations says of the view's rows that are still fresh. Raises FeatureError: it fails."""
    async with warehouse.as_tenant(made.tenant) as db:
        held = view(made.view, await tenants.profile(made.tenant, db))
        values, times = await offline.rows(made.tenant, db, held, now - held.fresh, now)
    # In a thread: the first time its import takes eight seconds, in which Prefect's heartbeats must go on.
    return await asyncio.to_thread(expectations.validate, contract(held), held.names, values, times, now)


@flow(name="materialization", flow_run_name="materialization", log_prints=False)
async def materialization(as_of: datetime | None = None) -> Mapping[str, Any]:
    """A round for all tenants. Raises WarehouseError at the end, naming the tenants that failed."""
    settings = read()
    warehouse = Warehouse.from_settings(settings)
    cache = Cache(settings.redis_url.get_secret_value() if settings.redis_url else None)
    try:
        round_ = await make_features(warehouse, cache, ManualClock(as_of) if as_of else SYSTEM)
    finally:
        await cache.close()
        await warehouse.close()
    _log(round_)
    rows = [
        # an artifact holds nothing but what JSON does
        asdict(each) | {"until": each.until.isoformat(), "broken": [breach.told for breach in each.broken]}
        for each in round_.done
    ]
    await acreate_table_artifact(rows, key="materialization", description=_words(round_))
    if round_.failed:
        raise WarehouseError(f"{len(round_.failed)} tenants failed: {round_.failed}")
    return {"views": rows, "expected": {key: len(found) for key, found in (round_.expected or {}).items()}}


def _log(round_: Round) -> None:
    log = get_run_logger()
    for slug, why in round_.failed.items():
        log.error("%s: %s", slug, why)
    for each in round_.done:
        for breach in each.broken:
            log.warning("%s breaks the contract of %s: %s %s", each.tenant, each.view, breach.feature, breach.told)


def _words(round_: Round) -> str:
    written = sum(each.rows for each in round_.done)
    if round_.expected is None:
        return (
            f"{written} rows. Great Expectations is not installed (make learning): the contracts were checked without."
        )
    return f"{written} rows; Great Expectations found {sum(map(len, round_.expected.values()))} breaches in fresh rows."

"""Drift: every six hours it is looked whether features, scores and verdicts are still what they were."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_link_artifact, acreate_table_artifact

from flows import learn
from ml import drift_report
from ml.champion import Champion, Failing
from ml.drift import Verdict
from ml.kinds import family_and_kind
from policy.retraining import Why
from tasks.drift import INCIDENTS, Checked, check, due, pictured, waiting
from tasks.fetch import Bench
from tasks.train import families_of
from tonewatch.clock import SYSTEM, Clock, ManualClock
from tonewatch.errors import ModelError, PartFailed, TonewatchError, WarehouseError
from tonewatch.settings import Settings, read
from tonewatch.topology import Topology
from warehouse import calibrations, drift, entities, lineage, tenants
from warehouse.database import Warehouse
from warehouse.drift import ALL, DriftCheck, RetrainingRequest

#: (tenant, families or None for all, key, now, what asked) -> the flow run that will train them.
Ask = Callable[[str, Sequence[str] | None, str, datetime, Sequence[str]], Awaitable[str]]


@dataclass(slots=True)
class Round:
    """What a round found; links: (tenant, view, where its page of pictures is); asked: retrainings that Prefect took;
    relearned: tenant -> the run that trains what is to be learned without somebody's rows; away: what could not be done
    now and is tried again by the next round; failed: tenants that could not be checked.
    """

    done: list[Checked] = field(default_factory=list)
    links: list[tuple[str, str, str]] = field(default_factory=list)
    asked: list[tuple[str, RetrainingRequest]] = field(default_factory=list)
    relearned: dict[str, str] = field(default_factory=dict)
    away: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


async def watch_drift(warehouse: Warehouse, settings: Settings, clock: Clock, ask: Ask = learn.ask) -> Round:
    """Check every tenant. One that fails keeps no other from its turn; MLflow and Prefect being away keeps no row from
    being kept. Raises WarehouseAway.
    """
    told = Round()
    for slug in await tenants.everybody(warehouse):
        try:
            champions, failing = await _champions(slug, warehouse, settings, told)
            checked = await check(slug, warehouse, champions, clock.now(), failing)
            told.done += checked
            for each in checked:
                if champions is not None and each.new and each.check.verdict == Verdict.DRIFT:
                    await _picture(slug, warehouse, settings, each, told)
            await deliver(slug, warehouse, clock, ask, told)
            await _relearn(slug, warehouse, clock, ask, told)
        except TonewatchError as error:
            told.failed[slug] = str(error)
    return told


async def _champions(
    tenant: str, warehouse: Warehouse, settings: Settings, told: Round
) -> tuple[Mapping[str, Champion] | None, Sequence[Failing]]:
    """The models whose scores are looked at, None: MLflow is away or there is none; and champions that cannot score."""
    uri = settings.mlflow_tracking_uri
    if not uri:
        return None, ()
    async with warehouse.as_tenant(tenant) as db:
        mine = await calibrations.newest(tenant, db)
        retired = await lineage.retired(tenant, db)
    bench = Bench(tenant, uri)
    try:
        return await asyncio.to_thread(bench.champions, mine, retired), bench.failing
    except ModelError as error:
        told.away.append(f"{tenant}: the scores were not looked at, no page of pictures is made: {error}")
        return None, ()


async def _picture(tenant: str, warehouse: Warehouse, settings: Settings, of: Checked, told: Round) -> None:
    """Keep a page of pictures in MLflow, once while a drift lasts."""
    made, uri = of.check, settings.mlflow_tracking_uri
    if made.view == INCIDENTS or not uri:
        return
    async with warehouse.as_tenant(tenant) as db:
        since = await drift.since(tenant, db, made.view)
        before = await drift.reports(tenant, db, made.view, since or made.window_end)
    if before:
        return
    try:
        run, link = await _logged(tenant, warehouse, uri, of)
    except ModelError as error:
        told.away.append(f"{tenant} {made.view}: no page of pictures: {error}")
        return
    async with warehouse.as_tenant(tenant) as db:
        await drift.reported(tenant, db, made, run)
    told.links.append((tenant, made.view, link))


async def _logged(tenant: str, warehouse: Warehouse, uri: str, of: Checked) -> tuple[str, str]:
    """The MLflow run and the address of the page. Raises ModelError: Evidently or MLflow is away."""
    if not drift_report.installed():
        raise ModelError("Evidently is not installed (make learning)")
    names, reference, current = await pictured(tenant, warehouse, of.check)
    # In threads: import and run take seconds, in which Prefect's heartbeats must go on.
    page = await asyncio.to_thread(drift_report.report, names, reference, current, html=True)
    tags = {"tenant": tenant, "view": of.check.view, "window_end": of.check.window_end.isoformat()}
    metrics = {
        f"{each.subject}.{each.feature}.{each.aspect}": each.effect for each in of.results if each.effect is not None
    }
    finite = {name: value for name, value in metrics.items() if not math.isnan(value)}
    from ml.registry import log_drift  # imports mlflow: seconds that only a drift pays

    return await asyncio.to_thread(log_drift, uri, f"{tenant}-{of.check.view}-drift", tags, finite, page.html)


async def deliver(tenant: str, warehouse: Warehouse, clock: Clock, ask: Ask, told: Round) -> None:
    """Hand what is due to Prefect, all of a tenant as one training; what it does not take waits for the next round, and
    what is over by then is dropped.
    """
    now = clock.now()
    async with warehouse.as_tenant(tenant) as db:
        day = timedelta(seconds=(await tenants.profile(tenant, db)).day_seconds)
        await drift.in_turn(tenant, db)
        ready = [each for each in await waiting(tenant, db, now) if due(each, now, day)]
    if not ready:
        return
    families = sorted({each.view for each in ready})
    key = f"training-{tenant}-{'-'.join(families)}-{max(each.asked for each in ready).isoformat()}"
    whole, why = {INCIDENTS, ALL} & set(families), sorted({each.why for each in ready})
    try:
        run = await ask(tenant, None if whole else families, key, now, why)
    except PartFailed as error:
        told.away.append(f"{tenant}: the retraining of {', '.join(families)} waits: {error}")
        return
    async with warehouse.as_tenant(tenant) as db:
        for each in ready:
            await drift.delivered(tenant, db, each, run, now)
    told.asked += [(tenant, each) for each in ready]


async def _relearn(tenant: str, warehouse: Warehouse, clock: Clock, ask: Ask, told: Round) -> None:
    """Ask for the training of models that are to be learned without somebody's rows: once a day, until it is done."""
    async with warehouse.as_tenant(tenant) as db:
        wanted = await lineage.requested(tenant, db)
        known = families_of(Topology(await entities.load(tenant, db, clock.now()))) if wanted else {}
    # A family that the platform has no more cannot be learned; named with others, it would fail the training of all.
    asked = {
        whose[0]: each for each in reversed(wanted) if (whose := family_and_kind(each.model)) and whose[0] in known
    }
    if not asked:
        return
    families, since = sorted(asked), min(each.requested for each in asked.values())
    key = f"relearn-{tenant}-{'-'.join(families)}-{since.isoformat()}-{clock.now():%Y-%m-%d}"
    try:
        told.relearned[tenant] = await ask(tenant, families, key, clock.now(), [Why.DEPARTURE.value])
    except PartFailed as error:
        told.away.append(f"{tenant}: the new training of {', '.join(families)} waits: {error}")


@flow(name="drift", flow_run_name="drift", log_prints=False)
async def watch(as_of: datetime | None = None) -> Mapping[str, Any]:
    """A round for all tenants. Raises WarehouseError at the end, naming the tenants that failed."""
    settings = read()
    warehouse = Warehouse.from_settings(settings)
    try:
        told = await watch_drift(warehouse, settings, ManualClock(as_of) if as_of else SYSTEM)
    finally:
        await warehouse.close()
    log = get_run_logger()
    for line in [*told.away, *(f"{slug}: {why}" for slug, why in told.failed.items())]:
        log.error("%s", line)
    for tenant, view, link in told.links:
        await acreate_link_artifact(link, link_text=f"{view} drifts", key=f"drift-{tenant}-{view}", description=view)
    rows = [_row(each) for each in told.done]
    await acreate_table_artifact(rows, key="drift", description=_words(told))
    if told.failed:
        raise WarehouseError(f"{len(told.failed)} tenants failed: {told.failed}")
    return {"checks": rows, "asked": [f"{tenant} {each.view}" for tenant, each in told.asked], "away": told.away}


def _row(of: Checked) -> dict[str, Any]:
    made: DriftCheck = of.check
    return {
        "tenant": of.tenant,
        "view": made.view,
        "until": made.window_end.isoformat(),
        "verdict": made.verdict,
        "told": made.told,
        "retraining": "asked for" if of.request else of.rest,
    }


def _words(told: Round) -> str:
    drifted = sum(each.check.verdict == Verdict.DRIFT for each in told.done)
    return f"{len(told.done)} checks, {drifted} of them drift; {len(told.asked)} retrainings were asked for."

"""Probation: a champion that was promoted is held against the one before on what both would have told since, and taken
back by itself where a guard is shown to be broken.

The judging is the validation's own (tasks/shadow.py, ml/ab_test.py), on the samples that the new champion judged live.
Whether it pages is counted by burst and not by day: it is to be seen within days that it pages all the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact

from flows.validation import Contest, contest_of, final_of, observed, readable
from ml.ab_plan import Answer, Guard, Judged
from ml.ab_test import PAGES
from tasks.fetch import unfit
from tasks.promote import champion_of, move, settle
from tasks.propose import tell
from tasks.validate import BURSTS_PER_DAY, HOT, begin, judged, mask, plan_for, takes_part, written
from tonewatch.clock import SYSTEM
from tonewatch.errors import ModelError, ModelUncalibrated, ModelUnfit, SettingsError, TonewatchError
from tonewatch.records import digest
from tonewatch.settings import Settings, addressed, read
from warehouse import lineage, promotions, tenants, validations
from warehouse.calibrations import model_version
from warehouse.database import Warehouse
from warehouse.promotions import Move, Promotion, Stage
from warehouse.tenants import everybody
from warehouse.validations import PROBATION, Looked, Validation

#: How long a champion is on probation, in days of the platform.
DAYS = 14.0
#: Who takes a champion back, in the audit.
WHO = "probation"


@dataclass(frozen=True, slots=True)
class Watched:
    """A promotion that is on probation, and the tenants that it was made for. read: those whose settings can be read,
    on whose streams it is judged; what comes of it is written for all.
    """

    promotion: Promotion
    tenants: list[str]
    read: list[str]

    @property
    def since(self) -> datetime:
        """When it became champion."""
        return self.promotion.moved or self.promotion.asked


@flow(name="probation", flow_run_name="probation", log_prints=False)
async def probation(
    tenants: list[str] | None = None, as_of: datetime | None = None, days: float = DAYS
) -> list[dict[str, Any]]:
    """Look once at every champion that is on probation.

    tenants: whose promotions (default: all); days: of the platform, for which it lasts. One that fails keeps no other
    from its turn. Raises ModelError at the end, naming what failed; the champion stays.
    """
    settings = read()
    now = as_of or SYSTEM.now()
    if now.tzinfo is None:
        raise SettingsError(f"no moment: {now}; give it with its zone")
    warehouse = Warehouse.from_settings(settings)
    try:
        rows, failed = await look(tenants or await everybody(warehouse), warehouse, settings, now, days=days)
    finally:
        await warehouse.close()
    for why in failed:
        get_run_logger().error("%s", why)
    await acreate_table_artifact(rows, key="probation", description=f"{len(rows)} champions are on probation.")
    if failed:
        raise ModelError("; ".join(failed))
    return rows


async def look(
    whose: Sequence[str], warehouse: Warehouse, settings: Settings, now: datetime, *, days: float = DAYS
) -> tuple[list[dict[str, Any]], list[str]]:
    """Look at every champion of these tenants that is on probation: what came of each, and what failed."""
    rows: list[dict[str, Any]] = []
    unread: dict[str, str] = {}
    read = await readable(whose, warehouse, unread)
    failed = [f"{tenant}: {why}" for tenant, why in unread.items()]
    try:
        await settle(whose, warehouse, settings.mlflow_tracking_uri or "", now)
    except ModelError as error:
        failed.append(f"what broke off is not settled: {error}")
    for each in await _watched(whose, read, warehouse):
        try:
            rows.append(await _looked_at(each, warehouse, settings, now, days))
        except TonewatchError as error:
            of = each.promotion
            failed.append(f"{of.family} {of.version} could not be looked at, and stays champion: {error}")
    return rows, failed


async def _watched(whose: Sequence[str], read: Sequence[str], warehouse: Warehouse) -> list[Watched]:
    found: dict[str, Watched] = {}
    for tenant in whose:
        async with warehouse.as_tenant(tenant) as db:
            for each in await promotions.listed(tenant, db, under_way=True):
                if each.state is Stage.PROBATION:
                    watched = found.setdefault(each.id, Watched(each, [], []))
                    watched.tenants.append(tenant)
                    watched.read.extend([tenant] if tenant in read else [])
    return sorted(found.values(), key=lambda each: (each.since, each.promotion.id))


async def _looked_at(
    each: Watched, warehouse: Warehouse, settings: Settings, now: datetime, days: float
) -> dict[str, Any]:
    of = each.promotion
    row = {"family": of.family, "champion": of.version, "before": of.before}
    champion = await champion_of(settings.mlflow_tracking_uri or "", of.family)
    if champion != of.version:
        return row | await _over(each, warehouse, settings, champion, now)
    gone = await _retired(each, warehouse)
    if gone:
        return row | await _without_rival(each, warehouse, f"{gone} is retired", now)
    try:
        kept, answer = await _held_against(each, warehouse, settings, now, days)
    except ModelUncalibrated:  # whose words name every tenant
        return row | await _without_rival(each, warehouse, "no tenant has thresholds for both", now)
    except ModelUnfit as error:
        uri, before = settings.mlflow_tracking_uri or "", str(of.before)
        if await asyncio.to_thread(unfit, uri, of.family, before):  # it would be no better
            return row | await _without_rival(each, warehouse, str(error), now)
        await _take_back(each, warehouse, settings, str(error), now)
        return row | {"answer": "taken back", "reasons": str(error)}
    except ModelError as error:
        if now < await _until(each, warehouse, days):
            raise
        return row | await _without_rival(each, warehouse, str(error), now)
    if answer.answer == Answer.WORSE:
        why = "; ".join(answer.reasons)
        await _take_back(each, warehouse, settings, why, now)
        return row | {"answer": "taken back", "reasons": why}
    if answer.until - kept.started >= timedelta(seconds=kept.plan["longest_s"]):
        await _ended(each, warehouse, Stage.KEPT, "its probation is over: no guard was shown to be broken", now)
        return row | {"answer": "kept"}
    return row | {"answer": "on probation", "reasons": "; ".join(answer.reasons)}


async def _held_against(
    each: Watched, warehouse: Warehouse, settings: Settings, now: datetime, days: float
) -> tuple[Validation, Looked | Judged]:
    """What is known of it beside the one before. Raises ModelError: they cannot be compared, or not at this moment;
    SettingsError: nobody's settings can be read.
    """
    of = each.promotion
    if not each.read:
        raise SettingsError("the settings of none of its tenants can be read")
    contest = await contest_of(settings, warehouse, of.family, str(of.before), of.version, each.read)
    kept = await _begun(each, warehouse, contest, now, days)
    final = await final_of(warehouse, kept, list(contest.pairs))
    if final is not None and final.answer == Answer.WORSE:  # shown once, it stays shown, if nobody could act then
        return kept, final
    return kept, await _judged(warehouse, kept, contest, now)


async def _retired(each: Watched, warehouse: Warehouse) -> str:
    """The one of the two that may not score any more for a tenant of it; empty: both may."""
    of = each.promotion
    for tenant in each.tenants:
        async with warehouse.as_tenant(tenant) as db:
            gone = await lineage.retired(tenant, db)
        for version in (str(of.before), of.version):
            if model_version(of.family, version) in gone:
                return version
    return ""


async def _without_rival(each: Watched, warehouse: Warehouse, why: str, now: datetime) -> dict[str, str]:
    """Its probation is over although nothing was shown: asked again each hour it would show no more."""
    told = f"there is nothing to hold it against any more: {why}"
    await _ended(each, warehouse, Stage.KEPT, told, now)
    return {"answer": "kept", "reasons": told}


async def _until(each: Watched, warehouse: Warehouse, days: float) -> datetime:
    """When its probation is over, whatever was shown."""
    tenant = each.read[0]
    async with warehouse.as_tenant(tenant) as db:
        profile = await tenants.profile(tenant, db)
    return each.since + timedelta(seconds=days * profile.day_seconds)


async def _over(
    each: Watched, warehouse: Warehouse, settings: Settings, champion: str | None, now: datetime
) -> dict[str, str]:
    """Another is champion: because of a run that took it back and died right after, or because people wanted so.

    Raises ModelError: a run takes it back at this moment, or has died in it and is not settled yet.
    """
    of, tenant = each.promotion, each.tenants[0]
    async with warehouse.as_tenant(tenant) as db:
        every = await promotions.listed(tenant, db)
    backs = [row for row in every if (row.who, row.family, row.before) == (WHO, of.family, of.version)]
    back = next((row for row in backs if row.state is Stage.DONE and row.asked >= each.since), None)
    if back is None and any(row.state is Stage.INTENDED for row in backs):
        raise ModelError(f"another run takes {of.family} {of.version} back at this moment")
    if back is None:
        await _ended(each, warehouse, Stage.SUPERSEDED, f"{champion} is champion now", now)
        return {"answer": "superseded"}
    await _tell_taken_back(each, warehouse, settings, back.reason, now)
    return {"answer": "taken back", "reasons": back.reason}


async def _begun(each: Watched, warehouse: Warehouse, contest: Contest, now: datetime, days: float) -> Validation:
    """The plan as it is kept with every tenant: the validation's guards, the one of pages by burst."""
    of = each.promotion
    started = max(each.since, now - HOT)
    profile = next(iter(contest.profiles.values()))
    plan = plan_for(of.family, str(of.before), of.version, list(contest.pairs), started, profile, days=days)
    name = digest("probation", of.id)
    plan = replace(
        plan,
        name=f"{of.family} {of.version} on probation, against {of.before}",
        tenants=tuple(sorted(mask(name, tenant) for tenant in contest.pairs)),
        guards=tuple(_by_burst(guard) for guard in plan.guards),
        day=plan.burst,
    )
    made = Validation(name, of.family, str(of.before), of.version, {**written(plan), PROBATION: of.id}, started)
    return await begin(list(contest.pairs), warehouse, made)


def _by_burst(guard: Guard) -> Guard:
    """Pages are told per week of seven days; here a burst stands for a day, and seven bursts for a week."""
    if guard.name != PAGES:
        return guard
    return replace(guard, tolerance=guard.tolerance / BURSTS_PER_DAY)


async def _judged(warehouse: Warehouse, kept: Validation, contest: Contest, now: datetime) -> Judged:
    """Go on with what both tell, and judge it. Raises ModelError: no tenant of the plan takes part any more."""
    part = [tenant for tenant in contest.pairs if takes_part(kept, tenant)]
    if not part:
        raise ModelError(f"no tenant of the plan of {kept.family} {kept.challenger} takes part any more")
    done = await observed(warehouse, kept, contest, part, now)
    return await judged(part, warehouse, kept, min(each.until for each in done))


async def _take_back(each: Watched, warehouse: Warehouse, settings: Settings, why: str, now: datetime) -> None:
    """Make the champion before the champion again, and tell whoever is told of this tenant.

    Raises ModelError: it cannot be; then a person is told once, and the next run tries again.
    """
    of = each.promotion
    back = Promotion(
        id=digest("taken back", of.id, now.isoformat()),
        family=of.family,
        version=str(of.before),
        before=of.version,
        what=Move.ROLLBACK,
        who=WHO,
        reason=why,
        state=Stage.INTENDED,
        asked=now,
        validation=of.validation,
    )
    try:
        await move(each.tenants, warehouse, settings.mlflow_tracking_uri or "", back, now, proven=False, watched=False)
    except ModelError as error:
        lines = [why, f"{of.before} cannot be made champion again: {error}", "tonewatch models rollback tries it, too"]
        await _told(each, warehouse, settings, "is to be taken back and is not", lines, now, state="stuck")
        raise
    await _tell_taken_back(each, warehouse, settings, why, now)


async def _tell_taken_back(each: Watched, warehouse: Warehouse, settings: Settings, why: str, now: datetime) -> None:
    """The notice before the end of the row: whoever dies in between is followed by one who does both again.

    The registry is told first: to no tenant is the version one that has judged, and that it could fall back on.
    """
    from ml import registry, versions

    of, uri = each.promotion, settings.mlflow_tracking_uri or ""
    await asyncio.to_thread(versions.tag, uri, of.family, of.version, {registry.TAKEN_BACK: now.isoformat()})
    lines = [why, f"{each.promotion.before} judges again; this version is not promoted again by itself"]
    await _told(each, warehouse, settings, "was taken back", lines, now, state="taken-back")
    await _ended(each, warehouse, Stage.TAKEN_BACK, why, now)


async def _told(
    each: Watched,
    warehouse: Warehouse,
    settings: Settings,
    what: str,
    lines: Sequence[str],
    now: datetime,
    *,
    state: str,
) -> None:
    """Tell every tenant; where its settings cannot be read, on the channels of the installation."""
    for tenant in each.tenants:
        async with warehouse.as_tenant(tenant) as db:
            reached = addressed(settings, await tenants.profile(tenant, db)) if tenant in each.read else settings
            await tell(tenant, db, each.promotion, what, lines, reached.alert_channels, now, state=state)


async def _ended(each: Watched, warehouse: Warehouse, stage: Stage, why: str, now: datetime) -> None:
    for tenant in each.tenants:
        async with warehouse.as_tenant(tenant) as db:
            await promotions.change(tenant, db, each.promotion.id, stage, now, why)
            if stage is Stage.TAKEN_BACK and each.promotion.validation:
                await validations.taken_back(tenant, db, each.promotion.validation, now)

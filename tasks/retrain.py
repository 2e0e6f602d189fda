"""Retrain: decides for a tenant whether its models are to be trained again because they are old, or because of labels.

What is decided becomes a request, in a transaction with its line in the audit, as a drift's does (tasks/drift.py). The
flow hands requests to Prefect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ml.kinds import family_and_kind
from policy.retraining import RESTLESS, Decision, Known, Why, labelled, scheduled
from tasks.drift import INCIDENTS, ask, asked
from tasks.judge import newly_settled, unrest_of
from tasks.train import LEARNED_DAYS, families_of
from tasks.validate import takes_part
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse import drift, lineage, tenants, validations
from warehouse import entities as known_entities
from warehouse.database import Connection, Warehouse
from warehouse.drift import ALL, RetrainingRequest


@dataclass(frozen=True, slots=True)
class Considered:
    """What was decided for a tenant, by reason."""

    tenant: str
    decided: dict[Why, Decision]
    requests: tuple[RetrainingRequest, ...]


async def retrain(tenant: str, warehouse: Warehouse, now: datetime) -> Considered | None:
    """Ask for a training of all of the tenant's families where the schedule or its people's labels call for one.

    None: its profile has no models, or its platform is not known for long enough to learn it. Raises UnknownTenant;
    SettingsError; WarehouseAway.
    """
    async with warehouse.as_tenant(tenant) as db:
        profile = await tenants.profile(tenant, db)
        day = timedelta(seconds=profile.day_seconds)
        platform = Topology(await known_entities.load(tenant, db, now - LEARNED_DAYS * day))
    if profile.light or not families_of(platform):
        return None
    unrest = await unrest_of(tenant, warehouse, now - LEARNED_DAYS * day, now)
    async with warehouse.as_tenant(tenant) as db:
        await drift.in_turn(tenant, db)
        known = await _known(tenant, db, platform, profile, now, unrest.told(RESTLESS))
        decided = {Why.SCHEDULE: scheduled(now, known, day), Why.LABELS: labelled(now, known, day)}
        why = next((each for each, decision in decided.items() if decision.ask), None)
        if why is None:
            return Considered(tenant, decided, ())
        rest = decided[why].rest.total_seconds()
        words = _reason(why, known) + (f"; {unrest}" if unrest.restless else "")
        request = RetrainingRequest(ALL, now, rest, why.value, f"{words} ({decided[why].why})", why=why.value)
        await ask(tenant, db, request)
    return Considered(tenant, decided, (request,))


def _reason(why: Why, known: Known) -> str:
    if why is Why.LABELS:
        return f"{known.labels} incidents were settled since the models were trained"
    if known.learned is None:
        return "no model was trained yet"
    return f"a family was last trained at {known.learned:%Y-%m-%d %H:%M}, or had its turn then and failed"


async def _known(
    tenant: str, db: Connection, platform: Topology, profile: Profile, now: datetime, unrest: str
) -> Known:
    requests = await drift.requests(tenant, db)
    learned = await _learned(tenant, db, platform, [each for each in requests if each.view in (ALL, INCIDENTS)])
    by: dict[Why, RetrainingRequest] = {}
    for each in requests:  # the oldest first
        if not each.dropped and (each.view in (ALL, INCIDENTS) or each.why == Why.DRIFT):
            by[Why(each.why)] = each
    labelled_at = by[Why.LABELS].asked if Why.LABELS in by else None
    since = max((each for each in (learned, labelled_at) if each is not None), default=None)
    labels = len(await newly_settled(tenant, db, since)) if since is not None else 0
    return Known(
        learned,
        {why: asked(each) for why, each in by.items()},
        labels,
        await _validating(tenant, db, now, profile),
        unrest,
    )


async def _learned(
    tenant: str, db: Connection, platform: Topology, whole: Sequence[RetrainingRequest]
) -> datetime | None:
    """When the family of the platform that was trained longest ago was, by any training and whatever came of it.

    A family that no training has ever been able to learn does not count. A training of all (`whole`: what asked for
    them) was each family's turn, if any was learned since: one that fails always makes the others old no sooner.
    """
    newest: dict[str, datetime] = {}
    for model, trained in (await lineage.trained(tenant, db)).items():
        whose = family_and_kind(model)
        if whose is not None:
            newest[whose[0]] = max(trained, newest.get(whose[0], trained))
    times = [newest[family] for family in families_of(platform) if family in newest]
    if not times:
        return None
    tried = (each.delivered for each in whole if each.delivered is not None and each.delivered <= max(times))
    return max([min(times), *tried])


async def _validating(tenant: str, db: Connection, now: datetime, profile: Profile) -> str:
    """The challenger of a family's newest validation, while that may still end by itself."""
    seen: set[str] = set()
    for each in await validations.listed(tenant, db):  # the newest first
        passed_over = {validations.PROBATION, validations.ANEW} & each.plan.keys()
        if each.family in seen or passed_over or not takes_part(each, tenant):
            continue
        seen.add(each.family)
        looked = await validations.newest(tenant, db, each.id)
        lasts = timedelta(seconds=float(each.plan["longest_s"]) + profile.day_seconds)
        if (looked is None or not looked.final) and now < each.started + lasts:
            return f"{each.family} {each.challenger}"
    return ""

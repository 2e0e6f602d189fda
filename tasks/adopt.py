"""Adopts: a tenant's own calm sets its threshold for versions of family models that learned from another tenant.

A model is its family's, whoever trained it. Without a threshold of its own a tenant is neither judged by the champion
nor takes part in the validation of a challenger. Where a tenant is judged already, a champion that it had no part in
takes no judge's place by this: only promotions do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from feature_store.views import view
from feature_store.windows import FeatureFrame
from ml.calibration import Calibration, Calm, calibrate, refuse_short
from ml.champion import scoring
from ml.detectors.family import FamilyDetector
from ml.kinds import parsed
from policy.retraining import RESTLESS
from tasks.calibrate import fit_of
from tasks.fetch import fetch, judge_for
from tasks.judge import unrest_of, without
from tasks.train import (
    LEARNED_DAYS,
    Stretch,
    budget_of,
    chains_of,
    families_of,
    notable_matrix,
    platform_of,
    read_frame,
    refuse_broken,
    refuse_far_sighted,
    score_matrix,
)
from tonewatch.errors import ModelError
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse import audit, calibrations, cursors, entities, tenants
from warehouse.calibrations import Calibrated, Source, model_version
from warehouse.database import Connection, Warehouse

log = logging.getLogger(__name__)
#: Who adopts, in the audit.
WHO = "tonewatch"


async def adopt(
    tenant: str, warehouse: Warehouse, tracking_uri: str, versions: Collection[tuple[str, str]], now: datetime
) -> list[Calibrated]:
    """Set the tenant's threshold for each of these (family, version) for which it has none; gives those that were set.

    It is set on the two days before `now`, of which the version has seen nothing. A version that cannot score there is
    told in the log, keeps no other from its turn, and is tried again after a day. Nothing is set for a tenant whose
    profile has no models, whose platform is not known for so long, or where those days were hardly calm: the threshold
    would be for good. Raises UnknownTenant; SettingsError; WarehouseAway.
    """
    async with warehouse.as_tenant(tenant) as db:
        profile = await tenants.profile(tenant, db)
        start = now - timedelta(seconds=LEARNED_DAYS * profile.day_seconds)
        before = families_of(Topology(await entities.load(tenant, db, start)))
        mine = {(each.family, each.version) for each in await calibrations.newest(tenant, db)}
        lacking = [each for each in sorted(set(versions) - mine) if each[0] in before]
        lacking = [each for each in lacking if not await _tried(tenant, db, each, now, profile)]
    if profile.light or not lacking:
        return []
    unrest = await unrest_of(tenant, warehouse, start, now)
    if restless := unrest.told(RESTLESS):
        log.warning("%s has no threshold for %d models yet: %s", tenant, len(lacking), restless)
        return []
    stretch = Stretch(tenant, start, now, profile, unrest.real, str(unrest))
    platform = await platform_of(warehouse, stretch)
    made = []
    for family, version in lacking:
        async with warehouse.as_tenant(tenant) as db:
            await cursors.set(tenant, db, _trial(family, version), {"time": now.isoformat()}, now)
        try:
            fit = await _fit(warehouse, tracking_uri, stretch, platform, family, version)
        except ModelError as error:
            log.warning("%s has no threshold for %s %s yet: %s", tenant, family, version, error)
            continue
        if fit is not None:
            await _keep(tenant, warehouse, fit)
            made.append(fit)
    return made


def _trial(family: str, version: str) -> str:
    return f"adopt:{model_version(family, version)}"


async def _tried(tenant: str, db: Connection, of: tuple[str, str], now: datetime, profile: Profile) -> bool:
    """Whether it was tried less than a day of the platform ago: it costs a download and two days of samples."""
    last = await cursors.get(tenant, db, _trial(*of))
    return last is not None and now < datetime.fromisoformat(last["time"]) + timedelta(seconds=profile.day_seconds)


async def _fit(
    warehouse: Warehouse, tracking_uri: str, stretch: Stretch, platform: Topology, family: str, version: str
) -> Calibrated | None:
    """None: it has one, from before thresholds were rows. Raises ModelError: too little calm, or it cannot score."""
    known = families_of(platform)
    if family not in known:
        return None
    registered = await asyncio.to_thread(fetch, tracking_uri, family, version)
    if judge_for(stretch.tenant, family, registered, None) is not None:
        return None
    refuse_far_sighted(parsed(version)[0], family, stretch.profile)
    frame = await read_frame(warehouse, stretch, family, known[family], stretch.ends(stretch.start, stretch.end))
    frame = without(frame, stretch.real)
    refuse_broken(view(family, stretch.profile), (frame,), stretch.end)
    chains = chains_of(platform, known[family])
    families = len(known) + bool(stretch.profile.followed_series)  # all single series are one more
    found = await asyncio.to_thread(_calibrated, registered.detector, family, frame, chains, stretch, families)
    reason = f"calm telemetry of {stretch.start.isoformat()} to {stretch.end.isoformat()}, in which: {stretch.unrest}"
    return replace(fit_of(stretch, family, version, found, stretch.end), source=Source.CALM, reason=reason)


def _calibrated(
    detector: FamilyDetector,
    family: str,
    frame: FeatureFrame,
    chains: Mapping[str, int],
    stretch: Stretch,
    families: int,
) -> Calibration:
    """At an equal share of the budget, as families have that keep their champion in a training."""
    with scoring(family, detector.version):  # on rows of a platform that it has never seen
        scores, notable = score_matrix(detector, frame, stretch.phases), notable_matrix(detector, frame)
    refuse_short(family, scores)
    groups: Sequence[int] = [chains[entity] for entity in dict.fromkeys(frame.entities)]
    calm = {family: Calm(scores, notable, groups)}
    return calibrate(calm, budget_of(stretch.profile, 1 / families), phases=stretch.phases)


async def _keep(tenant: str, warehouse: Warehouse, fit: Calibrated) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [fit])
        await audit.write(
            tenant,
            db,
            who=WHO,
            what="calibration.adopt",
            subject=fit.model_version,
            before={},
            after={"threshold": fit.threshold},
            reason=fit.reason,
            at=fit.made,
        )

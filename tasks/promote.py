"""Promote a version, or take the champion back: one at a time, and audited although the process may die in between.

The intent is a row (warehouse/promotions.py) that is committed before the alias moves; the audit line is written with
its completion. What broke off in between is completed, or given up, by whoever comes next (`settle`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from tonewatch.errors import ModelError
from tonewatch.records import digest
from warehouse import audit, lineage, promotions
from warehouse.calibrations import model_version
from warehouse.database import Connection, Warehouse
from warehouse.promotions import Move, Promotion, Stage

if TYPE_CHECKING:
    from ml.versions import Moved  # its module imports mlflow

#: Who promotes the first champion, in the audit.
WHO = "tonewatch"


async def promote(
    tenant: str,
    warehouse: Warehouse,
    tracking_uri: str,
    family: str,
    version: str,
    *,
    who: str,
    reason: str,
    now: datetime,
    proven: bool = True,
) -> Moved:
    """Make the version the family's champion; it stands in the tenant's audit, and is on probation from then on.

    proven: only what has passed the gate; what is promoted without is not taken back by itself either. Raises
    ModelError: it is champion already, has not passed the gate, another promotion is under way or came first, or MLflow
    is away; WarehouseAway: then the champion is the one it was.
    """
    await settle([tenant], warehouse, tracking_uri, now)
    before = await champion_of(tracking_uri, family)
    if before == version:
        raise ModelError(f"{version} is the champion of {family} already")
    wanted = _wanted(tenant, family, version, before, Move.PROMOTE, who, reason, now)
    watched = proven and who != WHO and before is not None
    return await move([tenant], warehouse, tracking_uri, wanted, now, proven=proven, watched=watched)


async def rollback(
    tenant: str, warehouse: Warehouse, tracking_uri: str, family: str, *, who: str, reason: str, now: datetime
) -> Moved:
    """Make the champion before the champion again; it stands in the tenant's audit. Raises as `promote`."""
    from ml import versions

    await settle([tenant], warehouse, tracking_uri, now)
    champion, before = await asyncio.to_thread(versions.before_champion, tracking_uri, family)
    wanted = _wanted(tenant, family, before, champion, Move.ROLLBACK, who, reason, now)
    return await move([tenant], warehouse, tracking_uri, wanted, now, proven=False, watched=False)


async def champion_of(tracking_uri: str, family: str) -> str | None:
    """The family's champion as the registry has it now. Raises ModelError: MLflow is away."""
    from ml import registry

    return (await asyncio.to_thread(registry.champion_versions, tracking_uri)).get(family)


async def move(
    tenants: Sequence[str],
    warehouse: Warehouse,
    tracking_uri: str,
    wanted: Promotion,
    now: datetime,
    *,
    proven: bool,
    watched: bool,
) -> Moved:
    """Carry the move out for all these tenants, from its intent to the audit line of each.

    watched: whether it is on probation from then on. Raises ModelError: another move of the family is under way, or its
    champion is not the one whose place is to be taken, or MLflow refuses; WarehouseAway: it is settled later.
    """
    from ml import versions

    first, family = tenants[0], wanted.family
    made = replace(wanted, state=Stage.INTENDED)
    async with warehouse.as_tenant(first) as turn:
        if not await promotions.take_turn(first, turn, family):
            raise ModelError(
                f"another promotion of {family} is under way and comes first: nothing was changed; look again "
                "(`tonewatch models list`)"
            )
        for tenant in tenants:
            async with warehouse.as_tenant(tenant) as db:
                await _intend(tenant, db, made, now)
        try:
            moved = await asyncio.to_thread(
                versions.promote, tracking_uri, family, wanted.version, now, proven=proven, instead_of=wanted.before
            )
        except ModelError as error:
            moved = await _in_doubt(tenants, warehouse, tracking_uri, made, error, now)
        await _landed(tenants, warehouse, tracking_uri, made, now, watched=watched)
    return moved


async def settle(tenants: Sequence[str], warehouse: Warehouse, tracking_uri: str, now: datetime) -> list[str]:
    """Complete what broke off between intent and audit, or give it up; gives in words what was done.

    If the alias has moved its audit line is written. If not, a person's promotion is given up, since he has seen it
    fail, and a validation's is approved as before, so that it is tried again. Raises ModelError: MLflow is away.
    """
    told = []
    for tenant in tenants:
        async with warehouse.as_tenant(tenant) as db:
            open_ = await promotions.listed(tenant, db, under_way=True)
        for each in (row for row in open_ if row.state is Stage.INTENDED):
            async with warehouse.as_tenant(tenant) as db:
                if not await promotions.take_turn(tenant, db, each.family):
                    continue  # it is being moved at this moment
                held = await promotions.hold(tenant, db, each.id)
                if held is None or held.state is not Stage.INTENDED:
                    continue
                now_champion = await champion_of(tracking_uri, each.family)
                told.append(await _settled(tenant, db, tracking_uri, held, now_champion, now))
    return told


async def _settled(
    tenant: str, db: Connection, tracking_uri: str, broken: Promotion, champion: str | None, now: datetime
) -> str:
    name = f"{broken.family} {broken.version}"
    if champion == broken.version:
        watched = broken.what is Move.PROMOTE and await _on_its_merits(tracking_uri, broken)
        await _complete(tenant, db, broken, now, watched=watched, note="; its process died before this line")
        return f"{name} had become champion; that is in the audit now"
    why = f"it broke off before the alias had moved; {champion} is champion"
    await _given_up(tenant, db, broken, champion, why, now)
    return f"{name}: {why}"


async def _on_its_merits(tracking_uri: str, broken: Promotion) -> bool:
    """Whether it took another's place by what was shown of it: then it is on probation, as if nothing had broken off.

    Of a person's promotion it is not known any more whether it was made with `--unproven`: the gate's word is taken.
    """
    from ml import versions

    if broken.validation or broken.who == WHO or broken.before is None:
        return bool(broken.validation)
    return await asyncio.to_thread(versions.passed, tracking_uri, broken.family, broken.version)


async def _given_up(
    tenant: str, db: Connection, made: Promotion, champion: str | None, why: str, now: datetime
) -> None:
    """It has not moved: a validation's is approved as before, while the champion is the one it was held against."""
    held = await promotions.hold(tenant, db, made.id)
    if held is None or held.state is not Stage.INTENDED:
        return  # whoever had the turn next has settled it
    if made.validation and made.what is Move.PROMOTE and champion == made.before:
        await promotions.change(tenant, db, made.id, Stage.APPROVED, now)
    else:
        await promotions.change(tenant, db, made.id, Stage.SUPERSEDED, now, why)


def _wanted(
    tenant: str, family: str, version: str, before: str | None, what: Move, who: str, reason: str, now: datetime
) -> Promotion:
    name = digest(tenant, what, family, version, before or "", now.isoformat())
    return Promotion(name, family, version, before, what, who, reason, Stage.INTENDED, now)


async def _intend(tenant: str, db: Connection, made: Promotion, now: datetime) -> None:
    """Write the intent. Raises ModelError: the version is retired for the tenant, or another run was here before."""
    if model_version(made.family, made.version) in await lineage.retired(tenant, db):
        raise ModelError(f"{made.family} version {made.version} is retired: it may not score; nothing was changed")
    if await promotions.put(tenant, db, made):
        return
    held = await promotions.hold(tenant, db, made.id)  # what the caller has read may be old: it had no turn then
    if held is None or held.state not in {Stage.APPROVED, Stage.INTENDED}:
        how = held.state if held else "gone"
        raise ModelError(f"the promotion of {made.family} {made.version} is {how} by now: nothing was changed")
    await promotions.change(tenant, db, made.id, Stage.INTENDED, now)


async def _landed(
    tenants: Sequence[str], warehouse: Warehouse, tracking_uri: str, made: Promotion, now: datetime, *, watched: bool
) -> None:
    """The call came through: complete it for each. Whoever lost the turn meanwhile may have been given up, although the
    alias moved: the row is open again before anything else is asked, so that it is settled later if that fails.

    Raises ModelError: another is champion since.
    """
    given_up = set()
    for tenant in tenants:
        async with warehouse.as_tenant(tenant) as db:
            if await promotions.reopen(tenant, db, made.id):
                given_up.add(tenant)
    champion = await champion_of(tracking_uri, made.family) if given_up else made.version
    why = f"{champion} has become champion of {made.family} right after {made.version}"
    for tenant in tenants:
        async with warehouse.as_tenant(tenant) as db:
            if tenant in given_up and champion != made.version:
                await _given_up(tenant, db, made, champion, why, now)
            else:
                await _complete(tenant, db, made, now, watched=watched)
    if champion != made.version:
        raise ModelError(why)


async def _complete(
    tenant: str, db: Connection, made: Promotion, now: datetime, *, watched: bool, note: str = ""
) -> None:
    """The alias has moved: say so in the row and in the audit, together and once."""
    held = await promotions.hold(tenant, db, made.id)
    if held is None or held.moved is not None:
        return  # whoever had the turn next has settled it
    if not await promotions.change(tenant, db, made.id, Stage.PROBATION if watched else Stage.DONE, now):
        return
    further = {"validation": made.validation} if made.validation else {}
    await audit.write(
        tenant,
        db,
        who=made.who,
        what=f"model.{made.what}",
        subject=made.family,
        before=None if made.before is None else {"champion": made.before},
        after={"champion": made.version, **further},
        reason=f"{made.reason}{note}",
        at=now,
    )


async def _in_doubt(
    tenants: Sequence[str], warehouse: Warehouse, tracking_uri: str, made: Promotion, error: ModelError, now: datetime
) -> Moved:
    """An answer that was lost may have been a yes: the registry is asked. Raises `error`: it was none, or nobody knows,
    and then it is settled later.
    """
    from ml.versions import Moved

    try:
        champion = await champion_of(tracking_uri, made.family)
    except ModelError:
        raise error from None
    if champion == made.version:
        return Moved(made.family, made.version, made.before)
    for tenant in tenants:
        async with warehouse.as_tenant(tenant) as db:
            await _given_up(tenant, db, made, champion, str(error), now)
    raise error

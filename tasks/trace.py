"""Keeps whose rows a version of a model learned from, finds it again over all tenants, and retires what must not score.

Retired is a version everywhere: a model is one for all tenants. It is a row of each tenant, so that it outlives the one
that it had learned from.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ml.kinds import family_and_kind
from warehouse import audit, calibrations, lineage, tenants
from warehouse.database import Connection, Warehouse
from warehouse.lineage import Traced

log = logging.getLogger(__name__)
#: Who retires, to tenants that have nothing to do with who did it.
WHO = "tonewatch"


@dataclass(frozen=True, slots=True)
class Whose:
    """A lineage, and the tenant whose rows it tells of; retired: it scores nothing any more."""

    tenant: str
    traced: Traced
    retired: bool


async def trace(tenant: str, db: Connection, traced: Traced, *, done: bool = True) -> None:
    """Keep the lineage of a version that was just trained. The training's one hook.

    done: whether it brought what was asked for; one that was refused has seen the tenant, and is still asked for. A
    family has one champion: a model of any kind is what was asked for of all of its kinds.
    """
    await lineage.put(tenant, db, traced)
    if done:
        asked = {each.model for each in await lineage.requested(tenant, db)}
        brought = {each for each in asked if _family(each) == _family(traced.model)}
        await lineage.take(tenant, db, brought, traced.trained)


def _family(model: str) -> str:
    """Of a registered model; of what is no family's, its name."""
    whose = family_and_kind(model)
    return whose[0] if whose is not None else model


async def of_model(warehouse: Warehouse, model: str, version: str = "") -> list[Whose]:
    """Whose rows the version learned from, over all tenants; without a version: every version of the model."""
    found: list[Whose] = []
    for slug in await tenants.everybody(warehouse):
        async with warehouse.as_tenant(slug) as db:
            traced = await lineage.of_model(slug, db, model, version)
            found += await _whose(slug, db, traced) if traced else []
    return found


async def of_tenant(warehouse: Warehouse, tenant: str, subject: str = "") -> list[Whose]:
    """Every version that learned from the tenant, or from the one subject (an entity, a pseudonym, a session)."""
    async with warehouse.as_tenant(tenant) as db:
        await tenants.get(tenant, db)
        traced = await (lineage.of_subject(tenant, db, subject) if subject else lineage.of_tenant(tenant, db))
        return await _whose(tenant, db, traced)


async def retire(
    warehouse: Warehouse, traced: Sequence[Traced], reason: str, now: datetime, *, who: str, leaving: str = ""
) -> list[str]:
    """Let these versions score no more, for any tenant, and ask for a training without what they must not have seen.

    A training is asked of each tenant that has a threshold for such a model. The one that is `leaving` gets no row.
    Gives the versions that had not been retired before. `reason` is read by every tenant: name nobody in it. Raises
    WarehouseAway; what broke off is done by the same call again.
    """
    done: set[str] = set()
    for slug in await tenants.everybody(warehouse) if traced else ():
        if slug == leaving:  # its rows go
            continue
        async with warehouse.as_tenant(slug) as db:
            ended = await lineage.retire(slug, db, traced, reason, now)
            if not ended:
                continue
            done.update(ended)
            own = {each.model_version.partition("/")[0] for each in await calibrations.newest(slug, db)}
            asked = await lineage.request(slug, db, own & {name.partition("/")[0] for name in ended}, reason, now)
            await audit.write(
                slug,
                db,
                who=WHO if leaving else who,
                what="model.retire",
                subject=", ".join(ended)[:500],
                before={},
                after={"retired": ended, "to_be_trained": asked},
                reason=reason,
                at=now,
            )
    if done:
        log.warning("models were retired", extra={"models": sorted(done)})
    return sorted(done)


async def _whose(tenant: str, db: Connection, traced: Sequence[Traced]) -> list[Whose]:
    ended = await lineage.retired(tenant, db)
    return [Whose(tenant, each, each.name in ended) for each in traced]

"""What a person says to a model that was shown to be better and waits to be champion; the first word counts.

Nothing moves here: the next run of the flow `promotion` does what was said.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tonewatch.errors import ActRefused
from warehouse import audit, promotions, tenants, used_links
from warehouse.acts import check_name
from warehouse.database import Connection, Warehouse
from warehouse.promotions import Promotion, Stage

FOLLOWS = "it is carried out by the next run of `promotion` or `validation`, within the hour"


@dataclass(frozen=True, slots=True)
class Answer:
    """A yes or a no to the promotion of that id, in somebody's name."""

    promotion: str
    yes: bool
    who: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """What was said to which promotion, and the line that tells the person."""

    promotion: Promotion
    told: str


async def waiting(tenant: str, warehouse: Warehouse, family: str, version: str) -> Promotion:
    """The promotion of the version that waits for an answer. Raises ActRefused: none does; UnknownTenant."""
    async with warehouse.as_tenant(tenant) as db:
        await tenants.get(tenant, db)
        mine = [
            each for each in await promotions.listed(tenant, db) if (each.family, each.version) == (family, version)
        ]
    found = next((each for each in mine if each.state is Stage.WAITING), None)
    if found is None:
        why = f"; the last promotion of it: {_standing(mine[0])}" if mine else ""
        raise ActRefused(f"{family} {version} does not wait for an answer{why}")
    return found


async def outlook(tenant: str, warehouse: Warehouse, said: Answer, now: datetime, link: str = "") -> Promotion:
    """The promotion that would be answered. Changes nothing. Raises as `answer`."""
    check_name(said.who)
    async with warehouse.as_tenant(tenant) as db:
        if link and await used_links.was_used(tenant, db, link):
            raise ActRefused(used_links.USED)
        return await _held(tenant, db, said, now)


async def answer(tenant: str, warehouse: Warehouse, said: Answer, now: datetime, link: str = "") -> Answered:
    """Say yes or no at `now`, or raise and leave everything as it was. `link`: the id of the link that it came by.

    Raises UnknownTenant; ActRefused: nothing of that id waits, it was answered, or it is too late; SettingsError: no
    name of a person; WarehouseAway.
    """
    check_name(said.who)
    async with warehouse.as_tenant(tenant) as db:
        held = await _held(tenant, db, said, now)
        if link and not await used_links.use(tenant, db, link, now):
            raise ActRefused(used_links.USED)
        word = "yes" if said.yes else "no"
        told = f"{said.who} said {word}" + (f": {said.reason}" if said.reason else "")
        stage = Stage.APPROVED if said.yes else Stage.REJECTED
        await promotions.change(tenant, db, held.id, stage, now, told, said.who)
        await audit.write(
            tenant,
            db,
            who=said.who,
            what="model.approve" if said.yes else "model.reject",
            subject=held.family,
            before={"champion": held.before},
            after={"promotion": held.id, "version": held.version},
            reason=said.reason,
            at=now,
        )
    follows = FOLLOWS if said.yes else f"{held.before} stays champion"
    return Answered(held, f"{said.who} said {word} to {held.family} {held.version}; {follows}")


async def _held(tenant: str, db: Connection, said: Answer, now: datetime) -> Promotion:
    await tenants.get(tenant, db)
    held = await promotions.hold(tenant, db, said.promotion)
    if held is None:
        raise ActRefused("no such model waits for an answer")
    if held.state is not Stage.WAITING:
        raise ActRefused(f"{held.family} {held.version} was answered already: {_standing(held)}")
    if held.expires is not None and held.expires <= now:
        raise ActRefused(f"{held.family} {held.version} could be answered until {held.expires:%Y-%m-%d %H:%M} UTC")
    return held


def _standing(of: Promotion) -> str:
    return f"{of.state}" + (f" ({of.told})" if of.told else "")

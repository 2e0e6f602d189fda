"""Promotions of models, one at a time: models are a family's, whichever tenant's operator promotes them."""

from __future__ import annotations

from sqlalchemy import text

from warehouse.database import Connection

IN_TURN = text("""
    select pg_advisory_xact_lock(hashtextextended('promotion ' || cast(:family as text), 0))
    where cast(:tenant as text) is not null
""")


async def in_turn(tenant: str, db: Connection, family: str) -> None:
    """Wait until no other transaction, of any tenant, moves the family's champion; until this one ends, none can."""
    await db.execute(IN_TURN, {"tenant": tenant, "family": family})

"""Links of notices that were used: each is good once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.rows import utc

#: What people are told of one.
USED = "this link was used already, and is good once"
USE = text("insert into used_link (tenant, id, used) values (:tenant, :id, :at) on conflict do nothing")
WAS = text("select exists (select from used_link where tenant = :tenant and id = :id)")


async def use(tenant: str, db: Connection, id_: str, at: datetime) -> bool:
    """Use the link up, in the transaction of what it does; False: it was used already. Of two at once one waits for the
    other's transaction.
    """
    return (await db.execute(USE, {"tenant": tenant, "id": id_, "at": utc(at)})).rowcount == 1


async def was_used(tenant: str, db: Connection, id_: str) -> bool:
    """Whether the link was used."""
    return bool((await db.execute(WAS, {"tenant": tenant, "id": id_})).scalar_one())

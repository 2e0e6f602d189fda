"""Snapshots: the state of a detector and the time up to which it has seen the data."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.rows import utc

SAVE = text("""
    insert into snapshot (tenant, name, cursor, state) values (:tenant, :name, :cursor, :state)
    on conflict (tenant, name) do update set cursor = excluded.cursor, state = excluded.state
""")
LOAD = text("select cursor, state from snapshot where tenant = :tenant and name = :name")


async def save(tenant: str, db: Connection, name: str, cursor: datetime, state: bytes) -> None:
    """Keep the state in place of the one before."""
    await db.execute(SAVE, {"tenant": tenant, "name": name, "cursor": utc(cursor), "state": state})


async def load(tenant: str, db: Connection, name: str) -> tuple[datetime, bytes] | None:
    """The cursor and the state; None: there is none yet."""
    found = (await db.execute(LOAD, {"tenant": tenant, "name": name})).one_or_none()
    return None if found is None else (found.cursor, bytes(found.state))

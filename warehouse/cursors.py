"""Cursors: how far a reader has come.

They move in the transaction that keeps what was made of the data; or after it, never before, where making it once more
changes nothing (roll-ups, features).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.rows import document, utc

GET = text("select position from cursor where tenant = :tenant and name = :name")
SET = text("""
    insert into cursor (tenant, name, position, moved) values (:tenant, :name, cast(:position as jsonb), :at)
    on conflict (tenant, name) do update set position = excluded.position, moved = excluded.moved
""")


async def get(tenant: str, db: Connection, name: str) -> dict[str, Any] | None:
    """The position of the reader `name`; None: it has not begun."""
    found: dict[str, Any] | None = (await db.execute(GET, {"tenant": tenant, "name": name})).scalar_one_or_none()
    return found


async def set(  # noqa: A001 - read as cursors.set
    tenant: str, db: Connection, name: str, position: Mapping[str, Any], at: datetime
) -> None:
    """Move the reader `name` to `position` (anything JSON can hold)."""
    values = {"tenant": tenant, "name": name, "position": document(position), "at": utc(at)}
    await db.execute(SET, values)

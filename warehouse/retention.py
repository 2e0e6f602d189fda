"""The end of what has outlived its retention (column_registry.retention says how long that is)."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.rollups import step_of
from warehouse.rows import utc

#: By retention class of column_registry; classes that are not here have no end yet. A tenant sets the session class by
#: its profile's sessions_days; this is for one whose settings cannot be read.
LASTS = {"hot": timedelta(hours=48), "session": timedelta(days=30), "check": timedelta(days=90)}

DROP = text("select drop_sample_partitions(:retention, :before)")
END = text("select what, rows from end_outlived(:samples_before, :sessions_before)")
END_CHECKS = text("select what, rows from end_outlived_checks(:before)")
END_FEATURES = text("select end_outlived_features(:before, :at_most)")

#: Rows of features that one transaction ends: a fraction of a second's work, whatever there is.
AT_ONCE = 20_000


async def drop_partitions(db: Connection, now: datetime, retention: str = "hot") -> int:
    """Drop the days of all tenants' samples that are wholly outlived; gives how many."""
    found = await db.execute(DROP, {"retention": retention, "before": utc(now) - LASTS[retention]})
    return int(found.scalar_one())


async def end_outlived(
    tenant: str, db: Connection, now: datetime, sessions: timedelta = LASTS["session"]
) -> dict[str, int]:
    """Delete the rows that the tenant has had for longer than it may; gives how many by table.

    sessions: how long what tells of people's sessions is kept.
    """
    # Whole steps: what is left of one would be rolled up as if it were all.
    values = {"samples_before": step_of(utc(now) - LASTS["hot"]), "sessions_before": utc(now) - sessions}
    ended = {each.what: each.rows for each in await db.execute(END, values)}
    checks = await db.execute(END_CHECKS, {"before": utc(now) - LASTS["check"]})
    return ended | {each.what: each.rows for each in checks}


async def end_features(tenant: str, db: Connection, before: datetime) -> int:
    """Delete the tenant's oldest rows of features whose windows ended before then, at most AT_ONCE; gives how many."""
    return int((await db.execute(END_FEATURES, {"before": utc(before), "at_most": AT_ONCE})).scalar_one())

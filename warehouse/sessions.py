"""Listening sessions, as the players report them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from tonewatch.records import SessionReport
from warehouse.database import Connection
from warehouse.rows import packed, row, utc

# Held to the end of the transaction: without it a report with a lower arrival could become visible after a reader has
# passed it, and that reader would never see it.
IN_TURN = text("select pg_advisory_xact_lock(hashtextextended('session_report ' || :tenant, 0))")
SAVE = text("""
    insert into session_report (tenant, arrived, session, sequence, channel, edge, time, event, state, starved_ms,
        startup_ms, latency_ms, buffer_ms, throughput_kbps, bitrate_kbps)
    select :tenant, :arrived, n.session, n.sequence, n.channel, n.edge, n.time, n.event, n.state, n.starved_ms,
        n.startup_ms, n.latency_ms, n.buffer_ms, n.throughput_kbps, n.bitrate_kbps
    from jsonb_to_recordset(cast(:rows as jsonb)) as n (session text, sequence bigint, channel text, edge text,
        time timestamptz, event text, state text, starved_ms bigint, startup_ms bigint, latency_ms bigint,
        buffer_ms bigint, throughput_kbps bigint, bitrate_kbps bigint)
    on conflict do nothing
""")
COLUMNS = """session, channel, edge, time, event, state, starved_ms, startup_ms, latency_ms, buffer_ms,
    throughput_kbps, bitrate_kbps, sequence"""
SINCE = text(f"""
    select arrival, {COLUMNS} from session_report
    where tenant = :tenant and arrival > :arrival order by arrival limit :limit
""")  # noqa: S608 - a constant
BETWEEN = text(f"""
    select {COLUMNS} from session_report
    where tenant = :tenant and time >= :start and time < :end order by time, session, sequence
""")  # noqa: S608 - a constant
AUDIENCE = text("""
    select channel, count(distinct session) filter (where starved_ms > 0 or startup_ms > :startup_allowed_ms
        or state = 'f') as hit, count(distinct session) as sessions
    from session_report
    where tenant = :tenant and time >= :start and time < :end
    group by channel order by channel
""")


@dataclass(frozen=True, slots=True)
class Audience:
    """Of `sessions` that reported from a channel in a stretch of time, `hit` lost sound."""

    channel: str
    hit: int
    sessions: int


async def save(tenant: str, db: Connection, reports: Sequence[SessionReport], arrived: datetime) -> int:
    """Keep the reports in their order; gives how many were new (a repeated session and sequence is none)."""
    if not reports:
        return 0
    rows = packed(row(report) for report in reports)
    await db.execute(IN_TURN, {"tenant": tenant})
    return (await db.execute(SAVE, {"tenant": tenant, "arrived": utc(arrived), "rows": rows})).rowcount


async def since(tenant: str, db: Connection, arrival: int, limit: int = 10_000) -> tuple[list[SessionReport], int]:
    """Up to `limit` reports that came after `arrival` (0: from the beginning), and the arrival to go on from.

    Arrivals count up in the order of commits: who goes on from the last one misses none.
    """
    values = {"tenant": tenant, "arrival": arrival, "limit": limit}
    found = (await db.execute(SINCE, values)).all()
    return [SessionReport(*values) for _, *values in found], found[-1].arrival if found else arrival


async def between(tenant: str, db: Connection, start: datetime, end: datetime) -> list[SessionReport]:
    """The reports about start <= time < end, in the order of time."""
    found = (await db.execute(BETWEEN, {"tenant": tenant, "start": utc(start), "end": utc(end)})).all()
    return [SessionReport(*values) for values in found]


async def audience(
    tenant: str, db: Connection, start: datetime, end: datetime, startup_allowed_ms: int
) -> list[Audience]:
    """How many sessions of each channel lost sound in start <= time < end: a gap, a failure, or a start-up that took
    longer than `startup_allowed_ms`.
    """
    values = {"tenant": tenant, "start": utc(start), "end": utc(end), "startup_allowed_ms": startup_allowed_ms}
    return [Audience(**each) for each in (await db.execute(AUDIENCE, values)).mappings()]

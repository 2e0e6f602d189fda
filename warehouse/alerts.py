"""Alerts of the user's own rules, as his Alertmanager tells of them: which fire, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import text

from tonewatch.records import Alert
from warehouse.database import Connection
from warehouse.rows import packed, utc

#: An Alertmanager forgets after 120 hours what it has told (--data.retention), and then tells it again: an alert of
#: which nothing was heard for longer is one whose end nobody was there to tell.
UNHEARD = timedelta(days=6)
#: An alert told so long after it began counts from so long before: what was before can be acted on no more.
LATE = timedelta(hours=1)
#: "It fires" that comes so soon after "it has ended", of a time before that end, was sent before it.
CROSSED = timedelta(minutes=1)

# One request of a tenant after the other: each is judged by what the one before has left.
IN_TURN = text("select pg_advisory_xact_lock(hashtextextended('alert ' || :tenant, 0))")
_FIRES = "(a.ended is null or a.ended > :at) and a.heard > :heard_after"
# What fires keeps when it began, whoever tells it anew: two Prometheis of one rule differ by seconds. What had ended
# and is said to have fired all along (its Prometheus was out of reach) fires anew: else it would be the old finding.
FIRE = text(f"""
    insert into alert as a (tenant, id, labels, started, ended, first_heard, heard)
    select :tenant, n.id, n.labels, n.started, n.ended, :at, :at
    from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, labels jsonb, started timestamptz, ended timestamptz)
    order by n.id
    on conflict (tenant, id) do update set ended = excluded.ended, heard = greatest(a.heard, excluded.heard),
        started = case when {_FIRES} then a.started when excluded.started > a.ended then excluded.started else :at end,
        first_heard = case when {_FIRES} then a.first_heard else excluded.first_heard end
    where {_FIRES} or excluded.started > a.ended or :at > a.heard + :crossed
""")  # noqa: S608 - a constant
# An end that lies before the beginning is that of an earlier firing.
END = text("""
    update alert a set ended = n.ended, heard = greatest(a.heard, :at)
    from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, ended timestamptz)
    where a.tenant = :tenant and a.id = n.id and (a.ended is null or a.ended > :at) and n.ended >= least(a.started, :at)
""")
FIRING = text(f"""
    select labels, least(first_heard, greatest(started, first_heard - :late)) as since from alert a
    where tenant = :tenant and {_FIRES} order by id
""")  # noqa: S608 - a constant


async def save(tenant: str, db: Connection, alerts: Sequence[Alert], at: datetime, most: int) -> list[Alert]:
    """Note what is said at `at`; gives what is not kept, since more than `most` alerts would fire at once.

    The same again changes nothing. An end is never refused; one of an alert that was not told means nothing.
    """
    latest = {alert.id: alert for alert in alerts}
    if not latest:
        return []
    await db.execute(IN_TURN, {"tenant": tenant})
    over = [alert for alert in latest.values() if alert.ended is not None and alert.ended <= at]
    firing = {alert.id: alert for alert in latest.values() if alert.ended is None or alert.ended > at}
    if over:
        rows = packed({"id": alert.id, "ended": alert.ended} for alert in over)
        await db.execute(END, {"tenant": tenant, "at": utc(at), "rows": rows})
    held = {alert.id for alert in await firing_at(tenant, db, at)} if firing else set()
    new = [id_ for id_ in firing if id_ not in held]
    refused = [firing.pop(id_) for id_ in new[max(0, most - len(held)) :]]
    if firing:
        rows = packed(
            {"id": alert.id, "labels": alert.labels, "started": alert.started, "ended": alert.ended}
            for alert in firing.values()
        )
        values = {"tenant": tenant, "at": utc(at), "heard_after": at - UNHEARD, "crossed": CROSSED, "rows": rows}
        await db.execute(FIRE, values)
    return refused


async def firing_at(tenant: str, db: Connection, at: datetime) -> list[Alert]:
    """The alerts that fire at `at`. `started` is since when they count: not in the future, nor long before they were
    told.
    """
    values = {"tenant": tenant, "at": utc(at), "late": LATE, "heard_after": at - UNHEARD}
    found = (await db.execute(FIRING, values)).all()
    return [Alert(tuple((name, value) for name, value in labels), since) for labels, since in found]

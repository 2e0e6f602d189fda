"""Notices: the outbox. A message stays in it until its channel has taken or refused it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, text

from tonewatch.records import Notice, NoticeState
from warehouse.database import Connection
from warehouse.rows import clean, packed, row, same_tenant, utc

PUT = text("""
    insert into notice (tenant, id, incident, incident_state, level, channel, subject, body, html, created, state,
        attempts, next_attempt, sent, last_error, round, receipt)
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, incident text,
        incident_state text, level text, channel text, subject text, body text, html text, created timestamptz,
        state text, attempts integer, next_attempt timestamptz, sent timestamptz, last_error text,
        round integer, receipt text)
    order by n.id
    on conflict do nothing
""")
COLUMNS = """incident, incident_state, level, channel, subject, body, html, created, state, attempts, next_attempt,
    sent, last_error, round, receipt"""
GET = text(f"select {COLUMNS} from notice where tenant = :tenant and id = :id")  # noqa: S608 - a constant
OF_INCIDENT = text(f"""
    select {COLUMNS} from notice where tenant = :tenant and incident = :incident order by created nulls last, id
""")  # noqa: S608 - a constant
# What is due is told by the caller's clock; how long the lease lasts by the database's, since workers' clocks differ.
# By place within its tenant first, so that one tenant's flood does not keep another's single message waiting.
LEASE_DUE = text("""
    with due as (
        select tenant, id, due, row_number() over (partition by tenant order by due nulls first, id) as place
        from (
            select tenant, id, coalesce(next_attempt, created) as due from notice
            where state = 'pending' and coalesce(next_attempt, created, :now) <= :now
              and (lease_until is null or lease_until <= clock_timestamp())
        ) as waiting
        order by place, due nulls first, tenant, id
        limit :limit
    ), taken as materialized (
        select n.tenant, n.id from notice n join due on due.tenant = n.tenant and due.id = n.id
        where n.state = 'pending' and (n.lease_until is null or n.lease_until <= clock_timestamp())
        for update of n skip locked
    ), leased as (
        update notice n set lease_holder = :holder,
            lease_until = clock_timestamp() + make_interval(secs => :seconds), fence = n.fence + 1
        from taken where n.tenant = taken.tenant and n.id = taken.id
        returning n.tenant, n.id
    )
    select leased.tenant, leased.id from leased join due using (tenant, id) order by place, due nulls first, tenant, id
""")
SENT = text("""
    update notice set state = 'sent', sent = :at, attempts = attempts + 1, next_attempt = null, last_error = '',
        receipt = :receipt, lease_holder = null, lease_until = null
    where tenant = :tenant and id = :id and state = 'pending'
""")
FAILED = text("""
    update notice set attempts = attempts + 1, last_error = :error, next_attempt = :next_attempt,
        lease_holder = null, lease_until = null
    where tenant = :tenant and id = :id and state = 'pending'
""")
REFUSED = text("""
    update notice set state = 'refused', attempts = attempts + 1, last_error = :error, next_attempt = null,
        lease_holder = null, lease_until = null
    where tenant = :tenant and id = :id and state = 'pending'
""")
# A notice that waits is told with a later one of the same incident and channel: one that went out already, or one that
# waits too after an attempt of either failed. What somebody is sending at this moment is left alone.
SUPERSEDE = text("""
    with idle as materialized (
        select id, incident, channel, created, attempts from notice
        where tenant = :tenant and state = 'pending' and (lease_until is null or lease_until <= clock_timestamp())
        for update skip locked
    )
    update notice n set state = 'superseded', next_attempt = null, last_error = 'told with a later notice',
        lease_holder = null, lease_until = null
    from idle
    where n.tenant = :tenant and n.id = idle.id and exists (
        select from notice later
        where later.tenant = :tenant and later.incident = idle.incident and later.channel = idle.channel
          and later.created > idle.created
          and (later.state = 'sent' or (later.state = 'pending' and (later.attempts > 0 or idle.attempts > 0))))
    returning n.incident, n.channel
""")
# What waits after an attempt of it failed, and what was refused for good.
STUCK = text("""
    select channel, state, count(*) as count, min(created) as since,
        (array_agg(last_error order by created desc nulls last, id))[1] as last_error
    from notice
    where tenant = :tenant
      and ((state = 'pending' and attempts > 0) or (state = 'refused' and created >= :refused_since))
    group by channel, state order by channel, state
""")
REWORD = text("""
    update notice set subject = :subject, body = :body, html = :html
    where tenant = :tenant and id = :id and state = 'pending'
""")


@dataclass(frozen=True, slots=True)
class Stuck:
    """How many notices of a channel did not go out (state: pending or refused), since when, and why the newest."""

    channel: str
    state: str
    count: int
    since: datetime
    last_error: str


async def stuck(tenant: str, db: Connection, refused_since: datetime) -> list[Stuck]:
    """The notices that wait although they were tried, and those made since then that were refused, by channel."""
    values = {"tenant": tenant, "refused_since": utc(refused_since)}
    return [Stuck(**each) for each in (await db.execute(STUCK, values)).mappings()]


async def put(tenant: str, db: Connection, notices: Sequence[Notice]) -> int:
    """Put the notices into the outbox; gives how many were new (a notice that is there stays as it is)."""
    if not notices:
        return 0
    same_tenant(tenant, notices)
    rows = packed(row(notice, id=notice.id) for notice in notices)
    return (await db.execute(PUT, {"tenant": tenant, "rows": rows})).rowcount


async def get(tenant: str, db: Connection, notice_id: str) -> Notice | None:
    """The notice; None: there is none of that id."""
    found = (await db.execute(GET, {"tenant": tenant, "id": notice_id})).mappings().one_or_none()
    return None if found is None else _notice(tenant, found)


async def of_incident(tenant: str, db: Connection, incident: str) -> list[Notice]:
    """The notices of an incident in the order in which they were made."""
    found = await db.execute(OF_INCIDENT, {"tenant": tenant, "incident": incident})
    return [_notice(tenant, each) for each in found.mappings()]


async def lease_due(
    db_dispatcher: Connection, now: datetime, holder: str, seconds: float, limit: int
) -> list[tuple[str, str]]:
    """Take up to `limit` pending notices that are due at `now`, of all tenants, for `seconds`; gives (tenant, id) each.

    Until then nobody else is given them. Commit before sending, or the lease holds nobody off.
    """
    values = {"now": utc(now), "holder": holder, "seconds": seconds, "limit": limit}
    return [(tenant, id_) for tenant, id_ in (await db_dispatcher.execute(LEASE_DUE, values)).all()]


async def mark_sent(tenant: str, db: Connection, notice_id: str, at: datetime, receipt: str = "") -> None:
    """Note that the channel has taken the notice, and how it knows the message."""
    await db.execute(SENT, {"tenant": tenant, "id": notice_id, "at": utc(at), "receipt": clean(receipt)})


async def mark_failed(tenant: str, db: Connection, notice_id: str, error: str, next_attempt: datetime) -> None:
    """Note that an attempt failed and when to try again; the lease ends."""
    values = {"tenant": tenant, "id": notice_id, "error": clean(error), "next_attempt": utc(next_attempt)}
    await db.execute(FAILED, values)


async def mark_refused(tenant: str, db: Connection, notice_id: str, error: str) -> None:
    """Note that the channel will never take the notice; it is not tried again."""
    await db.execute(REFUSED, {"tenant": tenant, "id": notice_id, "error": clean(error)})


async def supersede(tenant: str, db: Connection) -> set[tuple[str, str]]:
    """Take out of the outbox what a later notice of the same incident and channel tells; gives (incident, channel)."""
    return {(incident, channel) for incident, channel in (await db.execute(SUPERSEDE, {"tenant": tenant})).all()}


async def reword(tenant: str, db: Connection, notice: Notice) -> None:
    """Keep the notice's subject, body and HTML as they are now, unless it went out."""
    values = {"subject": clean(notice.subject), "body": clean(notice.body), "html": clean(notice.html)}
    await db.execute(REWORD, {"tenant": tenant, "id": notice.id} | values)


def _notice(tenant: str, found: RowMapping) -> Notice:
    values: dict[str, Any] = dict(found)
    values["state"] = NoticeState(values["state"])
    return Notice(tenant=tenant, **values)

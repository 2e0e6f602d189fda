"""The audit: who did what to what, when and why. Nobody changes or deletes a line, the owner of the tables included."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.pages import Page, within
from warehouse.rows import clean, document, utc

WRITE = text("""
    insert into audit (tenant, time, who, what, subject, before, after, reason)
    values (:tenant, :at, :who, :what, :subject, cast(:before as jsonb), cast(:after as jsonb), :reason)
""")
READ = text("""
    select seq, time, who, what, subject, before, after, reason from audit
    where tenant = :tenant order by seq desc limit :limit
""")
NEWEST = text(f"""
    select seq, time, who, what, subject, before, after, reason from audit
    where tenant = :tenant and (:subject = '' or subject = :subject) and {within("time", "seq", "bigint")}
""")  # noqa: S608 - a constant

HOLDS = text("""
    select exists (select from audit where tenant = :tenant and what = :what and after ->> 'action' = :action)
""")


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line of the audit. `before` and `after` are what JSON can hold, None where there was nothing."""

    seq: int
    time: datetime
    who: str
    what: str
    subject: str
    before: Any
    after: Any
    reason: str


async def write(
    tenant: str,
    db: Connection,
    *,
    who: str,
    what: str,
    subject: str,
    before: Any,
    after: Any,
    reason: str,
    at: datetime,
) -> None:
    """Write a line, in the transaction of what it tells of: neither is kept without the other."""
    words = {"who": clean(who), "what": clean(what), "subject": clean(subject), "reason": clean(reason)}
    states = {"before": _state(before), "after": _state(after)}
    await db.execute(WRITE, {"tenant": tenant, "at": utc(at), **words, **states})


async def read(tenant: str, db: Connection, limit: int) -> list[AuditLine]:
    """The last `limit` lines, the newest first."""
    found = await db.execute(READ, {"tenant": tenant, "limit": limit})
    return [AuditLine(**each) for each in found.mappings()]


async def newest(tenant: str, db: Connection, page: Page, subject: str = "") -> list[AuditLine]:
    """Lines by their time; on `subject` alone where one is given. The id of a line's place is its `seq`."""
    found = await db.execute(NEWEST, {"tenant": tenant, "subject": subject} | page.values())
    return [AuditLine(**each) for each in found.mappings()]


async def holds(tenant: str, db: Connection, what: str, action: str) -> bool:
    """Whether a line of this kind tells of the action with that key."""
    return bool((await db.execute(HOLDS, {"tenant": tenant, "what": what, "action": action})).scalar_one())


def _state(value: Any) -> str | None:
    return None if value is None else document(value)

"""The clock of escalation: how high an incident that nobody has answered has climbed. One row per incident."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.rows import clean, document, utc

COLUMNS = "incident, level, since, policy, stopped, stopped_by"
# The incident's clock is never taken back by who comes late: a running or stopped one stays as it is.
BEGIN = text("""
    insert into escalation (tenant, incident, level, since, policy, stopped_by)
    values (:tenant, :incident, :level, :since, cast(:policy as jsonb), '') on conflict do nothing
""")
GET = text(f"""
    select {COLUMNS} from escalation where tenant = :tenant and incident = :incident for update
""")  # noqa: S608 - a constant
RUNNING = text(f"""
    select {COLUMNS} from escalation where tenant = :tenant and stopped is null order by since, incident
    for update skip locked
""")  # noqa: S608 - a constant
CLIMB = text("update escalation set level = :level where tenant = :tenant and incident = :incident")
RESTART = text("""
    update escalation set level = :level, since = :since, stopped = null, stopped_by = ''
    where tenant = :tenant and incident = :incident
""")
STOP = text("""
    update escalation set stopped = :at, stopped_by = :by
    where tenant = :tenant and incident = :incident and (stopped is null or :anew)
""")


@dataclass(frozen=True, slots=True)
class Escalation:
    """`level`: the highest told, `none` while nobody was; `since`: when L1 was; `policy`: as it was then."""

    incident: str
    level: str
    since: datetime
    policy: Mapping[str, Any]
    stopped: datetime | None
    stopped_by: str  # ack, approve, veto, close, mended, closed; empty while it runs


async def begin(
    tenant: str, db: Connection, incident: str, level: str, since: datetime, policy: Mapping[str, Any]
) -> None:
    """Start the clock of the incident, which must be kept already; one that is there stays as it is."""
    values = {"tenant": tenant, "incident": incident, "level": level, "since": utc(since), "policy": document(policy)}
    await db.execute(BEGIN, values)


async def get(tenant: str, db: Connection, incident: str) -> Escalation | None:
    """The incident's clock, held for this transaction; None: it has none."""
    found = (await db.execute(GET, {"tenant": tenant, "incident": incident})).mappings().one_or_none()
    return None if found is None else Escalation(**found)


async def running(tenant: str, db: Connection) -> list[Escalation]:
    """The clocks that run, held for this transaction; one that another transaction holds is left to it."""
    return [Escalation(**each) for each in (await db.execute(RUNNING, {"tenant": tenant})).mappings()]


async def climb(tenant: str, db: Connection, incident: str, level: str) -> None:
    """Note that `level` was told."""
    await db.execute(CLIMB, {"tenant": tenant, "incident": incident, "level": level})


async def restart(tenant: str, db: Connection, incident: str, level: str, since: datetime) -> None:
    """Start the clock from `since` again, at `level`."""
    await db.execute(RESTART, {"tenant": tenant, "incident": incident, "level": level, "since": utc(since)})


async def stop(tenant: str, db: Connection, incident: str, by: str, at: datetime, *, anew: bool = False) -> bool:
    """Stop the clock; False: there is none that runs. `anew`: also put this in place of what stopped it before."""
    values = {"tenant": tenant, "incident": incident, "by": clean(by), "at": utc(at), "anew": anew}
    return (await db.execute(STOP, values)).rowcount == 1

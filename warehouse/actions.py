"""Actions: remedies, written down before they are done, and carried on by one process at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, text

from tonewatch.records import Action, ActionState, GuardAnswer
from warehouse.database import Connection
from warehouse.pages import Page, within
from warehouse.rows import packed, row, utc

INTEND = text("""
    insert into action (tenant, key, incident, runbook, target, attempt, state, autonomy, parameters, guards, intended,
        started, finished, undo, detail)
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (key text, incident text, runbook text,
        target text, attempt integer, state text, autonomy text, parameters jsonb, guards jsonb, intended timestamptz,
        started timestamptz, finished timestamptz, undo text, detail text)
    on conflict (tenant, key) do nothing
""")
UPDATE = text("""
    update action a set state = n.state, autonomy = n.autonomy, parameters = n.parameters, guards = n.guards,
        intended = n.intended, started = n.started, finished = n.finished, undo = n.undo, detail = n.detail
    from jsonb_to_recordset(cast(:rows as jsonb)) as n (key text, state text, autonomy text, parameters jsonb,
        guards jsonb, intended timestamptz, started timestamptz, finished timestamptz, undo text, detail text)
    where a.tenant = :tenant and a.key = n.key and (cast(:fence as bigint) is null or a.fence = :fence)
""")
OF_INCIDENT = text("""
    select incident, runbook, target, attempt, state, autonomy, parameters, guards, intended, started, finished, undo,
        detail
    from action where tenant = :tenant and incident = :incident
    order by intended nulls last, attempt, runbook, target
""")
ONE = text("""
    select incident, runbook, target, attempt, state, autonomy, parameters, guards, intended, started, finished, undo,
        detail
    from action where tenant = :tenant and key = :key
""")
SINCE = text("""
    select incident, runbook, target, attempt, state, autonomy, parameters, guards, intended, started, finished, undo,
        detail
    from action where tenant = :tenant and coalesce(finished, started, intended) >= :start
    order by coalesce(finished, started, intended), key
""")
# Every action is intended before anything else becomes of it.
NEWEST = text(f"""
    select incident, runbook, target, attempt, state, autonomy, parameters, guards, intended, started, finished, undo,
        detail
    from action
    where tenant = :tenant and (:target = '' or target = :target) and (:state = '' or state = :state)
        and {within("intended", "key")}
""")  # noqa: S608 - a constant
FENCE = text("select fence from action where tenant = :tenant and key = :key")
# The database's clock, here alone: workers whose clocks differ must agree on when a lease ends.
LEASE = text("""
    update action set lease_holder = :holder, lease_until = clock_timestamp() + make_interval(secs => :seconds),
        fence = fence + case when lease_holder = :holder and lease_until > clock_timestamp() then 0 else 1 end
    where tenant = :tenant and key = :key
      and (lease_until is null or lease_until <= clock_timestamp() or lease_holder = :holder)
    returning fence
""")


async def intend(tenant: str, db: Connection, action: Action) -> bool:
    """Write down what is to be done; False: that attempt is written down already, maybe by another process."""
    done = await db.execute(INTEND, {"tenant": tenant, "rows": packed([row(action, key=action.key)])})
    return done.rowcount == 1


async def update(tenant: str, db: Connection, action: Action, fence: int | None = None) -> bool:
    """Keep how far the action has come. False, and nothing is kept: there is no such action, or `fence` is not the
    token of the newest lease, so that another process carries the action on.
    """
    values = {"tenant": tenant, "rows": packed([row(action, key=action.key)]), "fence": fence}
    return (await db.execute(UPDATE, values)).rowcount == 1


async def of_incident(tenant: str, db: Connection, incident: str) -> list[Action]:
    """The actions of an incident in the order in which they were intended."""
    found = await db.execute(OF_INCIDENT, {"tenant": tenant, "incident": incident})
    return [_action(each) for each in found.mappings()]


async def get(tenant: str, db: Connection, key: str) -> Action | None:
    """The action with that key, or None."""
    found = (await db.execute(ONE, {"tenant": tenant, "key": key})).mappings().first()
    return _action(found) if found is not None else None


async def since(tenant: str, db: Connection, start: datetime) -> list[Action]:
    """The tenant's actions whose last step was at `start` or later, the oldest first."""
    found = await db.execute(SINCE, {"tenant": tenant, "start": utc(start)})
    return [_action(each) for each in found.mappings()]


async def newest(tenant: str, db: Connection, page: Page, target: str = "", state: str = "") -> list[Action]:
    """Actions by the time at which they were intended; on `target` and in `state` alone where one is given."""
    found = await db.execute(NEWEST, {"tenant": tenant, "target": target, "state": state} | page.values())
    return [_action(each) for each in found.mappings()]


async def fence(tenant: str, db: Connection, key: str) -> int | None:
    """The token of the action's newest lease, or None: there is no such action."""
    newest: int | None = (await db.execute(FENCE, {"tenant": tenant, "key": key})).scalar_one_or_none()
    return newest


async def lease(tenant: str, db: Connection, key: str, holder: str, seconds: float) -> int | None:
    """Take the action for `seconds`, or keep it if `holder` has it. Gives a token that grows with each new holder.

    None: another holds it, or there is no such action. Works as the tenant and as the dispatcher. The seconds are
    counted by the database's clock.
    """
    values = {"tenant": tenant, "key": key, "holder": holder, "seconds": seconds}
    fence: int | None = (await db.execute(LEASE, values)).scalar_one_or_none()
    return fence


def _action(found: RowMapping) -> Action:
    values: dict[str, Any] = dict(found)
    values["state"] = ActionState(values["state"])
    values["guards"] = tuple(GuardAnswer(**guard) for guard in values["guards"])
    return Action(**values)

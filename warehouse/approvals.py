"""Approvals: a person's yes to one action, good once and not for long. Without one the answer is no."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from tonewatch.records import Approval
from warehouse.database import Connection
from warehouse.rows import packed, row, utc

COLUMNS = "id, action, requester, approver, reason, approved, expires, used"
PUT = text("""
    insert into approval (tenant, id, action, requester, approver, reason, approved, expires, used)
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, action text, requester text,
        approver text, reason text, approved timestamptz, expires timestamptz, used timestamptz)
    on conflict do nothing
""")
OF_ACTION = text(f"""
    select {COLUMNS} from approval where tenant = :tenant and action = :action order by approved, id
""")  # noqa: S608 - a constant
# A veto on the action outweighs every yes, whichever came first.
HOLDS = """
    where tenant = :tenant and action = :action and used is null and approved <= :now and expires > :now
      and not exists (select from label l where l.tenant = :tenant and l.subject_kind = 'action'
          and l.subject = :action and l.value = 'veto')
"""
HOLDING = text(f"select {COLUMNS} from approval {HOLDS} order by approved, id")  # noqa: S608 - constants
REDEEM = text(f"update approval set used = :now {HOLDS} returning {COLUMNS}")  # noqa: S608 - constants


async def put(tenant: str, db: Connection, approval: Approval) -> bool:
    """Keep the approval; False: it is kept already. Raises WarehouseError: approver and requester are the same."""
    return (await db.execute(PUT, {"tenant": tenant, "rows": packed([row(approval)])})).rowcount == 1


async def of_action(tenant: str, db: Connection, action: str) -> list[Approval]:
    """The approvals of the action with this key, used and expired ones included, the oldest first."""
    found = await db.execute(OF_ACTION, {"tenant": tenant, "action": action})
    return [Approval(**each) for each in found.mappings()]


async def holding(tenant: str, db: Connection, action: str, now: datetime) -> list[Approval]:
    """The approvals of the action that hold at `now`, the oldest first; empty, and the answer is no: there is none,
    each was used or has expired, or somebody said no to the action.
    """
    found = await db.execute(HOLDING, {"tenant": tenant, "action": action, "now": utc(now)})
    return [Approval(**each) for each in found.mappings()]


async def redeem(tenant: str, db: Connection, action: str, now: datetime) -> list[Approval]:
    """Use up those that hold, in the transaction that intends the deed at `now`; gives them, the oldest first.

    Of two that redeem at once, one is given them and the other none.
    """
    found = (await db.execute(REDEEM, {"tenant": tenant, "action": action, "now": utc(now)})).mappings()
    return sorted((Approval(**each) for each in found), key=lambda approval: (approval.approved, approval.id))

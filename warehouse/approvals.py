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
REDEEM = text(f"""
    update approval set used = :now
    where tenant = :tenant and used is null and id = (
        select a.id from approval a
        where a.tenant = :tenant and a.action = :action and a.used is null and a.expires > :now
          and not exists (select from label l where l.tenant = :tenant and l.subject_kind = 'action'
              and l.subject = :action and l.value = 'veto')
        order by a.approved desc, a.id limit 1 for update)
    returning {COLUMNS}
""")  # noqa: S608 - a constant


async def put(tenant: str, db: Connection, approval: Approval) -> bool:
    """Keep the approval; False: it is kept already. Raises WarehouseError: approver and requester are the same."""
    return (await db.execute(PUT, {"tenant": tenant, "rows": packed([row(approval)])})).rowcount == 1


async def of_action(tenant: str, db: Connection, action: str) -> list[Approval]:
    """The approvals of the action with this key, used and expired ones included, the oldest first."""
    found = await db.execute(OF_ACTION, {"tenant": tenant, "action": action})
    return [Approval(**each) for each in found.mappings()]


async def redeem(tenant: str, db: Connection, action: str, now: datetime) -> Approval | None:
    """Use up the newest approval of the action that still holds; call it in the transaction that intends the deed.

    None, and the answer is no: there is none, it was used, it has expired, or somebody said no to the action.
    """
    values = {"tenant": tenant, "action": action, "now": utc(now)}
    found = (await db.execute(REDEEM, values)).mappings().one_or_none()
    return None if found is None else Approval(**found)

"""The quality of data: what was asked of a view's rows and whether it held, and breaches while they last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.rows import packed, row, utc

COLUMNS = "view, checked, clause, feature, held, broken, rows, judge, told"
PUT = text(f"""
    insert into data_quality (tenant, {COLUMNS})
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (view text, checked timestamptz, clause text,
        feature text, held boolean, broken bigint, rows bigint, judge text, told text)
    on conflict do nothing
""")  # noqa: S608 - a constant
# The newest check of each view, or of one.
NEWEST = text(f"""
    select {COLUMNS} from data_quality q
    where tenant = :tenant and (cast(:view as text) is null or view = :view)
      and checked = (select max(checked) from data_quality n where n.tenant = :tenant and n.view = q.view)
    order by view, held, clause, feature
""")  # noqa: S608 - a constant
BREACH = "view, clause, feature, since, ended, owner, told"
LASTING = text(f"""
    select {BREACH} from data_breach
    where tenant = :tenant and (cast(:view as text) is null or view = :view) and ended is null
    order by view, since, clause, feature
""")  # noqa: S608 - a constant
# Of two checks at once the second finds what the first has begun.
BEGIN = text(f"""
    insert into data_breach (tenant, {BREACH})
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (view text, clause text, feature text,
        since timestamptz, ended timestamptz, owner text, told text)
    on conflict do nothing returning view, clause, feature
""")  # noqa: S608 - a constant
END = text("""
    update data_breach set ended = :at
    where tenant = :tenant and view = :view and clause = :clause and feature = :feature and ended is null
""")


@dataclass(frozen=True, slots=True)
class Quality:
    """One clause of one feature (empty: of whole rows) at one check. broken: so many of `rows` do not keep it."""

    view: str
    checked: datetime
    clause: str
    feature: str
    held: bool
    broken: int
    rows: int
    judge: str
    told: str


@dataclass(frozen=True, slots=True)
class DataBreach:
    """A clause that does not hold, since the first check that saw it. ended: None while it lasts."""

    view: str
    clause: str
    feature: str
    since: datetime
    owner: str
    told: str
    ended: datetime | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same breach while it lasts."""
        return self.view, self.clause, self.feature


async def put(tenant: str, db: Connection, found: Sequence[Quality]) -> None:
    """Keep what a check said."""
    await db.execute(PUT, {"tenant": tenant, "rows": packed(row(each) for each in found)})


async def newest(tenant: str, db: Connection, view: str | None = None) -> list[Quality]:
    """What the last check of each view said, what does not hold first."""
    return [Quality(**each) for each in (await db.execute(NEWEST, {"tenant": tenant, "view": view})).mappings()]


async def lasting(tenant: str, db: Connection, view: str | None = None) -> list[DataBreach]:
    """The breaches that last, the oldest of each view first."""
    return [DataBreach(**each) for each in (await db.execute(LASTING, {"tenant": tenant, "view": view})).mappings()]


async def begin(tenant: str, db: Connection, breaches: Sequence[DataBreach]) -> set[tuple[str, str, str]]:
    """Note breaches; gives the keys of those that did not last already."""
    rows = packed({**row(each)} for each in breaches)
    found = await db.execute(BEGIN, {"tenant": tenant, "rows": rows})
    return {(view, clause, feature) for view, clause, feature in found}


async def end(tenant: str, db: Connection, breach: DataBreach, at: datetime) -> None:
    """Note that a breach is over."""
    view, clause, feature = breach.key
    values = {"tenant": tenant, "view": view, "clause": clause, "feature": feature, "at": utc(at)}
    await db.execute(END, values)

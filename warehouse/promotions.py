"""Promotions of models, one at a time: models are a family's, whichever tenant's operator promotes them.

A row is written before the alias `champion` moves and completed after it: what broke off in between is found by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.rows import clean, row, utc

# Who has the turn asks the registry while the transaction is idle: ten calls or so, each three times up to a minute.
TURN = text("""
    select pg_try_advisory_xact_lock(hashtextextended('promotion ' || cast(:family as text), 0)),
        set_config('idle_in_transaction_session_timeout', '1h', true)
    where cast(:tenant as text) is not null
""")
COLUMNS = """id, family, version, before, what, who, reason, validation, state, asked, expires, flow_run, answered_by,
    moved, ended, told"""
PUT = text("""
    insert into promotion (tenant, id, family, version, before, what, who, reason, validation, state, asked, expires)
    values (:tenant, :id, :family, :version, :before, :what, :who, :reason, :validation, :state, :asked, :expires)
    on conflict do nothing
""")
HOLD = text(f"select {COLUMNS} from promotion where tenant = :tenant and id = :id for update")  # noqa: S608 - a constant
LISTED = text(f"""
    select {COLUMNS} from promotion where tenant = :tenant and (not :open or ended is null) order by asked desc, id
""")  # noqa: S608 - a constant
CHANGE = text("""
    update promotion set state = :state, told = coalesce(nullif(cast(:told as text), ''), told),
        answered_by = coalesce(:answered_by, answered_by), moved = coalesce(:moved, moved),
        ended = coalesce(:ended, ended)
    where tenant = :tenant and id = :id and ended is null
""")
REOPEN = text("""
    update promotion set state = 'intended', ended = null, told = ''
    where tenant = :tenant and id = :id and ended is not null and moved is null
""")
RUN = text("update promotion set flow_run = :run where tenant = :tenant and id = :id")


class Move(StrEnum):
    """Which way the alias goes."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"


class Stage(StrEnum):
    """How far a move has come. The last five are its ends (done: it is watched no further); a rejection becomes a
    refusal when everybody concerned has been told.
    """

    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    INTENDED = "intended"
    PROBATION = "probation"
    DONE = "done"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    KEPT = "kept"
    TAKEN_BACK = "taken-back"


ENDS = frozenset({Stage.DONE, Stage.REFUSED, Stage.SUPERSEDED, Stage.KEPT, Stage.TAKEN_BACK})


@dataclass(frozen=True, slots=True)
class Promotion:
    """A move of a family's alias. before: the champion whose place is taken; None: there was none.

    validation: that showed it to be better, or empty; expires: until when a person may answer; None: nobody is asked.
    """

    id: str
    family: str
    version: str
    before: str | None
    what: Move
    who: str
    reason: str
    state: Stage
    asked: datetime
    validation: str = ""
    expires: datetime | None = None
    flow_run: str = ""
    answered_by: str = ""
    moved: datetime | None = None
    ended: datetime | None = None
    told: str = ""


async def take_turn(tenant: str, db: Connection, family: str) -> bool:
    """Whether it is the caller's turn to move the family's champion: none else can until its transaction ends, which
    may be idle for an hour.
    """
    return bool((await db.execute(TURN, {"tenant": tenant, "family": family})).scalar_one())


async def put(tenant: str, db: Connection, made: Promotion) -> bool:
    """Keep the promotion; False: there is one of that id, and it stays as it is."""
    expires = None if made.expires is None else utc(made.expires)
    values = row(made) | {"tenant": tenant, "asked": utc(made.asked), "expires": expires}
    words = {"who": clean(made.who), "reason": clean(made.reason)}
    return (await db.execute(PUT, values | words)).rowcount == 1


async def hold(tenant: str, db: Connection, id_: str) -> Promotion | None:
    """The promotion, which nobody else changes until the transaction ends; None: there is none of that id."""
    found = (await db.execute(HOLD, {"tenant": tenant, "id": id_})).mappings().one_or_none()
    return None if found is None else _promotion(found)


async def listed(tenant: str, db: Connection, *, under_way: bool = False) -> list[Promotion]:
    """The tenant's promotions, the newest first; under_way: only those that have not ended."""
    found = await db.execute(LISTED, {"tenant": tenant, "open": under_way})
    return [_promotion(each) for each in found.mappings()]


async def change(
    tenant: str, db: Connection, id_: str, stage: Stage, at: datetime, told: str = "", answered_by: str | None = None
) -> bool:
    """Note how far it has come; False: it has ended already. A stage after the move notes when it was moved.

    told: without any, what was said before stays.
    """
    by = answered_by if answered_by is None else clean(answered_by)
    values: dict[str, object] = {"state": stage, "told": clean(told), "answered_by": by}
    values |= {"moved": utc(at) if stage in {Stage.PROBATION, Stage.DONE} else None}
    values |= {"ended": utc(at) if stage in ENDS else None}
    return (await db.execute(CHANGE, values | {"tenant": tenant, "id": id_})).rowcount == 1


async def reopen(tenant: str, db: Connection, id_: str) -> bool:
    """Let one that was given up be intended again, since its call came through after all; False: it was not."""
    return (await db.execute(REOPEN, {"tenant": tenant, "id": id_})).rowcount == 1


async def asked_of(tenant: str, db: Connection, id_: str, run: str) -> None:
    """Note which run of Prefect waits for the answer."""
    await db.execute(RUN, {"tenant": tenant, "id": id_, "run": run})


def taken_back(of: Sequence[Promotion], family: str, version: str) -> Promotion | None:
    """The promotion by which that version was champion until a guard took it back."""
    return next((p for p in of if (p.family, p.version, p.state) == (family, version, Stage.TAKEN_BACK)), None)


def _promotion(found: object) -> Promotion:
    values = dict(found)  # type: ignore[call-overload]
    return Promotion(**values | {"what": Move(values["what"]), "state": Stage(values["state"])})

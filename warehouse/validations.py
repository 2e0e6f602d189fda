"""A/B validations: which models were compared in shadow, what was observed, and every look at what it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.rows import document, packed, row, utc

#: What a label of a disagreement is a label of.
SUBJECT = "disagreement"
#: In the plan of what is no validation but a probation: of which promotion.
PROBATION = "probation"
#: In the plan of a validation that was begun anew: which one has ended without an observation. Nobody waits for it.
ANEW = "anew"
#: In the plan of what is no comparison: the champion cannot score, and the challenger has passed the gate without it.
SILENT = "silent"
COLUMNS = "id, family, champion, challenger, plan, started, promoted, taken_back"
BEGIN = text("""
    insert into validation (tenant, id, family, champion, challenger, plan, started)
    values (:tenant, :id, :family, :champion, :challenger, cast(:plan as jsonb), :started)
    on conflict do nothing
""")
GET = text(f"select {COLUMNS} from validation where tenant = :tenant and id = :id")  # noqa: S608 - a constant
LISTED = text(f"""
    select {COLUMNS} from validation where tenant = :tenant order by started desc, id
""")  # noqa: S608 - a constant
PROMOTED = text("""
    update validation set promoted = :at where tenant = :tenant and id = :id and promoted is null
""")
TAKEN_BACK = text("update validation set taken_back = :at where tenant = :tenant and id = :id")
OBSERVE = text("""
    insert into validation_observation (tenant, validation, id, kind, time, content)
    select :tenant, :validation, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, kind text,
        time timestamptz, content jsonb)
    on conflict do nothing
""")
OBSERVED = text("""
    select id, kind, time, content from validation_observation
    where tenant = :tenant and validation = :validation order by time, id
""")
QUEUE = text("""
    insert into disagreement (tenant, id, validation, entity, found_by, started, ended, score, queued)
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (id text, validation text, entity text,
        found_by text, started timestamptz, ended timestamptz, score double precision, queued timestamptz)
    on conflict do nothing
""")
QUEUED = text("""
    select id, validation, entity, found_by, started, ended, score, queued from disagreement
    where tenant = :tenant and validation = :validation order by started, id
""")
DISAGREEMENT = text("""
    select id, validation, entity, found_by, started, ended, score, queued from disagreement
    where tenant = :tenant and id = :id
""")
JUDGE = text("""
    insert into validation_verdict (tenant, validation, until, answer, final, estimate, low, high, counted, reasons,
        guards)
    values (:tenant, :validation, :until, :answer, :final, :estimate, :low, :high, :counted, :reasons,
        cast(:guards as jsonb))
    on conflict do nothing
""")
NEWEST = text("""
    select validation, until, answer, final, estimate, low, high, counted, reasons, guards from validation_verdict
    where tenant = :tenant and validation = :validation order by final desc, until desc limit 1
""")
# When the last of those ends at the latest whose challenger got its threshold since, by the tenant's own training or,
# where it is another's, by its calm; and that have no final verdict.
UNDECIDED = text("""
    select max(v.started + make_interval(secs => (v.plan->>'longest_s')::double precision)) from validation v
    where v.tenant = :tenant and v.family = :family and v.plan->'probation' is null and v.plan->'anew' is null
      and not exists (select from validation_verdict d
          where d.tenant = :tenant and d.validation = v.id and d.final)
      and exists (select from calibration c where c.tenant = :tenant and c.family = v.family
          and c.version = v.challenger and c.made > :since
          and (c.source = 'training' or :whoever and c.source = 'calm'))
""")


@dataclass(frozen=True, slots=True)
class Validation:
    """A pair of versions of a family's model. plan: what was decided before it began; promoted: None: not by it;
    taken_back: when what it had promoted was taken back by a guard; None: it was not.
    """

    id: str
    family: str
    champion: str
    challenger: str
    plan: Mapping[str, Any]
    started: datetime
    promoted: datetime | None = None
    taken_back: datetime | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing that was observed. kind: outcome, calm, cost or crash; content: what tasks/shadow.py makes of it."""

    id: str
    kind: str
    time: datetime
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What one of the two would have told and the other not."""

    id: str
    validation: str
    entity: str
    found_by: str
    started: datetime
    ended: datetime
    score: float
    queued: datetime


@dataclass(frozen=True, slots=True)
class Looked:
    """A look at the evidence. estimate, low, high: by how much more the challenger finds; guards: name -> its words."""

    validation: str
    until: datetime
    answer: str
    final: bool
    estimate: float
    low: float
    high: float
    counted: int
    reasons: tuple[str, ...]
    guards: Mapping[str, str]


async def begin(tenant: str, db: Connection, made: Validation) -> Validation:
    """Keep the validation unless one of its id is kept; gives the one that is, whose plan holds."""
    values = row(made) | {"plan": document(made.plan), "started": utc(made.started), "tenant": tenant}
    await db.execute(BEGIN, values)
    found = (await db.execute(GET, {"tenant": tenant, "id": made.id})).mappings().one()
    return Validation(**found)


async def get(tenant: str, db: Connection, id_: str) -> Validation | None:
    """The validation of that id; None: the tenant takes no part in it."""
    found = (await db.execute(GET, {"tenant": tenant, "id": id_})).mappings().one_or_none()
    return None if found is None else Validation(**found)


async def listed(tenant: str, db: Connection) -> list[Validation]:
    """Every validation that the tenant takes or took part in, the newest first."""
    return [Validation(**each) for each in (await db.execute(LISTED, {"tenant": tenant})).mappings()]


async def undecided(
    tenant: str, db: Connection, family: str, since: datetime, *, whoever: bool = False
) -> datetime | None:
    """Until when a challenger of the family that was learned since then is validated at the latest; None: none is.
    whoever: also what another tenant's training brought, where it is held against the champion on this one's stream.
    """
    values = {"tenant": tenant, "family": family, "since": utc(since), "whoever": whoever}
    found: datetime | None = (await db.execute(UNDECIDED, values)).scalar_one()
    return found


async def promoted(tenant: str, db: Connection, id_: str, at: datetime) -> bool:
    """Note that its challenger became champion; False: that was noted before."""
    return (await db.execute(PROMOTED, {"tenant": tenant, "id": id_, "at": utc(at)})).rowcount == 1


async def taken_back(tenant: str, db: Connection, id_: str, at: datetime) -> None:
    """Note that what it had promoted was taken back."""
    await db.execute(TAKEN_BACK, {"tenant": tenant, "id": id_, "at": utc(at)})


async def observe(tenant: str, db: Connection, validation: str, seen: Sequence[Observation]) -> int:
    """Keep what was observed; gives how much was new: of an id that is there the first stays."""
    values = {"tenant": tenant, "validation": validation, "rows": packed(row(each) for each in seen)}
    return (await db.execute(OBSERVE, values)).rowcount


async def observed(tenant: str, db: Connection, validation: str) -> list[Observation]:
    """Everything that was observed of the tenant, in order of time."""
    found = await db.execute(OBSERVED, {"tenant": tenant, "validation": validation})
    return [Observation(**each) for each in found.mappings()]


async def queue(tenant: str, db: Connection, found: Sequence[Disagreement]) -> int:
    """Queue disagreements for people; gives how many were new."""
    rows = [row(each) for each in found]
    return (await db.execute(QUEUE, {"tenant": tenant, "rows": packed(rows)})).rowcount


async def queued(tenant: str, db: Connection, validation: str) -> list[Disagreement]:
    """The validation's disagreements, in order of time."""
    found = await db.execute(QUEUED, {"tenant": tenant, "validation": validation})
    return [Disagreement(**each) for each in found.mappings()]


async def disagreement(tenant: str, db: Connection, id_: str) -> Disagreement | None:
    """The one of that id; None: there is none."""
    found = (await db.execute(DISAGREEMENT, {"tenant": tenant, "id": id_})).mappings().one_or_none()
    return None if found is None else Disagreement(**found)


async def look(tenant: str, db: Connection, seen: Looked) -> bool:
    """Keep a look at the evidence; False: there is one of that time already, or a final one.

    Looks are never changed: a final one of the same moment as one that is not follows it by a microsecond.
    """
    before = await newest(tenant, db, seen.validation)
    if before is not None and before.final:
        return False
    until = utc(seen.until)
    if seen.final and before is not None and before.until == until:
        until += timedelta(microseconds=1)
    values = row(seen) | {"reasons": list(seen.reasons), "guards": document(seen.guards), "until": until}
    return (await db.execute(JUDGE, values | {"tenant": tenant})).rowcount == 1


async def newest(tenant: str, db: Connection, validation: str) -> Looked | None:
    """The final look, else the last; None: nobody has looked yet."""
    found = (await db.execute(NEWEST, {"tenant": tenant, "validation": validation})).mappings().one_or_none()
    return None if found is None else Looked(**{**found, "reasons": tuple(found["reasons"])})

"""Authors of labels: what each said of which incident, what was verified without them, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.rows import packed, row

# Of one author's words on an incident, or on what two models disagree on, the last counts; one who calls it planned
# says nothing of the models. Both kinds of ids are digests: none means two things.
SPOKEN = text("""
    select l.subject as incident, l.who as author, l.value = 'verdict:real' as real,
        extract(epoch from l.time)::double precision as time,
        coalesce((select split_part(f.detector, ':', 1) || ':' || split_part(f.detector, ':', 2)
            from incident_finding i join finding f on f.tenant = :tenant and f.id = i.finding
            where i.tenant = :tenant and i.incident = l.subject and f.kind = 'signal'
            order by f.started, f.id limit 1), '') as about
    from (select distinct on (subject, who) subject, who, value, time, id from label
          where tenant = :tenant and subject_kind in ('incident', 'disagreement') and value like 'verdict:%'
          order by subject, who, time desc, id) l
    where l.value in ('verdict:real', 'verdict:false-alarm')
    order by l.time, l.id
""")
# What no label can change: a remedy with a control worked, a rule that needs no learning told the same, listeners were
# measured to have lost sound.
VERIFIED = text("""
    select i.id from incident i
    where i.tenant = :tenant
      and ((i.loss_basis = 'measured' and i.listener_minutes_lost > 0)
        or exists (select from verdict v where v.tenant = :tenant and v.incident = i.id
            and v.outcome = 'worked' and v.controlled)
        or exists (select from incident_finding j join finding f on f.tenant = :tenant and f.id = j.finding
            where j.tenant = :tenant and j.incident = i.id and f.kind = 'rule'))
""")
COLUMNS = "author, made, weight, accuracy, compared, votes, quarantined, reason"
PUT = text(f"""
    insert into author_weight (tenant, {COLUMNS})
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (author text, made timestamptz,
        weight double precision, accuracy double precision, compared double precision, votes integer,
        quarantined boolean, reason text)
    on conflict do nothing
""")  # noqa: S608 - constants
NEWEST = text(f"""
    select distinct on (author) {COLUMNS} from author_weight where tenant = :tenant order by author, made desc
""")  # noqa: S608 - constants
# An incident is over when it is closed, which it is by itself once nothing of it is seen any more. Until then
# impact_ended is no end: where a person took over, it is the last that listeners had told by that time.
SPANS = text("""
    select id, title, onset, coalesce(closed, cast(:now as timestamptz)) as ended from incident
    where tenant = :tenant and onset < :until and coalesce(closed, cast(:now as timestamptz)) > :since
    order by onset, id
""")


@dataclass(frozen=True, slots=True)
class Spoken:
    """What an author said last of an incident, at `time` in seconds since 1970. about: the detector that opened it."""

    incident: str
    author: str
    real: bool
    time: float
    about: str


@dataclass(frozen=True, slots=True)
class Weight:
    """What an author is worth from `made` on: ml.labelling.Standing, with the reason for the change."""

    author: str
    made: datetime
    weight: float
    accuracy: float
    compared: float
    votes: int
    quarantined: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """From when until when an incident lasted; one that is not over lasts until now."""

    id: str
    title: str
    onset: datetime
    ended: datetime


async def spoken(tenant: str, db: Connection) -> list[Spoken]:
    """What everybody said of incidents and of what models disagree on, real or false alarm, in that order."""
    return [Spoken(**each) for each in (await db.execute(SPOKEN, {"tenant": tenant})).mappings()]


async def verified(tenant: str, db: Connection) -> set[str]:
    """The incidents that were real, whatever anybody says."""
    return set((await db.execute(VERIFIED, {"tenant": tenant})).scalars())


async def weights(tenant: str, db: Connection) -> list[Weight]:
    """What each author is worth now, by name."""
    return [Weight(**each) for each in (await db.execute(NEWEST, {"tenant": tenant})).mappings()]


async def put(tenant: str, db: Connection, changed: Sequence[Weight]) -> None:
    """Keep what has changed; the history stays."""
    await db.execute(PUT, {"tenant": tenant, "rows": packed(row(each) for each in changed)})


async def lasting(tenant: str, db: Connection, since: datetime, until: datetime, now: datetime) -> list[Stretch]:
    """The incidents that lasted within (since, until)."""
    values = {"tenant": tenant, "since": since, "until": until, "now": now}
    return [Stretch(**each) for each in (await db.execute(SPANS, values)).mappings()]

"""What a report reads of a stretch of time: listening, incidents opened in it, and what was done for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from tonewatch.availability import LISTENING as LISTENING_STATES
from tonewatch.availability import SILENT_AFTER_MS, STARTUP_ALLOWED_MS
from warehouse.database import Connection
from warehouse.rows import utc

# A report tells of the time since the one before it in its session, and belongs to the stretch in which it came; so
# does what it says was lost. That was due in any case, also where the report before is missing.
LISTENING = text("""
    with told as (
        select channel, time, starved_ms + greatest(0, coalesce(startup_ms, 0) - :startup_allowed_ms) as lost_ms,
            lag(state) over before = any(cast(:listening as text[])) as listened,
            round(extract(epoch from time - lag(time) over before) * 1000)::bigint as since_ms
        from session_report
        where tenant = :tenant and time >= :from_time and time < :end
        window before as (partition by session order by sequence)
    )
    select channel, sum(lost_ms)::bigint as lost_ms,
        sum(greatest(lost_ms,
            case when listened and since_ms between 0 and :silent_after_ms then since_ms else 0 end))::bigint as due_ms
    from told where time >= :start group by channel order by channel
""")
INCIDENTS = text("""
    select i.id, i.state, i.severity, i.title, i.onset, i.opened, i.impact_started, i.impact_ended,
        i.listener_minutes_lost as lost, i.loss_basis as basis, coalesce(c.entity, '') as cause_entity,
        coalesce(c.kind, '') as cause_kind,
        exists (select from notice n where n.tenant = i.tenant and n.incident = i.id) as told,
        coalesce((select substr(l.value, 9) from label l
            where l.tenant = i.tenant and l.subject_kind = 'incident' and l.subject = i.id and l.value like 'verdict:%'
            order by l.time desc, l.id limit 1), '') as judged
    from incident i left join cause c on c.tenant = i.tenant and c.incident = i.id and c.rank = 1
    where i.tenant = :tenant and i.opened >= :start and i.opened < :end order by i.opened, i.id
""")
CARRIED = text("""
    select count(*) from incident
    where tenant = :tenant and opened < :start and state <> 'closed'
""")
DEEDS = text("""
    select a.incident, a.runbook, a.target, a.attempt, a.state, a.autonomy, a.detail,
        array(select g ->> 'guard' from jsonb_array_elements(a.guards) g
            where not (g ->> 'allowed')::boolean) as refused_by,
        coalesce(v.outcome, '') as outcome, coalesce(v.controlled, false) as controlled, v.decided
    from action a
    join incident i on i.tenant = a.tenant and i.id = a.incident
    left join verdict v on v.tenant = a.tenant and v.action = a.key
    where a.tenant = :tenant and i.opened >= :start and i.opened < :end
    order by i.opened, a.incident, a.intended nulls last, a.attempt, a.runbook, a.target
""")
HANDED_OVER = text("""
    select extract(epoch from i.impact_ended - i.onset)::double precision from incident i
    where i.tenant = :tenant and i.opened >= :start and i.opened < :end and i.impact_ended >= i.onset
      and i.state in ('mended', 'closed')
      and exists (select from audit a where a.tenant = i.tenant and a.subject = i.id and a.what = 'incident.state'
          and a.after ->> 'state' = 'handed-over')
      and not exists (select from label l where l.tenant = i.tenant and l.subject_kind = 'incident'
          and l.subject = i.id and l.value = 'verdict:false-alarm')
    order by 1
""")


@dataclass(frozen=True, slots=True)
class ChannelTime:
    """Listening on one channel, in milliseconds."""

    channel: str
    lost_ms: int
    due_ms: int


@dataclass(frozen=True, slots=True)
class IncidentLine:
    """An incident as a report tells it. `told`: somebody was sent a notice; `judged`: real, false-alarm, planned, or
    empty while nobody has said what it was; the cause is empty while it is not known.
    """

    id: str
    state: str
    severity: str
    title: str
    onset: datetime
    opened: datetime
    impact_started: datetime | None
    impact_ended: datetime | None
    lost: float
    basis: str
    cause_entity: str
    cause_kind: str
    told: bool
    judged: str


@dataclass(frozen=True, slots=True)
class Deed:
    """An action for an incident, with its verdict (`outcome` is empty while there is none)."""

    incident: str
    runbook: str
    target: str
    attempt: int
    state: str
    autonomy: str
    detail: str
    refused_by: tuple[str, ...]
    outcome: str
    controlled: bool
    decided: datetime | None


async def listening(tenant: str, db: Connection, start: datetime, end: datetime) -> list[ChannelTime]:
    """Listening due and lost in start <= time < end, by channel.

    Due is the time between two reports of a session whose earlier one was in a state in which sound is wanted. A
    session that said nothing for longer than SILENT_AFTER_MS is not known to have listened.
    """
    values = {
        "tenant": tenant,
        "from_time": utc(start) - timedelta(milliseconds=SILENT_AFTER_MS),
        "start": start,
        "end": utc(end),
        "listening": sorted(LISTENING_STATES),
        "silent_after_ms": SILENT_AFTER_MS,
        "startup_allowed_ms": STARTUP_ALLOWED_MS,
    }
    return [ChannelTime(**each) for each in (await db.execute(LISTENING, values)).mappings()]


async def opened(tenant: str, db: Connection, start: datetime, end: datetime) -> list[IncidentLine]:
    """The incidents opened in start <= time < end, the oldest first."""
    found = await db.execute(INCIDENTS, _span(tenant, start, end))
    return [IncidentLine(**each) for each in found.mappings()]


async def carried(tenant: str, db: Connection, start: datetime, end: datetime) -> int:
    """How many incidents were opened before `start` and are still not closed."""
    count: int = (await db.execute(CARRIED, _span(tenant, start, end))).scalar_one()
    return count


async def deeds(tenant: str, db: Connection, start: datetime, end: datetime) -> list[Deed]:
    """What was done, or refused, for the incidents opened in start <= time < end."""
    found = await db.execute(DEEDS, _span(tenant, start, end))
    return [Deed(**{**each, "refused_by": tuple(each["refused_by"])}) for each in found.mappings()]


async def handed_over_seconds(tenant: str, db: Connection, start: datetime, end: datetime) -> list[float]:
    """Seconds from onset to the end of the impact of the incidents that people ended, the shortest first."""
    return list((await db.execute(HANDED_OVER, _span(tenant, start, end))).scalars())


def _span(tenant: str, start: datetime, end: datetime) -> dict[str, object]:
    return {"tenant": tenant, "start": utc(start), "end": utc(end)}

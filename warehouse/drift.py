"""Drift: what each check said of each feature, which retrainings were asked for, and what people call normal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.rows import Row, clean, packed, row, utc

#: What stands in place of a view where all families of a tenant are to be trained again.
ALL = "all"
CHECK = "view, window_end, window_start, reference_start, checked, verdict, told, report"
PUT_CHECK = text(f"""
    insert into drift_check (tenant, {CHECK})
    values (:tenant, :view, :window_end, :window_start, :reference_start, :checked, :verdict, :told, :report)
    on conflict do nothing
""")  # noqa: S608 - a constant
RESULT = "subject, feature, aspect, statistic, effect, p, q, verdict, days, told"
PUT_RESULTS = text(f"""
    insert into drift_result (tenant, view, window_end, {RESULT})
    select :tenant, :view, :window_end, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (subject text,
        feature text, aspect text, statistic double precision, effect double precision, p double precision,
        q double precision, verdict text, days integer, told text)
""")  # noqa: S608 - a constant
REPORTED = text("""
    update drift_check set report = :report where tenant = :tenant and view = :view and window_end = :window_end
""")
# The newest of each view.
NEWEST = text(f"""
    select distinct on (view) {CHECK} from drift_check where tenant = :tenant order by view, window_end desc
""")  # noqa: S608 - a constant
LAST = text(f"""
    select {CHECK} from drift_check where tenant = :tenant and view = :view order by window_end desc limit :limit
""")  # noqa: S608 - a constant
RESULTS = text(f"""
    select {RESULT} from drift_result where tenant = :tenant and view = :view and window_end = :window_end
    order by subject, q nulls last, feature, aspect
""")  # noqa: S608 - a constant
# The drift that lasts now began with the first check after the last that was something else.
SINCE = text("""
    select min(window_end) from drift_check where tenant = :tenant and view = :view and verdict = 'drift'
      and window_end > coalesce((select max(window_end) from drift_check
          where tenant = :tenant and view = :view and verdict in ('steady', 'growth')), '-infinity')
""")
REPORTS = text("""
    select report from drift_check
    where tenant = :tenant and view = :view and window_end >= :since and report <> '' order by window_end
""")
CALM = text("""
    select max(checked) from drift_check where tenant = :tenant and view = :view and verdict in ('steady', 'growth')
""")
REQUEST = "view, asked, cool_down_seconds, who, reason, flow_run, delivered, why, dropped"
PUT_REQUEST = text("""
    insert into retraining_request (tenant, view, asked, cool_down_seconds, who, reason, why)
    values (:tenant, :view, :asked, :cool_down_seconds, :who, :reason, :why)
""")
REQUESTS = text(f"""
    select {REQUEST} from retraining_request
    where tenant = :tenant and (cast(:view as text) is null or view = :view) order by asked, view
""")  # noqa: S608 - a constant
DELIVERED = text("""
    update retraining_request set flow_run = :flow_run, delivered = :at
    where tenant = :tenant and view = :view and asked = :asked and delivered is null
""")
DROP = text("""
    update retraining_request set dropped = :why
    where tenant = :tenant and view = :view and asked = :asked and delivered is null
""")
ACCEPT = text("""
    insert into drift_acceptance (tenant, view, at, who, reason) values (:tenant, :view, :at, :who, :reason)
""")
ACCEPTED = text("select max(at) from drift_acceptance where tenant = :tenant and view = :view")
LEARNED = text("""
    select min(made) from calibration
    where tenant = :tenant and family = :view and version = :version and source = 'training'
""")
# Two that check the same view at once would both ask for a retraining.
IN_TURN = text("select pg_advisory_xact_lock(hashtextextended('drift ' || :tenant, 0))")
TOLD = text("""
    select n.id, exists (select from incident_finding i
            join finding f on f.tenant = :tenant and f.id = i.finding
            where i.tenant = :tenant and i.incident = n.id and f.model_version is not null) as told
    from incident n where n.tenant = :tenant and n.opened >= :since and n.opened < :until order by n.opened, n.id
""")


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """A view's check: (window_start, window_end] compared with what lies from reference_start to window_start."""

    view: str
    window_end: datetime
    window_start: datetime
    reference_start: datetime
    checked: datetime
    verdict: str
    told: str
    report: str = ""


@dataclass(frozen=True, slots=True)
class DriftResult:
    """What the check said of one aspect of one feature; None: it could not be judged."""

    subject: str
    feature: str
    aspect: str
    statistic: float | None
    effect: float | None
    p: float | None
    q: float | None
    verdict: str
    days: int
    told: str


@dataclass(frozen=True, slots=True)
class RetrainingRequest:
    """A retraining that was asked for. view: one, or ALL; delivered: when Prefect took it; None: it was not; why: what
    asked for it (policy/retraining.py); dropped: why it is never handed over; empty: it was, or will be.
    """

    view: str
    asked: datetime
    cool_down_seconds: float
    who: str
    reason: str
    flow_run: str = ""
    delivered: datetime | None = None
    why: str = "drift"
    dropped: str = ""

    @property
    def waits(self) -> bool:
        """Whether it is still to be handed over."""
        return self.delivered is None and not self.dropped

    @property
    def rests_until(self) -> datetime:
        """Before then no other is asked for by itself."""
        return (self.delivered or self.asked) + timedelta(seconds=self.cool_down_seconds)


async def in_turn(tenant: str, db: Connection) -> None:
    """Wait for every transaction that decides on the tenant's retrainings, and let no other begin before this ends."""
    await db.execute(IN_TURN, {"tenant": tenant})


async def put(tenant: str, db: Connection, check: DriftCheck, results: Sequence[DriftResult]) -> bool:
    """Keep the check and its results; gives whether it is new: the same window is kept once."""
    if (await db.execute(PUT_CHECK, {"tenant": tenant, **row(check), "told": clean(check.told)})).rowcount == 0:
        return False
    key = {"tenant": tenant, "view": check.view, "window_end": utc(check.window_end)}
    await db.execute(PUT_RESULTS, {**key, "rows": packed(_numbers(row(each)) for each in results)})
    return True


def _numbers(of: Row) -> Row:
    """NaN is no number to the database either."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in of.items()}


async def reported(tenant: str, db: Connection, check: DriftCheck, report: str) -> None:
    """Note which MLflow run holds the check's page of pictures."""
    values = {"tenant": tenant, "view": check.view, "window_end": check.window_end, "report": report}
    await db.execute(REPORTED, values)


async def reports(tenant: str, db: Connection, view: str, since: datetime) -> list[str]:
    """The MLflow runs that hold pictures of the view's windows that ended since then."""
    values = {"tenant": tenant, "view": view, "since": utc(since)}
    return list((await db.execute(REPORTS, values)).scalars())


async def newest(tenant: str, db: Connection) -> list[DriftCheck]:
    """The last check of each view."""
    return [DriftCheck(**each) for each in (await db.execute(NEWEST, {"tenant": tenant})).mappings()]


async def last(tenant: str, db: Connection, view: str, limit: int = 1) -> list[DriftCheck]:
    """The last checks of the view, the newest first."""
    found = await db.execute(LAST, {"tenant": tenant, "view": view, "limit": limit})
    return [DriftCheck(**each) for each in found.mappings()]


async def results(tenant: str, db: Connection, check: DriftCheck) -> list[DriftResult]:
    """What the check said, the surest first."""
    values = {"tenant": tenant, "view": check.view, "window_end": check.window_end}
    return [DriftResult(**each) for each in (await db.execute(RESULTS, values)).mappings()]


async def since(tenant: str, db: Connection, view: str) -> datetime | None:
    """The end of the first window of the drift that lasts; None: the view has not drifted since it was steady."""
    found: datetime | None = (await db.execute(SINCE, {"tenant": tenant, "view": view})).scalar_one()
    return found


async def calm(tenant: str, db: Connection, view: str) -> datetime | None:
    """When the view was last found steady, or growing as usual; None: never."""
    found: datetime | None = (await db.execute(CALM, {"tenant": tenant, "view": view})).scalar_one()
    return found


async def ask(tenant: str, db: Connection, wanted: RetrainingRequest) -> None:
    """Keep a request for a retraining, to be delivered."""
    words = {"who": clean(wanted.who), "reason": clean(wanted.reason), "asked": utc(wanted.asked)}
    await db.execute(PUT_REQUEST, {"tenant": tenant, **row(wanted), **words})


async def requests(tenant: str, db: Connection, view: str | None = None) -> list[RetrainingRequest]:
    """Every request, the oldest first; of that view alone where one is named."""
    found = await db.execute(REQUESTS, {"tenant": tenant, "view": view})
    return [RetrainingRequest(**each) for each in found.mappings()]


async def delivered(tenant: str, db: Connection, wanted: RetrainingRequest, flow_run: str, at: datetime) -> None:
    """Note that Prefect has taken the request."""
    key = {"tenant": tenant, "view": wanted.view, "asked": wanted.asked}
    await db.execute(DELIVERED, {**key, "flow_run": clean(flow_run), "at": utc(at)})


async def drop(tenant: str, db: Connection, wanted: RetrainingRequest, why: str) -> None:
    """Note why the request, which nobody has taken, is never handed over."""
    await db.execute(DROP, {"tenant": tenant, "view": wanted.view, "asked": wanted.asked, "why": clean(why)})


async def accept(tenant: str, db: Connection, view: str, who: str, reason: str, at: datetime) -> None:
    """Keep a person's word that what the view shows is normal from then on."""
    await db.execute(
        ACCEPT, {"tenant": tenant, "view": view, "at": utc(at), "who": clean(who), "reason": clean(reason)}
    )


async def accepted(tenant: str, db: Connection, view: str) -> datetime | None:
    """Since when what the view shows is normal by a person's word; None: nobody said so."""
    found: datetime | None = (await db.execute(ACCEPTED, {"tenant": tenant, "view": view})).scalar_one()
    return found


async def learned(tenant: str, db: Connection, view: str, version: str) -> datetime | None:
    """When that version of the view's model was learned for the tenant; None: it never was."""
    values = {"tenant": tenant, "view": view, "version": version}
    found: datetime | None = (await db.execute(LEARNED, values)).scalar_one()
    return found


async def told(tenant: str, db: Connection, start: datetime, end: datetime) -> dict[str, bool]:
    """The incidents opened in [start, end), with whether a model had told them."""
    found = await db.execute(TOLD, {"tenant": tenant, "since": utc(start), "until": utc(end)})
    return {each.id: each.told for each in found}

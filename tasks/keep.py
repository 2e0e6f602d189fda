"""Keep a stretch of what the warehouse holds as a recording: evidence that replays (docs/recordings.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tonewatch.cases import RECORDING, Case, Expected, write_case
from tonewatch.clock import stretches
from tonewatch.errors import RecordingError, UnknownIncident
from tonewatch.keeping import CHANGES, ENTITIES, SESSIONS, Keeper, series_key
from tonewatch.records import Change, Entity, Incident, IncidentState, SessionReport
from tonewatch.watched import watched
from warehouse import changes, entities, incidents, labels, samples, sessions, tenants
from warehouse.database import Warehouse
from warehouse.rows import row

#: So much is read at once.
SLICE = timedelta(minutes=5)
#: A stretch whose first sample comes later than this after its beginning is only partly there.
LATE = timedelta(minutes=1)
#: Where a case comes from that is kept here.
SOURCE = "warehouse"
#: What people said of an incident by which it is a calm period: nothing was wrong.
FALSE_ALARM = "verdict:false-alarm"
#: As far as its incident must have come for a case to have an end.
OVER = (IncidentState.MENDED, IncidentState.HANDED_OVER, IncidentState.CLOSED)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept. start: as asked for, or the first sample's time where that is much later; hash: of the content."""

    folder: str
    start: datetime
    end: datetime
    series: int
    samples: int
    changes: int
    sessions: int
    hash: str


async def keep(
    tenant: str,
    warehouse: Warehouse,
    start: datetime,
    end: datetime,
    folder: Path,
    say: Say,
) -> Kept:
    """Write all that the warehouse holds of start <= time < end into a new folder. No tenant's name is in it.

    Where it holds only a later part of that, the recording begins with the first sample, and that is said.

    Raises UnknownTenant, WarehouseAway; RecordingError: there is no such stretch of samples, or no such folder can be.
    """
    if not start < end:
        raise RecordingError(f"the stretch ends ({end.isoformat()}) before it begins ({start.isoformat()})")
    async with warehouse.as_tenant(tenant) as db:
        profile = await tenants.profile(tenant, db)
        series = await samples.series_between(tenant, db, start, end)
        parts = await entities.load(tenant, db, end)
        announced = await changes.read(tenant, db, start, end)
        told = await sessions.between(tenant, db, start, end)
    if not series:
        raise RecordingError(
            f"the warehouse holds no sample of {start.isoformat()} to {end.isoformat()}: samples are kept for some days"
            " (tonewatch settings), and only while the platform is watched"
        )
    keeper = Keeper(folder, series)
    keeper.lines(ENTITIES, map(_entity, parts))
    keeper.lines(CHANGES, map(_change, announced))
    keeper.lines(SESSIONS, map(_report, told))
    named = {series_key(each) for each in keeper.series}
    first: datetime | None = None
    for begin, until in stretches(start, end, SLICE):
        async with warehouse.as_tenant(tenant) as db:
            found = await samples.read(tenant, db, begin, until)
        keeper.chunk([sample for sample in found if series_key(sample.series) in named])
        first = first or min((sample.time for sample in found), default=None)
        say(f"{(until - start) / (end - start):.0%}: {keeper.samples:,} samples")
    if first is not None and first - start > LATE:
        say(f"the warehouse holds nothing before {first.isoformat()}: the recording begins there")
        start = first
    digest = keeper.close(
        start, end, profile.scrape_seconds, watched(profile), f"from a warehouse, {end - start}", "tonewatch record"
    )
    return Kept(
        str(folder.absolute()), start, end, len(keeper.series), keeper.samples, len(announced), len(told), digest
    )


async def keep_incident(
    tenant: str, warehouse: Warehouse, incident_id: str, folder: Path, around_minutes: tuple[float, float], say: Say
) -> Case:
    """Keep an incident as a case: its telemetry from so many minutes before its onset until so many after its end.

    What people closed as a false alarm is a calm period. Raises UnknownIncident; RecordingError: it is not over, or its
    samples are gone, or the folder is not new.
    """
    async with warehouse.as_tenant(tenant) as db:
        incident = await incidents.get(tenant, db, incident_id)
        if incident is None:
            raise UnknownIncident(f"{tenant} has no incident {incident_id}; `tonewatch incidents list` shows them")
        causes = await incidents.causes(tenant, db, incident_id)
        said = [label.value for label in await labels.of_incident(tenant, db, incident_id)]
        profile = await tenants.profile(tenant, db)
    until = incident.impact_ended or incident.closed
    if incident.state not in OVER or until is None:
        raise RecordingError(f"incident {incident_id} is {incident.state}: a case has an end; wait until it is over")
    before, after = (timedelta(minutes=minutes) for minutes in around_minutes)
    false = [value for value in said if value.startswith("verdict:")][-1:] == [FALSE_ALARM]
    expected = None if false else _expected(incident, max(until, incident.opened), causes[0].name if causes else "")
    await keep(tenant, warehouse, incident.onset - before, max(until, incident.opened) + after, folder / RECORDING, say)
    return write_case(folder, SOURCE, profile, expected)


def _expected(incident: Incident, until: datetime, cause: str) -> Expected:
    return Expected(incident.onset, until, incident.entities, cause)


async def keep_calm(tenant: str, warehouse: Warehouse, start: datetime, end: datetime, folder: Path, say: Say) -> Case:
    """Keep a period in which nothing was wrong as a case. Raises as `keep`."""
    async with warehouse.as_tenant(tenant) as db:
        profile = await tenants.profile(tenant, db)
    await keep(tenant, warehouse, start, end, folder / RECORDING, say)
    return write_case(folder, SOURCE, profile, None)


def _entity(part: Entity) -> dict[str, Any]:
    return {**row(part), "labels": dict(part.labels)}


def _change(change: Change) -> dict[str, Any]:
    return _written(row(change))


def _report(report: SessionReport) -> dict[str, Any]:
    return _written(row(report))


def _written(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}

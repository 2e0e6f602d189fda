"""Keep what is over as cases: telemetry with what is known of it, the gate for changes (docs/recordings.md, Cases).

No session of a player is in a case: it may outlive what people's data may.
"""

from __future__ import annotations

import logging
import shutil
from datetime import datetime, timedelta
from pathlib import Path

from tasks.judge import opinion_of
from tasks.keep import Say, keep
from tonewatch.cases import FILE, RECORDING, Case, Expected, open_case, write_case
from tonewatch.errors import RecordingError, UnknownIncident
from tonewatch.records import Incident, IncidentState
from warehouse import cursors, incidents, tenants
from warehouse.database import Warehouse
from warehouse.retention import LASTS

log = logging.getLogger(__name__)
#: Where a case comes from that is kept here: by itself, or since a person asked for it.
SOURCE, ADDED = "warehouse", "added"
#: As far as its incident must have come for a case to have an end.
OVER = (IncidentState.MENDED, IncidentState.HANDED_OVER, IncidentState.CLOSED)
#: Minutes before an incident's onset, for the detectors to look back on, and after its end.
AROUND_MINUTES = (10.0, 1.0)
#: What is kept by itself of an incident that lasts.
LONGEST = timedelta(hours=6)
CURSOR = "cases"
#: Begins the name of a case that is being written.
UNFINISHED = ".unfinished-"


async def keep_closed(tenant: str, warehouse: Warehouse, folder: Path, now: datetime, most: int) -> int:
    """Keep the incidents that were closed since the last time; of all cases that came so, the newest `most` stay.

    folder: the tenant's library. What cannot be kept, its samples being gone, is left out and said in the log. Gives
    how many were kept. Raises UnknownTenant, WarehouseAway; RecordingError: the folder cannot be written.
    """
    async with warehouse.as_tenant(tenant) as db:
        told = await cursors.get(tenant, db, CURSOR)
        since = datetime.fromisoformat(told["time"]) if told else now - LASTS["hot"]
        closed = await incidents.closed_between(tenant, db, since, now) if most else []
    try:
        count = 0
        for incident in closed[-most:]:
            count += await _kept(tenant, warehouse, incident, folder)
        _forget(folder, most)
    except OSError as error:
        raise RecordingError(f"cases cannot be kept in {folder}: {error}") from error
    async with warehouse.as_tenant(tenant) as db:
        await cursors.set(tenant, db, CURSOR, {"time": now.isoformat()}, now)
    return count


async def _kept(tenant: str, warehouse: Warehouse, incident: Incident, folder: Path) -> bool:
    whole, unfinished = folder / incident.id, folder / f"{UNFINISHED}{incident.id}"
    if (whole / FILE).exists():
        return False
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that died
    try:
        await keep_incident(tenant, warehouse, incident.id, unfinished, AROUND_MINUTES, log.debug, SOURCE)
    except RecordingError as error:
        log.warning("incident %s of %s is not kept as a case: %s", incident.id, tenant, error)
        shutil.rmtree(unfinished, ignore_errors=True)
        return False
    unfinished.rename(whole)
    return True


def _forget(folder: Path, most: int) -> None:
    """Remove the oldest of what came by itself; what a person added stays."""
    mine = []
    for path in folder.glob(f"*/{FILE}"):
        try:
            case = open_case(path.parent)
        except RecordingError as error:  # of an older version, it may be: it stays, and is in nobody's way
            log.warning("a case is left as it is: %s", error)
            continue
        if case.source == SOURCE and not case.name.startswith(UNFINISHED):
            mine.append(case)
    newest = sorted(mine, key=lambda case: (case.folder / FILE).stat().st_mtime, reverse=True)
    for case in newest[most:]:
        shutil.rmtree(case.folder)


async def keep_incident(
    tenant: str,
    warehouse: Warehouse,
    incident_id: str,
    folder: Path,
    around_minutes: tuple[float, float],
    say: Say,
    source: str = ADDED,
) -> Case:
    """Keep an incident as a case: its telemetry from so many minutes before its onset until so many after its end.

    What people's labels settle as a false alarm (tasks/judge.py) is a calm period. Raises UnknownIncident;
    RecordingError: it is not over, or its samples are gone, or the folder is not new.
    """
    async with warehouse.as_tenant(tenant) as db:
        incident = await incidents.get(tenant, db, incident_id)
        if incident is None:
            raise UnknownIncident(f"{tenant} has no incident {incident_id}; `tonewatch incidents list` shows them")
        causes = await incidents.causes(tenant, db, incident_id)
        opinion = await opinion_of(tenant, db)
        profile = await tenants.profile(tenant, db)
    until = incident.impact_ended or incident.closed
    if incident.state not in OVER or until is None:
        raise RecordingError(f"incident {incident_id} is {incident.state}: a case has an end; wait until it is over")
    until = max(until, incident.opened)
    if source == SOURCE:
        until = min(until, incident.opened + LONGEST)
    before, after = (timedelta(minutes=minutes) for minutes in around_minutes)
    known = _expected(incident, until, causes[0].name if causes else "")
    await keep(
        tenant,
        warehouse,
        incident.onset - before,
        until + after,
        folder / RECORDING,
        say,
        people=False,
    )
    return write_case(folder, source, profile, None if opinion.verdict(incident_id) is False else known)


def _expected(incident: Incident, until: datetime, cause: str) -> Expected:
    return Expected(incident.onset, until, incident.entities, cause)


async def keep_calm(tenant: str, warehouse: Warehouse, start: datetime, end: datetime, folder: Path, say: Say) -> Case:
    """Keep a period in which nothing was wrong as a case. Raises as `keep`."""
    async with warehouse.as_tenant(tenant) as db:
        profile = await tenants.profile(tenant, db)
    await keep(tenant, warehouse, start, end, folder / RECORDING, say, people=False)
    return write_case(folder, ADDED, profile, None)

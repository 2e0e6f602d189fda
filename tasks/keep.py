"""Keep a stretch of what the warehouse holds as a recording: evidence that replays (docs/recordings.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tonewatch.clock import stretches
from tonewatch.errors import RecordingError
from tonewatch.keeping import CHANGES, ENTITIES, SESSIONS, Keeper, series_key
from tonewatch.records import Change, Entity, SessionReport
from tonewatch.watched import watched
from warehouse import changes, entities, samples, sessions, tenants
from warehouse.database import Warehouse
from warehouse.rows import row

#: So much is read at once.
SLICE = timedelta(minutes=5)
#: A stretch whose first sample comes later than this after its beginning is only partly there.
LATE = timedelta(minutes=1)

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
    *,
    people: bool = True,
) -> Kept:
    """Write all that the warehouse holds of start <= time < end into a new folder. No tenant's name is in it.

    Where it holds only a later part of that, the recording begins with the first sample, and that is said. people:
    whether players' session reports are written, too.

    Raises UnknownTenant, WarehouseAway; RecordingError: there is no such stretch of samples, or no such folder can be.
    """
    if not start < end:
        raise RecordingError(f"the stretch ends ({end.isoformat()}) before it begins ({start.isoformat()})")
    async with warehouse.as_tenant(tenant) as db:
        profile = await tenants.profile(tenant, db)
        series = await samples.series_between(tenant, db, start, end)
        parts = await entities.load(tenant, db, end)
        announced = await changes.read(tenant, db, start, end)
        told = await sessions.between(tenant, db, start, end) if people else []
    if not series:
        raise RecordingError(
            f"the warehouse holds no sample of {start.isoformat()} to {end.isoformat()}: samples are kept for some days"
            " (tonewatch settings), and only while the platform is watched"
        )
    keeper = Keeper(folder, series)
    keeper.lines(ENTITIES, map(entity_document, parts))
    keeper.lines(CHANGES, map(change_document, announced))
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


def entity_document(part: Entity) -> dict[str, Any]:
    """A part as a recording has it."""
    return {**row(part), "labels": dict(part.labels)}


def change_document(change: Change) -> dict[str, Any]:
    """A change as a recording has it."""
    return _written(row(change))


def _report(report: SessionReport) -> dict[str, Any]:
    return _written(row(report))


def _written(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}

"""The thresholds of single series as `tonewatch models` tells of them: those that each training set, and taken back.

They are rows of the tenant, of detectors that learn nothing beforehand: there is no model of them in the registry. A
rollback writes those before down anew, so that no row is ever changed and the newest still holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tasks.tell import thresholds_of
from tonewatch.errors import ModelError
from warehouse import audit, calibrations
from warehouse.calibrations import Calibrated, Source
from warehouse.database import Warehouse

#: What people call all of them, as a family of models is called.
SERIES_SETS = "series"


@dataclass(frozen=True, slots=True)
class SeriesSet:
    """What one training, or one rollback, has set. judging: for how many of its families it is the last that did.

    thresholds: by family, as it set them: people's labels may have eased them since.
    """

    family: str
    made: datetime
    judging: int
    thresholds: Mapping[str, float]
    reason: str


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A rollback. thresholds, before: by family, that judge now and that did; kept: families that had none before."""

    family: str
    made: datetime
    thresholds: Mapping[str, float]
    before: Mapping[str, float]
    kept: Sequence[str]


async def series_sets(tenant: str, warehouse: Warehouse) -> list[SeriesSet]:
    """All that today's detectors may use, the newest first. Raises WarehouseAway."""
    async with warehouse.as_tenant(tenant) as db:
        rows = await calibrations.of_series(tenant, db)
    last: dict[str, datetime] = {}
    found: dict[datetime, dict[str, Calibrated]] = {}
    for row in rows:  # the newest first
        for family, each in thresholds_of([row]).items():
            last.setdefault(family, each.made)
            found.setdefault(each.made, {})[family] = each
    return [
        SeriesSet(
            SERIES_SETS,
            made,
            sum(last[family] == made for family in of),
            {family: each.threshold for family, each in sorted(of.items())},
            next(iter(of.values())).reason,
        )
        for made, of in found.items()
    ]


async def rollback_series(tenant: str, warehouse: Warehouse, *, who: str, reason: str, now: datetime) -> TakenBack:
    """Make those judge again that held before the newest were set; audited. Done twice, all is as it was.

    A family that had none before keeps what it has. Raises ModelError: there is none before; WarehouseAway.
    """
    sets = await series_sets(tenant, warehouse)
    async with warehouse.as_tenant(tenant) as db:
        held = thresholds_of(await calibrations.newest(tenant, db))
        before = thresholds_of(await calibrations.newest(tenant, db, before=sets[0].made)) if sets else {}
        again = {family: before[family] for family in (sets[0].thresholds if sets else {}) if family in before}
        if not again:
            raise ModelError(
                f"no thresholds of single series of {tenant} were set before those that judge: none to take back"
            )
        rows = [
            replace(each, made=now, source=Source.TRAINING, reason=f"those of {each.made.isoformat()} again: {reason}")
            for each in again.values()
        ]
        await calibrations.put(tenant, db, rows)
        done = TakenBack(
            SERIES_SETS,
            now,
            {family: each.threshold for family, each in again.items()},
            {family: held[family].threshold for family in again},
            sorted(sets[0].thresholds.keys() - again.keys()),
        )
        await audit.write(
            tenant,
            db,
            who=who,
            what="model.rollback",
            subject=SERIES_SETS,
            before=dict(done.before),
            after=dict(done.thresholds),
            reason=reason,
            at=now,
        )
    return done

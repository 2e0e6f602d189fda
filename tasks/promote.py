"""Promote a version, or take the champion back: audited, one at a time, and undone where the audit cannot be kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from tonewatch.errors import ModelError, WarehouseError
from warehouse import audit, lineage, promotions
from warehouse.calibrations import model_version
from warehouse.database import Warehouse

if TYPE_CHECKING:
    from ml.versions import Moved  # its module imports mlflow

#: Who promotes the first champion, in the audit.
WHO = "tonewatch"


async def promote(
    tenant: str,
    warehouse: Warehouse,
    tracking_uri: str,
    family: str,
    version: str,
    *,
    who: str,
    reason: str,
    now: datetime,
    proven: bool = True,
) -> Moved:
    """Make the version the family's champion; it stands in the tenant's audit.

    Raises ModelError: it is champion already, has not passed the gate (`proven`), or MLflow is away; WarehouseAway:
    then the champion is the one it was.
    """
    from ml import versions

    def move() -> Moved:
        return versions.promote(tracking_uri, family, version, now, proven=proven)

    return await _moved(tenant, warehouse, tracking_uri, family, move, ("model.promote", who, reason), now)


async def rollback(
    tenant: str, warehouse: Warehouse, tracking_uri: str, family: str, *, who: str, reason: str, now: datetime
) -> Moved:
    """Make the champion before the champion again; it stands in the tenant's audit. Raises as `promote`."""
    from ml import versions

    def move() -> Moved:
        return versions.rollback(tracking_uri, family, now)

    return await _moved(tenant, warehouse, tracking_uri, family, move, ("model.rollback", who, reason), now)


async def _moved(
    tenant: str,
    warehouse: Warehouse,
    tracking_uri: str,
    family: str,
    move: Callable[[], Moved],
    words: tuple[str, str, str],
    now: datetime,
) -> Moved:
    what, who, reason = words
    moved: Moved | None = None
    try:
        async with warehouse.as_tenant(tenant) as db:
            await promotions.in_turn(tenant, db, family)
            moved = await asyncio.to_thread(move)
            if moved.before is not None and model_version(family, moved.version) in await lineage.retired(tenant, db):
                await asyncio.to_thread(_undo, tracking_uri, moved, now)
                raise ModelError(f"{family} version {moved.version} is retired: it may not score; nothing was changed")
            before = None if moved.before is None else {"champion": moved.before}
            await audit.write(
                tenant,
                db,
                who=who,
                what=what,
                subject=family,
                before=before,
                after={"champion": moved.version},
                reason=reason,
                at=now,
            )
    except WarehouseError:
        if moved is not None and moved.before is not None:
            await asyncio.to_thread(_undo, tracking_uri, moved, now)
        raise
    return moved


def _undo(tracking_uri: str, moved: Moved, now: datetime) -> None:
    from ml import versions

    try:
        versions.promote(tracking_uri, moved.family, str(moved.before), now, proven=False)
    except ModelError as error:
        raise ModelError(
            f"{moved.version} became champion of {moved.family}, but neither could that be written to the audit nor "
            f"taken back ({error}); `tonewatch models rollback {moved.family}` does"
        ) from error

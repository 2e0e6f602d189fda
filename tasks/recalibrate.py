"""Eases the tenant's thresholds after what people said of its incidents: what scored no higher than a false alarm did
when it was told is not told again.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from ml.hindsight import eased
from warehouse import audit, calibrations
from warehouse.calibrations import Calibrated, Source
from warehouse.database import Warehouse

log = logging.getLogger(__name__)
#: Who eases, in the audit.
WHO = "tonewatch"


async def recalibrate(tenant: str, warehouse: Warehouse, now: datetime) -> list[Calibrated]:
    """Raise the thresholds that the verdicts call for; gives those that were raised. The same again raises nothing.

    Raises WarehouseAway.
    """
    async with warehouse.as_tenant(tenant) as db:
        held = await calibrations.newest(tenant, db)
        judged = await calibrations.judged(tenant, db) if held else []
        raised = []
        for each in held:
            mine = [one for one in judged if one.model_version == each.model_version]
            false_alarms = [one.score for one in mine if one.false_alarm]
            if not false_alarms:
                continue
            trained = await calibrations.trained(tenant, db, each)
            value = eased(each.threshold, trained, false_alarms, [one.score for one in mine if not one.false_alarm])
            if value > each.threshold:
                reason = f"{len(false_alarms)} of its {len(mine)} judged anomalies were false alarms"
                raised.append(replace(each, made=now, threshold=value, source=Source.LABELS, reason=reason))
                await audit.write(
                    tenant,
                    db,
                    who=WHO,
                    what="calibration.ease",
                    subject=each.model_version,
                    before={"threshold": each.threshold},
                    after={"threshold": value},
                    reason=reason,
                    at=now,
                )
        await calibrations.put(tenant, db, raised)
    for each in raised:
        log.info("threshold eased", extra={"tenant": tenant, "model": each.model_version, "threshold": each.threshold})
    return raised

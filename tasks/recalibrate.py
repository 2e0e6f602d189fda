"""Eases the tenant's thresholds after what people said of its incidents: what scored no higher than a false alarm did
when it was told is not told again. Whose word counts how much is judged first (tasks/judge.py).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ml.hindsight import ALONE, MOST, eased, pattern
from ml.labelling import Opinion
from tasks.ask import ask
from tasks.judge import judge
from warehouse import audit, calibrations
from warehouse.calibrations import Calibrated, Source, Told
from warehouse.database import Connection, Warehouse

log = logging.getLogger(__name__)
#: Who eases, in the audit.
WHO = "tonewatch"


@dataclass(frozen=True, slots=True)
class _Heard:
    """Scores of one version's anomalies: settled as false alarms, called so by the only person there is, and real."""

    false: list[float]
    alone: list[float]
    real: list[float]
    judged: int

    @classmethod
    def of(cls, told: Sequence[Told], opinion: Opinion) -> _Heard:
        """What the opinion makes of them."""
        heard = cls([], [], [], len(told))
        for each in told:
            settled, said = opinion.settled(each.incident), opinion.said(each.incident)
            if settled is not None:
                (heard.real if settled else heard.false).append(each.score)
            elif said is not None:
                (heard.real if said else heard.alone).append(each.score)
        return heard

    def threshold(self, of: Calibrated, trained: float) -> float:
        """Where the threshold belongs; one person alone moves it less far, and several by no single false alarm."""
        return max(
            eased(of.threshold, trained, pattern(self.false), self.real, MOST),
            eased(of.threshold, trained, self.alone, self.real, ALONE),
        )


async def recalibrate(tenant: str, warehouse: Warehouse, now: datetime) -> list[Calibrated]:
    """Raise the thresholds that the verdicts call for; gives those that were raised. The same again raises nothing.

    Raises WarehouseAway.
    """
    async with warehouse.as_tenant(tenant) as db:
        opinion = await judge(tenant, db, now)
        held = await calibrations.newest(tenant, db)
        await ask(tenant, db, opinion, held, now)
        told = await calibrations.told(tenant, db, sorted(opinion.posteriors)) if held and opinion.posteriors else []
        raised = []
        for each in held:
            heard = _Heard.of([one for one in told if one.model_version == each.model_version], opinion)
            if not heard.false and not heard.alone:
                continue
            value = heard.threshold(each, await calibrations.trained(tenant, db, each))
            if value > each.threshold:
                raised.append(await _raise(tenant, db, each, value, heard, now))
        await calibrations.put(tenant, db, raised)
    for each in raised:
        log.info("threshold eased", extra={"tenant": tenant, "model": each.model_version, "threshold": each.threshold})
    return raised


async def _raise(
    tenant: str, db: Connection, held: Calibrated, value: float, heard: _Heard, now: datetime
) -> Calibrated:
    reason = f"{len(heard.false) + len(heard.alone)} of its {heard.judged} judged anomalies were false alarms"
    await audit.write(
        tenant,
        db,
        who=WHO,
        what="calibration.ease",
        subject=held.model_version,
        before={"threshold": held.threshold},
        after={"threshold": value},
        reason=reason,
        at=now,
    )
    return replace(held, made=now, threshold=value, source=Source.LABELS, reason=reason)

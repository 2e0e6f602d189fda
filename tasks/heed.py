"""Takes up what people did with incidents since the last tick: each act once, also after a crash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from tonewatch.records import ActKind
from warehouse import labels
from warehouse.database import Connection


@dataclass(frozen=True, slots=True)
class Act:
    """What a person did with an incident.

    `action`: the key of the action that was approved or vetoed. Which approvals hold says `approvals.holding`, and
    `approvals.redeem` uses them up in the transaction that intends the deed.
    """

    incident: str
    kind: ActKind
    who: str
    reason: str
    time: datetime
    action: str | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """Acts in the order in which they were done."""

    acts: tuple[Act, ...] = ()

    def __iter__(self) -> Iterator[Act]:
        return iter(self.acts)

    def of(self, incident: str) -> tuple[Act, ...]:
        """The acts on one incident."""
        return tuple(act for act in self.acts if act.incident == incident)


async def heed(tenant: str, db: Connection, incidents: Sequence[str]) -> Heard:
    """The acts on these incidents (ids) that nobody has taken up; from now on they are taken up.

    Write what they cause in the same transaction: either both are kept, or the acts are given again.
    """
    waiting = await labels.waiting(tenant, db, incidents) if incidents else []
    taken = await labels.heed(tenant, db, [each["id"] for each in waiting])
    return Heard(
        tuple(
            Act(each["incident"], ActKind(each["value"]), each["who"], each["reason"], each["time"], each["action"])
            for each in waiting
            if each["id"] in taken
        )
    )

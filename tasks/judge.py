"""What the tenant's labels come to: who is believed how far, kept with its reason, and which times were no calm."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from feature_store.windows import FeatureFrame
from ml.hindsight import uncalm
from ml.labelling import Opinion, Standing, Vote, opinion
from tonewatch.records import Notice
from warehouse import audit, authors, notices
from warehouse.authors import Weight
from warehouse.database import Connection, Warehouse

log = logging.getLogger(__name__)
#: Who judges, in the audit.
WHO = "tonewatch"
#: Smaller changes of a weight are not worth a row.
CHANGE = 0.05


async def opinion_of(tenant: str, db: Connection) -> Opinion:
    """What the labels of the tenant come to, by what was said until now."""
    return opinion(*await _said(tenant, db))


async def _said(tenant: str, db: Connection) -> tuple[list[Vote], dict[str, bool]]:
    said = await authors.spoken(tenant, db)
    votes = [Vote(each.incident, each.author, each.real, each.time, each.about) for each in said]
    return votes, dict.fromkeys(await authors.verified(tenant, db), True)


async def judge(tenant: str, db: Connection, now: datetime) -> Opinion:
    """The same, with what is thought of each author kept where it changed. Who is quarantined, or no more, stands in
    the audit, and the operators are told by mail.
    """
    found = await opinion_of(tenant, db)
    before = {each.author: each for each in await authors.weights(tenant, db)}
    changed = [_weight(each, now) for each in found.authors.values() if _has_changed(each, before.get(each.author))]
    await authors.put(tenant, db, changed)
    for each in changed:
        was = before.get(each.author)
        if each.quarantined != (was is not None and was.quarantined):
            await _tell(tenant, db, each, was, now)
    return found


@dataclass(frozen=True, slots=True)
class Unrest:
    """What is not calm from `since` to `until`, in seconds. real: (onset, end) of incidents that are settled as real;
    open_: of those that nobody has settled; lasting: how many of either are not over.
    """

    since: float
    until: float
    real: tuple[tuple[float, float], ...] = ()
    open_: tuple[tuple[float, float], ...] = ()
    lasting: int = 0

    @property
    def restless(self) -> bool:
        """Whether anything of it may not be calm."""
        return bool(self.real or self.open_)

    @property
    def share(self) -> float:
        """Of the stretch, that incidents cover."""
        covered, last = 0.0, self.since
        for onset, end in sorted([*self.real, *self.open_]):
            first = max(onset, last)
            last = max(last, min(end, self.until))
            covered += max(0.0, last - first)
        return covered / (self.until - self.since)

    def told(self, most: float) -> str:
        """Why it is hardly calm: an incident is not over, or they cover more than `most` of it; empty: it is calm."""
        return str(self) if self.lasting or self.share > most else ""

    def __str__(self) -> str:
        if not self.restless:
            return "no incident"
        going = f", {self.lasting} not over" if self.lasting else ""
        many = f"{len(self.real)} incidents settled as real and {len(self.open_)} that nobody has settled"
        return f"{many}{going}, {self.share:.0%} of the time"


async def unrest_of(tenant: str, warehouse: Warehouse, since: datetime, until: datetime) -> Unrest:
    """What is known not to be calm in that stretch, or may not be. An incident that is not over lasts until `until`.

    Raises WarehouseAway.
    """
    async with warehouse.as_tenant(tenant) as db:
        lasted = await authors.lasting(tenant, db, since, until, until)
        found = await opinion_of(tenant, db) if lasted else None
    span = (since.timestamp(), until.timestamp())
    if found is None:
        return Unrest(*span)
    open_ = [each for each in lasted if found.settled(each.id) is None]
    real = [each for each in lasted if found.settled(each.id)]
    lasting = sum(each.ended >= until for each in (*open_, *real))
    return Unrest(*span, _times(real), _times(open_), lasting)


def _times(lasted: Sequence[authors.Stretch]) -> tuple[tuple[float, float], ...]:
    return tuple((each.onset.timestamp(), each.ended.timestamp()) for each in lasted)


async def real_times(tenant: str, warehouse: Warehouse, since: datetime, until: datetime) -> list[tuple[float, float]]:
    """(onset, end) in seconds of the incidents in that stretch that are settled as real: no calm to learn from.

    Raises WarehouseAway.
    """
    return list((await unrest_of(tenant, warehouse, since, until)).real)


async def newly_settled(tenant: str, db: Connection, since: datetime) -> list[str]:
    """What people's labels have settled since then, or settled anew: incidents, and what two models disagreed on.

    What is verified without anybody's word is not theirs.
    """
    votes, verified = await _said(tenant, db)
    now, before = (
        opinion(votes, verified),
        opinion((each for each in votes if each.time <= since.timestamp()), verified),
    )
    judged = sorted({vote.incident for vote in votes})
    return [each for each in judged if now.settled(each) is not None and now.settled(each) != before.settled(each)]


def without(frame: FeatureFrame, real: Sequence[tuple[float, float]]) -> FeatureFrame:
    """The frame without the windows of real incidents: they lose their coverage, so that nothing is learned of them."""
    if not real or not len(frame.ends):
        return frame
    times = np.array([end.timestamp() for end in frame.ends])
    known = np.unique(times)
    gone = uncalm(known, real)[np.searchsorted(known, times)]
    return replace(frame, coverage=np.where(gone, 0.0, frame.coverage))


def _has_changed(standing: Standing, was: Weight | None) -> bool:
    if was is None:
        return True
    return abs(standing.weight - was.weight) > CHANGE or bool(standing.quarantined) != was.quarantined


def _weight(standing: Standing, now: datetime) -> Weight:
    told = f"{standing.votes} labels, {standing.right:.1f} of {standing.compared:.1f} met what others or facts say"
    return Weight(
        standing.author,
        now,
        standing.weight,
        standing.accuracy,
        standing.compared,
        standing.votes,
        bool(standing.quarantined),
        standing.quarantined or told,
    )


async def _tell(tenant: str, db: Connection, now_is: Weight, was: Weight | None, now: datetime) -> None:
    deed = "quarantine" if now_is.quarantined else "release"
    await audit.write(
        tenant,
        db,
        who=WHO,
        what=f"labels.{deed}",
        subject=now_is.author,
        before={"weight": was.weight if was else None},
        after={"weight": now_is.weight},
        reason=now_is.reason,
        at=now,
    )
    body = (
        f"The labels of {now_is.author} {'do not count any more' if now_is.quarantined else 'count again'}: "
        f"{now_is.reason}.\n\nNobody else's labels are touched, and no label is removed. Talk to "
        f"{now_is.author}, and see `tonewatch incidents authors`.\n"
    )
    subject = f"{now_is.author}'s labels are in quarantine" if now_is.quarantined else f"{now_is.author} is heard again"
    # No incident: what keeps one author's mails together.
    told = Notice(tenant, f"labels:{now_is.author}:{now:%Y%m%dT%H%M%S}", "report", "L1", "email", subject, body)
    await notices.put(tenant, db, [replace(told, created=now, next_attempt=now)])
    log.warning("labels of an author: %s", deed, extra={"tenant": tenant, "author": now_is.author})

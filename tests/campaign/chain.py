"""What became of the models while a campaign watched: told by the warehouse, the registry and the watcher's picture.

It reads alone; nothing here asks for anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from console.demo.live import champions
from console.waiting import ticking
from feature_store.definitions import FAMILIES
from ml import registry, versions
from ml.drift import Verdict
from tonewatch.clock import SYSTEM
from tonewatch.records import Incident
from warehouse import drift, findings, incidents, samples, validations
from warehouse.cache import Cache
from warehouse.database import Connection, Warehouse
from warehouse.drift import DriftCheck, RetrainingRequest
from warehouse.validations import Looked, Validation

#: More checks of a view than any campaign makes.
CHECKS = 10_000
LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Taken:
    """The watcher scores with this version from this moment on, between two ticks of its."""

    at: datetime
    family: str
    version: str


@dataclass(slots=True)
class Eyes:
    """Looks at the watcher's live picture, for ever: which versions it takes up, and when."""

    tenant: str
    cache: Cache
    taken: list[Taken] = field(default_factory=list)

    async def go_on(self) -> None:
        """Cancel it to end."""
        known: dict[str, Any] = {}
        async for _ in ticking(LOOK_S):
            now = champions(await self.cache.live(self.tenant) or {})
            fresh = {family: version for family, version in now.items() if known.get(family) != version}
            self.taken += [Taken(SYSTEM.now(), family, str(version)) for family, version in fresh.items()]
            known |= fresh

    def since(self, family: str, version: str) -> datetime | None:
        """When the watcher took the version up; None: it did not."""
        return next((each.at for each in self.taken if (each.family, each.version) == (family, version)), None)


@dataclass(frozen=True, slots=True)
class Contest:
    """A validation and how it stands."""

    of: Validation
    looked: Looked | None

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.looked is not None and self.looked.final

    @property
    def answer(self) -> str:
        """Of the last look."""
        return self.looked.answer if self.looked is not None else "nothing observed yet"


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """What the warehouse keeps of it, each in order of time."""

    checks: Sequence[DriftCheck]
    requests: Sequence[RetrainingRequest]
    contests: Sequence[Contest]

    def drifts(self, since: datetime) -> list[DriftCheck]:
        """The checks since then that told drift."""
        return [each for each in self.checks if each.checked >= since and each.verdict == Verdict.DRIFT]

    def promoted(self, since: datetime) -> list[Contest]:
        """Whose challengers were promoted, of those that began since then."""
        return [each for each in self.contests if each.of.started >= since and each.of.promoted is not None]

    def of(self, family: str, challenger: str) -> Contest | None:
        """The last in which that version was the challenger."""
        mine = [each for each in self.contests if (each.of.family, each.of.challenger) == (family, challenger)]
        return mine[-1] if mine else None


async def lifecycle(tenant: str, warehouse: Warehouse) -> Lifecycle:
    """Drift, requests and validations as they stand. Raises WarehouseAway."""
    async with warehouse.as_tenant(tenant) as db:
        checks = [each for view in FAMILIES for each in await drift.last(tenant, db, view, CHECKS)]
        requests = await drift.requests(tenant, db)
        contests = [
            Contest(each, await validations.newest(tenant, db, each.id))
            for each in await validations.listed(tenant, db)
        ]
    return Lifecycle(
        sorted(checks, key=lambda each: each.checked),
        sorted(requests, key=lambda each: each.asked),
        sorted(contests, key=lambda each: each.of.started),
    )


@dataclass(frozen=True, slots=True)
class Page:
    """An incident that was opened: somebody would have been paged. told_by: detectors, with the version that scored."""

    incident: Incident
    told_by: tuple[str, ...]


async def pages(tenant: str, warehouse: Warehouse, since: datetime) -> list[Page]:
    """Every incident that was opened since then, the first first. Raises WarehouseAway."""
    async with warehouse.as_tenant(tenant) as db:
        found = [
            Page(each, await _told_by(tenant, db, each)) for each in await incidents.opened_since(tenant, db, since)
        ]
    return sorted(found, key=lambda each: each.incident.opened)


async def _told_by(tenant: str, db: Connection, incident: Incident) -> tuple[str, ...]:
    told = await findings.of_incident(tenant, db, incident.id)
    return tuple(sorted({f"{each.detector} {each.model_version or ''}".strip() for each in told}))


async def starved(tenant: str, warehouse: Warehouse, start: datetime, end: datetime) -> float:
    """Seconds in which the watcher's machine let it not run. Raises WarehouseAway."""
    async with warehouse.as_tenant(tenant) as db:
        told = await samples.read(tenant, db, start, end, metrics=["host_starved_seconds"])
    return sum(sample.value for sample in told)


def per_week(opened: Iterable[datetime], start: datetime, end: datetime, week_s: float) -> dict[str, float]:
    """Incidents opened within [start, end), how many compressed weeks that is, and incidents a week."""
    count, weeks = sum(start <= each < end for each in opened), (end - start).total_seconds() / week_s
    return {"pages": count, "weeks": round(weeks, 2), "pages_per_week": round(count / weeks, 3) if weeks > 0 else 0.0}


def registered(tracking_uri: str) -> list[Mapping[str, Any]]:
    """Every version, the oldest first: what it is called, its standing, what the gate said, its MLflow run."""
    return [
        {
            "family": each.family,
            "version": each.version,
            "made": each.made.isoformat(),
            "aliases": list(each.aliases),
            "judges": each.judges,
            "gate": each.tags.get(versions.GATE, ""),
            "gate_reason": each.tags.get(versions.GATE_REASON, ""),
            "promoted": each.tags.get(registry.PROMOTED, ""),
            "run": each.run,
        }
        for each in sorted(versions.listed(tracking_uri), key=lambda each: each.made)
    ]

"""Thresholds: what each tenant's own calm, and its people's word, made of a family's model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import RowMapping, text

from warehouse.database import Connection
from warehouse.rows import packed, row, utc

COLUMNS = "family, version, made, threshold, low, high, highest, rate, tail, source, reason"
PUT = text(f"""
    insert into calibration (tenant, {COLUMNS})
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (family text, version text,
        made timestamptz, threshold double precision, low double precision, high double precision,
        highest double precision, rate double precision, tail text, source text, reason text)
    on conflict do nothing
""")  # noqa: S608 - constants
NEWEST = text(f"""
    select distinct on (family, version) {COLUMNS} from calibration
    where tenant = :tenant and (cast(:before as timestamptz) is null or made < :before)
    order by family, version, made desc
""")  # noqa: S608 - constants
OF_SERIES = text(f"""
    select {COLUMNS} from calibration
    where tenant = :tenant and source = 'training' and (family = 'course' or family like 'series:%')
    order by made desc, family
""")  # noqa: S608 - constants
# Of an incident that a rule had part in it is not known what people meant. Who judged it judged what he saw: what
# joined afterwards is not his word.
TOLD = text("""
    select i.incident, f.model_version, f.score
    from incident_finding i join finding f on f.tenant = :tenant and f.id = i.finding
    where i.tenant = :tenant and i.incident = any(cast(:incidents as text[])) and f.model_version is not null
      and not exists (select from incident_finding j join finding r on r.tenant = :tenant and r.id = j.finding
          where j.tenant = :tenant and j.incident = i.incident and r.kind = 'rule')
      and (not exists (select from label_evidence e where e.tenant = :tenant and e.incident = i.incident)
          or exists (select from label_evidence e where e.tenant = :tenant and e.incident = i.incident
              and e.saw @> jsonb_build_array(jsonb_build_object('finding', f.id))))
    order by f.model_version, f.score, i.incident
""")
TRAINED = text("""
    select threshold from calibration
    where tenant = :tenant and family = :family and version = :version and source <> 'labels'
    order by made desc limit 1
""")


#: What the families of single series are called: this and their metric. Their version is the ensemble's fingerprint.
SERIES = "series:"
#: The family of all series as the course of their platform judges them. Its version is the course's fingerprint.
COURSE = "course"


class Source(StrEnum):
    """What a threshold was set from. Training: the calm that its version was learned on; calm: the tenant's own, for a
    version that learned from another.
    """

    TRAINING = "training"
    LABELS = "labels"
    CALM = "calm"


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A tenant's threshold for a version of a family's model. low, high: its 90 % interval; highest: calm score.

    rate: incidents that all families together are expected to open in a calm week of the budget.
    """

    family: str
    version: str
    made: datetime
    threshold: float
    low: float
    high: float
    highest: float
    rate: float
    tail: str
    source: Source
    reason: str

    @property
    def model_version(self) -> str:
        """What a finding of this model calls it."""
        return model_version(self.family, self.version)


@dataclass(frozen=True, slots=True)
class Told:
    """An anomaly in an incident that people judged. score: the model's."""

    incident: str
    model_version: str
    score: float


def model_version(family: str, version: str) -> str:
    """The name of a version of a family's model in findings. version: a forest's number, else its kind and number."""
    if family == COURSE or family.startswith(SERIES):
        return f"{family}/{version}"
    return f"{family}-{version if '/' in version else f'isolation-forest/{version}'}"


async def put(tenant: str, db: Connection, made: Sequence[Calibrated]) -> None:
    """Keep the calibrations; none takes the place of an older one, the newest of a version holds."""
    await db.execute(PUT, {"tenant": tenant, "rows": packed(row(each) for each in made)})


async def newest(tenant: str, db: Connection, before: datetime | None = None) -> list[Calibrated]:
    """Of each family and version the calibration that holds; before: that held until then."""
    values = {"tenant": tenant, "before": None if before is None else utc(before)}
    return [_calibrated(each) for each in (await db.execute(NEWEST, values)).mappings()]


async def of_series(tenant: str, db: Connection) -> list[Calibrated]:
    """What trainings have set for single series and their course, of any version, the newest first."""
    return [_calibrated(each) for each in (await db.execute(OF_SERIES, {"tenant": tenant})).mappings()]


async def told(tenant: str, db: Connection, incidents: Sequence[str]) -> list[Told]:
    """The anomalies in these incidents that people saw; none of one that a rule had part in."""
    found = await db.execute(TOLD, {"tenant": tenant, "incidents": list(incidents)})
    return [Told(**each) for each in found.mappings()]


async def trained(tenant: str, db: Connection, of: Calibrated) -> float:
    """The threshold that calm set for that version last; its own, where only labels set one."""
    found = await db.execute(TRAINED, {"tenant": tenant, "family": of.family, "version": of.version})
    value: float | None = found.scalar_one_or_none()
    return of.threshold if value is None else value


def _calibrated(each: RowMapping) -> Calibrated:
    return Calibrated(**{**each, "source": Source(each["source"])})

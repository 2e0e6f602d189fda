"""Thresholds: what each tenant's own calm, and its people's word, made of a family's model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.rows import packed, row

COLUMNS = "family, version, made, threshold, low, high, highest, rate, tail, source, reason"
PUT = text(f"""
    insert into calibration (tenant, {COLUMNS})
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (family text, version text,
        made timestamptz, threshold double precision, low double precision, high double precision,
        highest double precision, rate double precision, tail text, source text, reason text)
    on conflict do nothing
""")  # noqa: S608 - constants
NEWEST = text(f"""
    select distinct on (family, version) {COLUMNS} from calibration where tenant = :tenant
    order by family, version, made desc
""")  # noqa: S608 - constants
# What a person said last of an incident counts; of one that a rule had part in it is not known what he meant.
JUDGED = text("""
    select f.model_version, l.value = 'verdict:false-alarm' as false_alarm, f.score
    from (select distinct on (subject) subject, value from label
          where tenant = :tenant and subject_kind = 'incident' and value like 'verdict:%'
          order by subject, time desc, id) l
    join incident_finding i on i.tenant = :tenant and i.incident = l.subject
    join finding f on f.tenant = :tenant and f.id = i.finding
    where l.value in ('verdict:false-alarm', 'verdict:real') and f.model_version is not null and f.score is not null
      and not exists (select from incident_finding j join finding r on r.tenant = :tenant and r.id = j.finding
          where j.tenant = :tenant and j.incident = l.subject and r.kind = 'rule')
    order by f.model_version, f.score
""")


TRAINED = text("""
    select threshold from calibration
    where tenant = :tenant and family = :family and version = :version and source = 'training'
    order by made desc limit 1
""")


#: What the families of single series are called: this and their metric. Their version is the ensemble's fingerprint.
SERIES = "series:"
#: The family of all series as the course of their platform judges them. Its version is the course's fingerprint.
COURSE = "course"


class Source(StrEnum):
    """What a threshold was set from."""

    TRAINING = "training"
    LABELS = "labels"


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
class Judged:
    """An anomaly in an incident of which a person said what it was: a false alarm, or real. score: the model's."""

    model_version: str
    false_alarm: bool
    score: float


def model_version(family: str, version: str) -> str:
    """The name of a version of a family's model in findings."""
    if family == COURSE or family.startswith(SERIES):
        return f"{family}/{version}"
    return f"{family}-isolation-forest/{version}"


async def put(tenant: str, db: Connection, made: Sequence[Calibrated]) -> None:
    """Keep the calibrations; none takes the place of an older one, the newest of a version holds."""
    await db.execute(PUT, {"tenant": tenant, "rows": packed(row(each) for each in made)})


async def newest(tenant: str, db: Connection) -> list[Calibrated]:
    """Of each family and version the calibration that holds."""
    found = (await db.execute(NEWEST, {"tenant": tenant})).mappings()
    return [Calibrated(**{**each, "source": Source(each["source"])}) for each in found]


async def judged(tenant: str, db: Connection) -> list[Judged]:
    """Every anomaly whose incident a person has called real or a false alarm; what is planned says nothing of it, nor
    what a rule had part in.
    """
    return [Judged(**each) for each in (await db.execute(JUDGED, {"tenant": tenant})).mappings()]


async def trained(tenant: str, db: Connection, of: Calibrated) -> float:
    """The threshold that training set for that version last; its own, where only labels set one."""
    found = await db.execute(TRAINED, {"tenant": tenant, "family": of.family, "version": of.version})
    value: float | None = found.scalar_one_or_none()
    return of.threshold if value is None else value

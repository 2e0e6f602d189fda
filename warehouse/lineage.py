"""Lineage: which version of which model learned from whose rows, and back; what may score no more, what is to be
trained again without it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.rows import document, packed, row, utc

COLUMNS = "model, version, run, trained, started, ended, data_hash, sets, entities, subjects, sources, why"
PUT = text("""
    insert into model_lineage (tenant, model, version, run, trained, started, ended, data_hash, sets, entities,
        subjects, sources, why)
    values (:tenant, :model, :version, :run, :trained, :started, :ended, :data_hash, cast(:sets as jsonb), :entities,
        :subjects, cast(:sources as jsonb), :why)
    on conflict do nothing
""")
OF_MODEL = text(f"""
    select {COLUMNS} from model_lineage
    where tenant = :tenant and model = :model and (:version = '' or version = :version) order by trained, version
""")  # noqa: S608 - constants
OF_TENANT = text(f"""
    select {COLUMNS} from model_lineage where tenant = :tenant order by model, trained, version
""")  # noqa: S608 - constants
# A subject is one of the entities, a pseudonym that was learned from by name, or a listening session whose reports lie
# in what was learned from.
OF_SUBJECT = text(f"""
    with heard as (
        select min(time) as first, max(time) as last from session_report where tenant = :tenant and session = :subject
    )
    select {COLUMNS} from model_lineage m
    where tenant = :tenant and (m.subjects @> array[:subject] or m.entities @> array[:subject])
    union
    select {COLUMNS} from model_lineage m, heard
    where tenant = :tenant and m.sources ? 'session_report' and m.started <= heard.last and m.ended >= heard.first
    order by model, trained, version
""")  # noqa: S608 - constants
TRAINED = text("select model, max(trained) as trained from model_lineage where tenant = :tenant group by model")
LEARNED_FOR = text("""
    select max(trained) from model_lineage
    where tenant = :tenant and model = any(:models) and trained > :since and trained <= :until
      and (:why = any(string_to_array(why, ',')) or run = any(:runs))
""")
RETIRE = text("""
    insert into retired_model (tenant, model, version, retired, reason)
    select :tenant, n.* from jsonb_to_recordset(cast(:rows as jsonb)) as n (model text, version text,
        retired timestamptz, reason text)
    on conflict do nothing returning model || '/' || version
""")
RETIRED = text("select model || '/' || version from retired_model where tenant = :tenant")
RETIREMENT = text("""
    select retired, reason from retired_model where tenant = :tenant and model || '/' || version = :name
""")
# Who has a threshold for a family's model goes by it: its watcher is without one until it is trained again.
REQUEST = text("""
    insert into retraining (tenant, model, requested, reason)
    select :tenant, model, :at, :reason from unnest(cast(:models as text[])) as model
    on conflict (tenant, model) where taken is null do nothing returning model
""")
WAITING = text("""
    select model, requested, reason from retraining where tenant = :tenant and taken is null order by requested, model
""")
TAKE = text("update retraining set taken = :at where tenant = :tenant and model = any(:models) and taken is null")


@dataclass(frozen=True, slots=True)
class Traced:
    """What a version learned from. started, ended: of the telemetry; sets: training sets, {name, version, hash};
    entities: whose rows; subjects: pseudonyms of people whose rows they are; sources: the tables that were read; run:
    Prefect's, of the training; why: what asked for it (policy/retraining.py).
    """

    model: str
    version: str
    run: str
    trained: datetime
    started: datetime
    ended: datetime
    data_hash: str
    sets: Sequence[dict[str, Any]] = ()
    entities: Sequence[str] = ()
    subjects: Sequence[str] = ()
    sources: dict[str, Any] | None = None
    why: str = ""

    @property
    def name(self) -> str:
        """As findings call it."""
        return f"{self.model}/{self.version}"


@dataclass(frozen=True, slots=True)
class Requested:
    """A model that is to be trained again, since when and why."""

    model: str
    requested: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class _Retired:
    model: str
    version: str
    retired: datetime
    reason: str


async def put(tenant: str, db: Connection, traced: Traced) -> None:
    """Keep what a version of a model learned from; a version has one lineage, the first."""
    values = row(traced) | {
        "sets": document(list(traced.sets)),
        "sources": document(traced.sources or {}),
        "entities": list(traced.entities),
        "subjects": list(traced.subjects),
    }
    await db.execute(PUT, {"tenant": tenant, **values})


async def of_model(tenant: str, db: Connection, model: str, version: str = "") -> list[Traced]:
    """What that version learned from this tenant, or every version of the model; the oldest first."""
    found = await db.execute(OF_MODEL, {"tenant": tenant, "model": model, "version": version})
    return [Traced(**each) for each in found.mappings()]


async def of_tenant(tenant: str, db: Connection) -> list[Traced]:
    """Every version that learned from the tenant."""
    return [Traced(**each) for each in (await db.execute(OF_TENANT, {"tenant": tenant})).mappings()]


async def trained(tenant: str, db: Connection) -> dict[str, datetime]:
    """Model -> when a version of it last learned from the tenant, also one that the gate refused."""
    return dict((await db.execute(TRAINED, {"tenant": tenant})).tuples().all())


async def learned_for(
    tenant: str,
    db: Connection,
    models: Collection[str],
    why: str,
    runs: Collection[str],
    since: datetime,
    until: datetime,
) -> datetime | None:
    """When one of the models last learned for that reason, or in one of these runs of Prefect, in (since, until]."""
    values = {"tenant": tenant, "models": sorted(models), "why": why, "runs": sorted(runs)}
    found = await db.execute(LEARNED_FOR, {**values, "since": utc(since), "until": utc(until)})
    moment: datetime | None = found.scalar_one()
    return moment


async def of_subject(tenant: str, db: Connection, subject: str) -> list[Traced]:
    """Every version that learned from the subject: an entity, a person's pseudonym or a session's."""
    return [
        Traced(**each) for each in (await db.execute(OF_SUBJECT, {"tenant": tenant, "subject": subject})).mappings()
    ]


async def retire(tenant: str, db: Connection, traced: Sequence[Traced], reason: str, at: datetime) -> list[str]:
    """From now on these versions score nothing for the tenant; gives those that still might have."""
    rows = [row(_Retired(each.model, each.version, utc(at), reason)) for each in traced]
    return sorted((await db.execute(RETIRE, {"tenant": tenant, "rows": packed(rows)})).scalars())


async def retired(tenant: str, db: Connection) -> frozenset[str]:
    """The versions that score nothing for the tenant, as findings call them."""
    return frozenset((await db.execute(RETIRED, {"tenant": tenant})).scalars())


async def retirement(tenant: str, db: Connection, name: str) -> tuple[datetime, str] | None:
    """Since when and why the version, as findings call it, scores nothing for the tenant; None: it may score."""
    found = (await db.execute(RETIREMENT, {"tenant": tenant, "name": name})).tuples().first()
    return None if found is None else (found[0], found[1])


async def request(tenant: str, db: Connection, models: Collection[str], reason: str, at: datetime) -> list[str]:
    """Ask for a new training of these models; gives those that were not asked for already."""
    values = {"tenant": tenant, "models": sorted(models), "reason": reason, "at": utc(at)}
    return sorted((await db.execute(REQUEST, values)).scalars())


async def requested(tenant: str, db: Connection) -> list[Requested]:
    """The trainings that are asked for and that nobody has taken up, the oldest first."""
    return [Requested(**each) for each in (await db.execute(WAITING, {"tenant": tenant})).mappings()]


async def take(tenant: str, db: Connection, models: Collection[str], at: datetime) -> None:
    """They are trained: nothing is asked for any more. In the transaction that keeps what the training made."""
    await db.execute(TAKE, {"tenant": tenant, "models": sorted(models), "at": utc(at)})

"""Training sets: what a model was taught with, by name and version; proven by a hash, and traced to rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import text

from warehouse.database import Connection
from warehouse.rows import document, row

COLUMNS = "name, version, hash, view, definition, started, ended, labels, found, entities, sources, request, made"
NEWEST = text(f"""
    select {COLUMNS} from training_set
    where tenant = :tenant and name = :name and (cast(:version as integer) is null or version = :version)
    order by version desc limit 1
""")  # noqa: S608 - constants
ALL = text(f"""
    select {COLUMNS} from training_set where tenant = :tenant order by name, version
""")  # noqa: S608 - constants
HOLDING = text(f"""
    select {COLUMNS} from training_set
    where tenant = :tenant and :entity = any(entities) and ended >= :since
      and (sources #>> '{{sample,after}}')::timestamptz < :until order by name, version
""")  # noqa: S608 - constants
# Two that make the next version at once would give it the same number.
IN_TURN = text("select pg_advisory_xact_lock(hashtextextended('training_set ' || :tenant, 0))")
PUT = text("""
    insert into training_set (tenant, name, version, hash, view, definition, started, ended, labels, found, entities,
        sources, request, made)
    values (:tenant, :name, :version, :hash, :view, :definition, :started, :ended, :labels, :found, :entities,
        cast(:sources as jsonb), cast(:request as jsonb), :made)
""")


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A set, as feature_store/training_sets.py makes it. started, ended: the labels' first and last time; labels: how
    many there are, found: of how many there were rows; entities: whose rows it holds; sources: table -> rows, first,
    last; request: what was asked for.
    """

    name: str
    version: int
    hash: str
    view: int
    definition: str
    started: datetime
    ended: datetime
    labels: int
    found: int
    entities: tuple[str, ...]
    sources: dict[str, Any]
    request: dict[str, Any]
    made: datetime


async def put(tenant: str, db: Connection, made: TrainingSet) -> TrainingSet:
    """Keep the set as the next version of its name, unless the newest has the same content by the same request; gives
    the one that is kept.

    The view's rows come first: `features.put_view`.
    """
    await db.execute(IN_TURN, {"tenant": tenant})
    newest = await get(tenant, db, made.name)
    if newest is not None and (newest.hash, newest.view, newest.request) == (made.hash, made.view, made.request):
        return newest
    kept = replace(made, version=1 if newest is None else newest.version + 1)
    told = {"sources": document(kept.sources), "request": document(kept.request), "entities": list(kept.entities)}
    await db.execute(PUT, {"tenant": tenant, **row(kept), **told})
    return kept


async def get(tenant: str, db: Connection, name: str, version: int | None = None) -> TrainingSet | None:
    """The set of that name and version; None as version: the newest; None as answer: there is none."""
    found = (await db.execute(NEWEST, {"tenant": tenant, "name": name, "version": version})).mappings().one_or_none()
    return None if found is None else _read(found)


async def listed(tenant: str, db: Connection) -> list[TrainingSet]:
    """Every version of every set, by name and version."""
    return [_read(each) for each in (await db.execute(ALL, {"tenant": tenant})).mappings()]


async def holding(tenant: str, db: Connection, entity: str, since: datetime, until: datetime) -> list[TrainingSet]:
    """The sets that hold rows of the entity, with samples or labels from `since` to `until`: what its erasure reaches.

    A row's samples are older than its label, by the time-to-live and a window at most.
    """
    values = {"tenant": tenant, "entity": entity, "since": since, "until": until}
    return [_read(each) for each in (await db.execute(HOLDING, values)).mappings()]


def _read(found: Any) -> TrainingSet:
    return TrainingSet(**{**found, "entities": tuple(found["entities"])})

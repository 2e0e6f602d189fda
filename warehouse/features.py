"""Rows of features: one per entity, window and version of what was known. A join never looks ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from sqlalchemy import text

from tonewatch.errors import FeatureError
from warehouse.arrays import Column
from warehouse.database import Connection
from warehouse.rows import row, utc
from warehouse.samples import driver

Floats = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.int64]

PUT_VIEW = text("""
    insert into feature_view (tenant, id, name, definition, window_seconds, every_seconds, features, units, owner,
        first_made)
    values (:tenant, :id, :name, :definition, :window_seconds, :every_seconds, :features, :units, :owner, :at)
    on conflict do nothing
""")
VIEWS = text("""
    select id, name, definition, window_seconds, every_seconds, features, units, owner from feature_view
    where tenant = :tenant and (cast(:name as text) is null or name = :name) order by name, first_made, id
""")
SPAN = text("""
    select count(*) as rows, count(distinct entity) as entities, min(time) as first, max(time) as last,
        max(created) as created
    from feature_row where tenant = :tenant and view = :view
""")
VIEW = text("select from feature_view where tenant = :tenant and id = :view")
# Of two that make the same windows at once the second finds what the first has made.
IN_TURN = text("select pg_advisory_xact_lock(hashtextextended('features ' || :tenant, 0))")
# A row that says what the newest of its window says is no new version. Versions never run backward, whatever the clock
# of the caller does: one made by a clock that was set back would hide behind the one that it corrects.
PUT = """
    insert into feature_row (tenant, view, entity, time, created, coverage, numbers)
    select %s, %s, n.entity, n.time, greatest(%s, held.created + interval '1 microsecond'), n.coverage, n.numbers
    from (
        select e.entity, n.time, n.coverage,
            substring(%b::bytea from (n.number::integer - 1) * %s + 1 for %s) as numbers
        from unnest(%b::bigint[], %b::timestamptz[], %b::double precision[])
            with ordinality as n (place, time, coverage, number)
        join unnest(%s::text[]) with ordinality as e (entity, place) on e.place = n.place
    ) n
    left join lateral (
        select f.created, f.coverage, f.numbers from feature_row f
        where f.tenant = %s and f.view = %s and f.entity = n.entity and f.time = n.time
        order by f.created desc limit 1
    ) held on true
    where held.created is null or (held.coverage, held.numbers) is distinct from (n.coverage, n.numbers)
"""
# Each aggregate takes the same rows in the same order, so that the columns fit one another; `number` says whose they
# are. Bytes, so that a million rows become no Python objects.
AS_OF = """
    select coalesce(string_agg(int8send(n.number), ''), ''), coalesce(string_agg(timestamptz_send(f.time), ''), ''),
        coalesce(string_agg(timestamptz_send(f.created), ''), ''),
        coalesce(string_agg(float8send(f.coverage), ''), ''), coalesce(string_agg(f.numbers, ''), '')
    from unnest(%b::bigint[], %b::timestamptz[], %b::timestamptz[], %b::timestamptz[])
        with ordinality as n (place, time, low, known, number)
    join unnest(%s::text[]) with ordinality as e (entity, place) on e.place = n.place
    join lateral (
        select f.time, f.created, f.coverage, f.numbers from feature_row f
        where f.tenant = %s and f.view = %s and f.entity = e.entity
          and f.time <= n.time and f.time > n.low and f.created <= n.known
        order by f.time desc, f.created desc limit 1
    ) f on true
"""

# Every version: the last made of a window comes last.
STRETCH = """
    select f.entity, coalesce(string_agg(timestamptz_send(f.time), '' order by f.time, f.created), ''),
        coalesce(string_agg(float8send(f.coverage), '' order by f.time, f.created), ''),
        coalesce(string_agg(f.numbers, '' order by f.time, f.created), '')
    from feature_row f
    where f.tenant = %s and f.view = %s and f.entity = any(%s) and f.time > %s and f.time <= %s group by f.entity
"""

#: Labels of one statement: what it gives must fit into memory on both sides.
AT_ONCE = 20_000
#: What `times` and `created` hold where there is no row.
NEVER = int(np.iinfo(np.int64).min)
#: PostgreSQL's infinity.
_ALWAYS = int(np.iinfo(np.int64).max)
_SINCE_1970 = (datetime(2000, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class StoredView:
    """A view as it was when its rows were made; `id` names all that makes rows comparable."""

    id: int
    name: str
    definition: str
    window_seconds: float
    every_seconds: float
    features: tuple[str, ...]
    units: tuple[str, ...]
    owner: str


@dataclass(frozen=True, slots=True)
class Span:
    """What there is of a view: rows of all versions, entities, the first and last window's end, the newest version."""

    rows: int
    entities: int
    first: datetime | None
    last: datetime | None
    created: datetime | None


@dataclass(frozen=True, slots=True, eq=False)
class FeatureColumns:
    """Rows in columns. names: distinct entities; places: (rows,), which of them each row is of; times: (rows,) ends of
    windows in microseconds since 1970; coverage: (rows,); numbers: (rows, features).
    """

    names: Sequence[str]
    places: Indexes
    times: Indexes
    coverage: Floats
    numbers: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Moments for which rows are wanted: a row counts with low < time <= high that was created by `known`.

    names: distinct entities; places: (labels,), which of them; low, high, known: (labels,), microseconds since 1970;
    known None: whenever it was created.
    """

    names: Sequence[str]
    places: Indexes
    low: Indexes
    high: Indexes
    known: Indexes | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The row of each label. times, created: (labels,), microseconds since 1970, NEVER where there is no row; coverage:
    (labels,) and numbers: (labels, features), NaN where there is none.
    """

    times: Indexes
    created: Indexes
    coverage: Floats
    numbers: Floats


async def put_view(tenant: str, db: Connection, view: StoredView, at: datetime) -> None:
    """Note the view unless it is known."""
    lists = {"features": list(view.features), "units": list(view.units)}
    await db.execute(PUT_VIEW, {"tenant": tenant, "at": utc(at), **row(view), **lists})


async def views(tenant: str, db: Connection, name: str | None = None) -> list[StoredView]:
    """The views of which the tenant has, or had, rows; the definitions of one name in the order in which they came."""
    found = (await db.execute(VIEWS, {"tenant": tenant, "name": name})).all()
    return [
        StoredView(id_, name, definition, window, every, tuple(named), tuple(units), owner)
        for id_, name, definition, window, every, named, units, owner in found
    ]


async def span(tenant: str, db: Connection, view: int) -> Span:
    """What the tenant has of the view."""
    return Span(**(await db.execute(SPAN, {"tenant": tenant, "view": view})).mappings().one())


async def in_turn(tenant: str, db: Connection) -> None:
    """Wait for every transaction that writes rows of the tenant, and let no other begin before this one ends."""
    await db.execute(IN_TURN, {"tenant": tenant})


async def put(tenant: str, db: Connection, view: int, columns: FeatureColumns, at: datetime) -> int:
    """Keep the rows that are new or differ from the newest of their window; gives how many.

    They count as created `at`: a time that was read when it was their turn (`in_turn`), so that whoever was in turn by
    a moment sees all rows created until then.
    Raises FeatureError: the tenant has no such view (call `put_view` before), or has left meanwhile.
    """
    await in_turn(tenant, db)
    if (await db.execute(VIEW, {"tenant": tenant, "view": view})).first() is None:
        raise FeatureError(
            f"{tenant} has no view {view}, so its rows are not kept: note the view first (features.put_view); "
            "where it was there a moment ago, the tenant has been offboarded"
        )
    link = await driver(db)
    # Of the many bit patterns that are no number one is kept: equal rows must be equal bytes.
    packed = np.where(np.isnan(columns.numbers), np.nan, columns.numbers).astype("<f8").tobytes()
    width = 8 * columns.numbers.shape[1]
    values = [
        *(tenant, view, utc(at), packed, width, width),
        Column("bigint", columns.places + 1),
        Column("timestamptz", columns.times - _SINCE_1970),
        Column("double precision", columns.coverage),
        *(list(columns.names), tenant, view),
    ]
    return (await link.execute(PUT, values)).rowcount


async def stretch(
    tenant: str, db: Connection, view: int, names: Sequence[str], start: datetime, end: datetime, width: int
) -> FeatureColumns:
    """What is known now of the entities' windows that ended within (start, end], in order of entity and time.

    For whole stretches: as `as_of` with a label for each window, in a tenth of the time. width: features of the view.
    """
    link = await driver(db)
    cursor = await link.execute(STRETCH, [tenant, view, list(names), utc(start), utc(end)], binary=True)
    found = {entity: rest for entity, *rest in await cursor.fetchall()}
    times, coverage, numbers, places = [], [], [], []
    for place, name in enumerate(names):
        ended, covered, values = found.get(name, (b"", b"", b""))
        moments = np.frombuffer(ended, ">i8") + _SINCE_1970
        newest = np.append(moments[1:] != moments[:-1], True)[: len(moments)]
        times.append(moments[newest])
        coverage.append(np.frombuffer(covered, ">f8")[newest].astype(np.float64))
        numbers.append(np.frombuffer(values, "<f8").reshape(-1, width)[newest])
        places.append(np.full(int(newest.sum()), place))
    nothing = np.empty((0, width))
    return FeatureColumns(
        names,
        np.concatenate([*places, np.empty(0, np.int64)]),
        np.concatenate([*times, np.empty(0, np.int64)]),
        np.concatenate([*coverage, np.empty(0)]),
        np.concatenate([*numbers, nothing]),
    )


async def as_of(tenant: str, db: Connection, view: int, asked: Asked, width: int) -> Answer:
    """The newest row of each label that it may see; of several versions of one window the last created.

    width: features of the view.
    """
    count = len(asked.places)
    answer = Answer(
        np.full(count, NEVER),
        np.full(count, NEVER),
        np.full(count, np.nan),
        np.full((count, width), np.nan),
    )
    link = await driver(db)
    # In the order of the index: what one label has brought into the server's memory serves the next.
    order = np.lexsort((asked.high, asked.places))
    known = np.full(count, _ALWAYS) if asked.known is None else asked.known - _SINCE_1970
    for first in range(0, count, AT_ONCE):
        some = order[first : first + AT_ONCE]
        times = (asked.high - _SINCE_1970, asked.low - _SINCE_1970, known)
        columns = [Column("bigint", asked.places[some] + 1), *(Column("timestamptz", each[some]) for each in times)]
        cursor = await link.execute(AS_OF, [*columns, list(asked.names), tenant, view], binary=True)
        _scatter(await cursor.fetchone(), some, answer)
    return answer


def _scatter(found: tuple[bytes, ...] | None, some: Indexes, answer: Answer) -> None:
    """Put what one statement gave where it belongs."""
    numbers, times, created, coverage, values = found or (b"",) * 5
    labels = some[np.frombuffer(numbers, ">i8") - 1]
    answer.times[labels] = np.frombuffer(times, ">i8") + _SINCE_1970
    answer.created[labels] = np.frombuffer(created, ">i8") + _SINCE_1970
    answer.coverage[labels] = np.frombuffer(coverage, ">f8")
    answer.numbers[labels] = np.frombuffer(values, "<f8").reshape(len(labels), answer.numbers.shape[1])

"""The newest features of entities, for processes that do not watch themselves: from Redis, and else from the warehouse.

The cache holds a view's newest rows in one piece, so that it is there as a whole or not at all. Whatever it does not
have, or has too old, is looked up in the warehouse, and the answer says so. Where there is no number it is NaN, not 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np

from feature_store.views import View, refuse_other
from feature_store.windows import Floats, Indexes
from tonewatch.clock import microseconds
from warehouse import entities as known
from warehouse import features
from warehouse.cache import Cache
from warehouse.database import Connection, Warehouse
from warehouse.features import NEVER

_DIGEST = 16


class State(StrEnum):
    """What became of an entity that was asked for."""

    PRESENT = "present"
    STALE = "stale"  # its newest row is older than the view's `fresh`: its time is told, its numbers are not
    MISSING = "missing"  # the view has no row of it yet
    UNKNOWN = "unknown"  # the tenant has no such entity, or the view is of others


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """Entities as they were asked for.

    values: (entities, features) and coverage: (entities,), NaN unless PRESENT; times: (entities,), end of the newest
    window in microseconds since 1970, `warehouse.features.NEVER` where there is none.
    source: cache, warehouse or both; note: why not the cache alone.
    """

    view: View
    entities: tuple[str, ...]
    states: tuple[State, ...]
    times: Indexes
    coverage: Floats
    values: Floats
    source: str
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows by entity, as the cache keeps them."""

    names: tuple[str, ...]
    times: Indexes
    coverage: Floats
    values: Floats


async def read(
    tenant: str, warehouse: Warehouse, cache: Cache, view: View, entities: Sequence[str], now: datetime
) -> Served:
    """The newest row of each entity that ended by `now` and is fresh.

    Raises FeatureError: the tenant has no rows of the view as it is defined now; WarehouseAway: what the cache does not
    have cannot be looked up.
    """
    packed = await cache.features(tenant, view.id)
    held = _unpacked(view, packed)
    served = _blank(view, entities)
    if held is not None:
        _fill(served, held, now)
    left = np.flatnonzero(served.times == NEVER)
    if not len(left):
        return served
    async with warehouse.as_tenant(tenant) as db:
        states = await _look_up(tenant, db, served, left, now)
        refill = await _newest(tenant, db, view, now) if held is None and not cache.away else None
    if refill is not None:
        await cache.put_features(tenant, view.id, _packed(view, refill), _seconds(view), if_lost=packed is None)
    found = tuple(states.get(place, State.PRESENT) for place in range(len(entities)))
    source = "warehouse" if len(left) == len(entities) else "both"
    note = _note(cache, held, len(left), len(entities))
    return replace(served, states=found, source=source, note=note)


async def rebuild(tenant: str, warehouse: Warehouse, cache: Cache, view: View, now: datetime) -> int:
    """Put the newest rows of the view's entities into the cache; gives how many: with Redis away none.

    Raises FeatureError: the tenant has no rows of the view as it is defined now; WarehouseAway.
    """
    async with warehouse.as_tenant(tenant) as db:
        refuse_other(view, await features.views(tenant, db, view.name))
        rows = await _newest(tenant, db, view, now)
    await cache.put_features(tenant, view.id, _packed(view, rows), _seconds(view))
    return 0 if cache.away else len(rows.names)


async def _newest(tenant: str, db: Connection, view: View, now: datetime) -> _Rows:
    """The fresh rows of all entities of the view's kind, also of those that went away while they were fresh."""
    names = await known.within(tenant, db, view.entity, now - view.fresh, now)
    answer = await features.as_of(tenant, db, view.id, _asked(names, now, view.fresh.total_seconds()), len(view.names))
    there = answer.times != NEVER
    some = tuple(name for name, found in zip(names, there.tolist(), strict=True) if found)
    return _Rows(some, answer.times[there], answer.coverage[there], answer.numbers[there])


async def _look_up(tenant: str, db: Connection, served: Served, left: Indexes, now: datetime) -> dict[int, State]:
    """Fill in the places that the cache left, and tell how each stands."""
    view = served.view
    refuse_other(view, await features.views(tenant, db, view.name))
    names = tuple(served.entities[place] for place in left.tolist())
    answer = await features.as_of(tenant, db, view.id, _asked(names, now, None), len(view.names))
    fresh = answer.times > microseconds(now - view.fresh)
    served.times[left] = answer.times
    served.coverage[left[fresh]] = answer.coverage[fresh]
    served.values[left[fresh]] = answer.numbers[fresh]
    states = {int(place): State.STALE for place in left[~fresh & (answer.times != NEVER)]}
    lacking = left[answer.times == NEVER].tolist()
    if lacking:
        there = {each.id for each in await known.load(tenant, db, now) if each.stage == view.entity}
        states |= {place: State.MISSING if served.entities[place] in there else State.UNKNOWN for place in lacking}
    return states


def _asked(names: Sequence[str], now: datetime, seconds: float | None) -> features.Asked:
    """The newest rows by now; seconds: how old they may be, None: as old as may be."""
    distinct = {name: place for place, name in enumerate(dict.fromkeys(names))}
    moment = microseconds(now)
    low = 0 if seconds is None else moment - round(seconds * 1e6)
    count = len(names)
    places = np.array([distinct[name] for name in names], np.int64)
    return features.Asked(tuple(distinct), places, np.full(count, low), np.full(count, moment))


def _blank(view: View, entities: Sequence[str]) -> Served:
    count = len(entities)
    return Served(
        view=view,
        entities=tuple(entities),
        states=(State.PRESENT,) * count,
        times=np.full(count, NEVER),
        coverage=np.full(count, np.nan),
        values=np.full((count, len(view.names)), np.nan),
        source="cache",
        note="",
    )


def _fill(served: Served, held: _Rows, now: datetime) -> None:
    """Take from the cache what is fresh; a row from after now was made by a clock that has jumped since."""
    place_of = {name: place for place, name in enumerate(held.names)}
    places = np.array([place_of.get(name, -1) for name in served.entities], np.int64)
    mine = np.flatnonzero(places >= 0)
    times = held.times[places[mine]]
    good = (times <= microseconds(now)) & (times > microseconds(now - served.view.fresh))
    mine = mine[good]
    served.times[mine] = times[good]
    served.coverage[mine] = held.coverage[places[mine]]
    served.values[mine] = held.values[places[mine]]


def _note(cache: Cache, held: _Rows | None, left: int, asked: int) -> str:
    if held is None:
        return "Redis is away" if cache.away else "the cache held nothing of this view: it was filled again"
    return f"the cache had no fresh row of {left} of {asked}"


def _seconds(view: View) -> int:
    return max(1, round(view.fresh.total_seconds()))


def _packed(view: View, rows: _Rows) -> bytes:
    """Names as JSON and numbers as they lie in memory, after a hash: half a value is none."""
    names = json.dumps(rows.names).encode()
    numbers = (rows.times.astype("<i8"), rows.coverage.astype("<f8"), rows.values.astype("<f8"))
    content = b"".join([len(names).to_bytes(4, "big"), names, *(column.tobytes() for column in numbers)])
    return _hash(view, content) + content


def _unpacked(view: View, packed: bytes | None) -> _Rows | None:
    """What `_packed` made; None for anything else that may lie in its place."""
    if packed is None or packed[:_DIGEST] != _hash(view, packed[_DIGEST:]):
        return None
    end = _DIGEST + 4 + int.from_bytes(packed[_DIGEST : _DIGEST + 4], "big")
    names: Any = json.loads(packed[_DIGEST + 4 : end])
    count, width = len(names), len(view.names)
    times = np.frombuffer(packed, "<i8", count, end)
    numbers = np.frombuffer(packed, "<f8", count * (1 + width), end + 8 * count)
    return _Rows(tuple(names), times, numbers[:count], numbers[count:].reshape(count, width))


def _hash(view: View, content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST, person=view.id.to_bytes(8, "big")).digest()

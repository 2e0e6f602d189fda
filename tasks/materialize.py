"""Materialise: samples become rows of features in the warehouse, window after window, and the newest go into the cache.

A run begins where the last one ended, and goes once more through what late samples may have changed: the last hour of
the platform's day, and what soon stops being hot. Only windows whose numbers have changed get a row, so that a repeat
changes nothing, and one that broke off is carried on by the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from feature_store import online
from feature_store.contracts import Breach, breaches, contract
from feature_store.history import judged_windows
from feature_store.offline import ends_within
from feature_store.views import View, view, views
from feature_store.windows import FeatureFrame
from tasks.retain import LATE, STRETCH
from tonewatch.clock import Clock, microseconds, stretches
from tonewatch.errors import FeatureError
from tonewatch.settings import Profile
from warehouse import cursors, entities, features, retention, rollups, tenants
from warehouse.cache import Cache
from warehouse.database import Connection, Warehouse

#: Windows are made for so long; after two days their samples end, and what is left would look like all there was.
HOT = retention.LASTS["hot"] - timedelta(hours=1)
#: At this age each window is gone through for the last time.
LAST_LOOK = HOT - timedelta(hours=1)
#: Late samples are looked for in so many windows at least, where the platform's hour is short.
WINDOWS_LATE = 12
#: Entities whose samples are in memory at once.
AT_ONCE = 200
Span = tuple[datetime, datetime]


def late_of(profile: Profile) -> timedelta:
    """How far back each run goes once more for late samples: an hour of the platform's day, as long as runs lie apart,
    and at least a few windows.
    """
    hour, windows = profile.day_seconds / 24, WINDOWS_LATE * profile.window_seconds
    return min(LATE, timedelta(seconds=max(hour, windows)))


@dataclass(frozen=True, slots=True)
class Materialized:
    """What a run did for one view. entities: whose windows were gone through; windows: how many, of all of them; rows:
    written, new ones and corrections; cached: rows in the cache now; until: the last window's end that is sought;
    broken: what the contract says of what was gone through.
    """

    tenant: str
    view: str
    entities: int
    windows: int
    rows: int
    cached: int
    until: datetime
    broken: tuple[Breach, ...]


async def materialize(
    tenant: str,
    warehouse: Warehouse,
    cache: Cache,
    clock: Clock,
    *,
    names: Sequence[str] = (),
    since: datetime | None = None,
) -> list[Materialized]:
    """Make what is new of the tenant's views (names: of these alone) and what late samples have changed.

    clock: rows count as created when they are written, minutes after the run began. since: go through everything from
    then on, as far as samples are hot. Raises FeatureError: no such view, or a
    `since` after now; UnknownTenant; SettingsError: the tenant's settings cannot be used; WarehouseAway.
    """
    now = clock.now()
    async with warehouse.as_tenant(tenant) as db:
        profile = await tenants.profile(tenant, db)
    if since is not None and since >= now:
        raise FeatureError(f"nothing can be made from {since.isoformat()} on: it is {now.isoformat()}")
    wanted = [view(name, profile) for name in names] or views(profile)
    done = [await _materialize(tenant, warehouse, cache, each, clock, now, since, late_of(profile)) for each in wanted]
    return [each for each in done if each is not None]


async def _materialize(
    tenant: str,
    warehouse: Warehouse,
    cache: Cache,
    made: View,
    clock: Clock,
    now: datetime,
    since: datetime | None,
    late: timedelta,
) -> Materialized | None:
    """None: in all that is hot the tenant has had no entity of the view."""
    # A window is left alone until its samples had as long again to come: or each run would correct the last one's end.
    end = now - timedelta(seconds=made.seconds)
    async with warehouse.as_tenant(tenant) as db:
        if not await entities.within(tenant, db, made.entity, now - HOT, now):
            return None
        await features.put_view(tenant, db, made.stored, now)
        spans = await _spans(tenant, db, made, now, end, since, late)
    windows = rows = 0
    newest: list[FeatureFrame] = []
    seen: set[str] = set()
    for number, span in enumerate(spans):
        for start, until in stretches(*span, STRETCH):
            frames, written = await _stretch(tenant, warehouse, made, (start, until), clock, now)
            seen.update(name for frame in frames for name in frame.entities)
            windows, rows = windows + sum(len(each.ends) for each in frames), rows + written
            newest = frames or newest
            if number == len(spans) - 1:
                async with warehouse.as_tenant(tenant) as db:
                    await cursors.set(tenant, db, _cursor(made), {"time": until.isoformat()}, now)
    cached = await online.rebuild(tenant, warehouse, cache, made, now)
    return Materialized(tenant, made.name, len(seen), windows, rows, cached, end, _broken(made, newest, now))


async def _spans(
    tenant: str,
    db: Connection,
    made: View,
    now: datetime,
    end: datetime,
    since: datetime | None,
    late: timedelta,
) -> list[Span]:
    """The stretches to go through; the last of them is the one that moves the cursor."""
    hot = now - HOT
    told = await cursors.get(tenant, db, _cursor(made))
    before = datetime.fromisoformat(told["time"]) if told else None
    if since is not None:
        # Never past what an ordinary run would do, or it would not be done at all.
        return [(max(min(since, before or since), hot), end)]
    if before is None:
        first = await rollups.earliest(tenant, db, hot)
        return [] if first is None else [(first, end)]
    if before > end:
        # The clock ran ahead and was set right: what the cursor tells of never was.
        return [(hot, end)]
    return [(max(before - LAST_LOOK, hot), end - LAST_LOOK), (max(before - late, hot), end)]


async def _stretch(
    tenant: str, warehouse: Warehouse, made: View, span: Span, clock: Clock, now: datetime
) -> tuple[list[FeatureFrame], int]:
    """The windows that end within (start, until]; and how many rows were written.

    Of each entity that has been there since the first of them began: what went away meanwhile gets its last windows,
    and what was noticed late its first.
    """
    ends = ends_within(made, *span)
    if not ends:
        return [], 0
    async with warehouse.as_tenant(tenant) as db:
        names = await entities.within(tenant, db, made.entity, ends[0] - timedelta(seconds=made.seconds), now)
    frames, written = [], 0
    for first in range(0, len(names), AT_ONCE):
        some = names[first : first + AT_ONCE]
        async with warehouse.as_tenant(tenant) as db:
            frame = await judged_windows(tenant, db, made.name, some, ends, made.seconds, every=made.every)
            written += await _keep(tenant, db, made, frame, clock)
        frames.append(frame)
    return frames, written


async def _keep(tenant: str, db: Connection, made: View, frame: FeatureFrame, clock: Clock) -> int:
    """Write the rows of windows that hold anything: where no sample was there is no row, and so no number."""
    some = (frame.coverage > 0) | ~np.isnan(frame.values).all(axis=1)
    if not some.any():
        return 0
    names = tuple(dict.fromkeys(frame.entities))
    place_of = {name: place for place, name in enumerate(names)}
    places = np.array([place_of[entity] for entity in frame.entities], np.int64)
    times = np.array([microseconds(end) for end in frame.ends], np.int64)
    columns = features.FeatureColumns(names, places[some], times[some], frame.coverage[some], frame.values[some])
    await features.in_turn(tenant, db)
    return await features.put(tenant, db, made.id, columns, clock.now())


def _broken(made: View, frames: Sequence[FeatureFrame], now: datetime) -> tuple[Breach, ...]:
    """What the contract says of the newest stretch, of the windows that had a sample and are judged."""
    there = [frame.coverage > 0 for frame in frames]
    values = [frame.values[some] for frame, some in zip(frames, there, strict=True)]
    ends = [end for frame, some in zip(frames, there, strict=True) for end in np.array(frame.ends)[some]]
    held = np.vstack([np.empty((0, len(made.names))), *values])
    times = np.array([microseconds(end) for end in ends], np.int64)
    return tuple(breaches(contract(made), made.names, made.units, held, times, now))


def _cursor(made: View) -> str:
    return f"features:{made.id}"

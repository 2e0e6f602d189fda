"""What was known at a moment: features joined to labels, never from the label's future.

A label is an entity and a time. It gets the row whose window ended last, at the label's time at the latest and less
than the time-to-live before it; of several versions of that window (late samples make another) the one created last.
Where it is asked what was known then, versions created after the label are not seen. No such row: NaN, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from feature_store.views import View, refuse_other
from feature_store.windows import FeatureFrame, Floats, Indexes
from tonewatch.clock import MICROSECOND, microseconds, moment
from tonewatch.errors import FeatureError
from warehouse import entities as parts
from warehouse import features
from warehouse.database import Connection


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Entities and times. names: distinct entities; places: (labels,), which of them; times: (labels,), microseconds
    since 1970.
    """

    names: tuple[str, ...]
    places: Indexes
    times: Indexes

    def __len__(self) -> int:
        return len(self.places)

    @property
    def span(self) -> tuple[datetime, datetime]:
        """The first and the last time. Raises FeatureError: there is no label."""
        if not len(self.times):
            raise FeatureError("there is no label: nothing to join features to")
        return moment(int(self.times.min())), moment(int(self.times.max()))


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Labels with their features. values: (labels, features), NaN where there is none; coverage: (labels,).

    times, created: (labels,), the end of the row's window and when the row was made, in microseconds since 1970;
    `warehouse.features.NEVER` where the label has no row.
    """

    view: View
    labels: Labels
    values: Floats
    coverage: Floats
    times: Indexes
    created: Indexes

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """(labels,): which have a row."""
        return np.asarray(self.times != features.NEVER)

    @property
    def without(self) -> tuple[str, ...]:
        """The entities of which no label has a row: unknown, or silent all the time."""
        some = set(np.unique(self.labels.places[self.found]).tolist())
        return tuple(name for place, name in enumerate(self.labels.names) if place not in some)


def labels_of(pairs: Iterable[tuple[str, datetime]]) -> Labels:
    """Labels in the order of the pairs. Raises FeatureError: a time without a zone."""
    told = list(pairs)
    known: dict[str, int] = {}
    places = [known.setdefault(entity, len(known)) for entity, _ in told]
    naive = next((time for _, time in told if time.tzinfo is None), None)
    if naive is not None:
        raise FeatureError(f"the time {naive.isoformat()} of a label has no zone: give it in UTC")
    times = [microseconds(time) for _, time in told]
    return Labels(tuple(known), np.array(places, np.int64), np.array(times, np.int64))


def grid(view: View, entities: Sequence[str], start: datetime, end: datetime) -> Labels:
    """A label for each entity and each window of the view that lies within (start, end], by entity, then time."""
    names = tuple(sorted(set(entities)))
    # The first window begins at `start` or later, so it ends a window later.
    after = start + timedelta(seconds=view.seconds) - MICROSECOND
    ends = np.array([microseconds(time) for time in ends_within(view, after, end)], np.int64)
    return Labels(names, np.repeat(np.arange(len(names)), len(ends)), np.tile(ends, len(names)))


def ends_within(view: View, start: datetime, end: datetime) -> list[datetime]:
    """The windows' ends within (start, end]: windows follow one another without a gap since 1970."""
    step = round(view.seconds * 1e6)
    return [moment(number * step) for number in range(microseconds(start) // step + 1, microseconds(end) // step + 1)]


async def join(
    tenant: str,
    db: Connection,
    view: View,
    labels: Labels,
    *,
    ttl: timedelta | None = None,
    known: bool = False,
    created_by: datetime | None = None,
) -> Joined:
    """The features of each label (see above for which row that is).

    ttl: another than the view's. known: only what had been computed by the label's own time; rows of history that
    were made afterwards are then not seen. created_by: only rows that had been made by then. Raises FeatureError: the
    tenant has no rows of the view as it is defined now, or a ttl that is not above 0.
    """
    reach = view.ttl if ttl is None else ttl
    if reach <= timedelta(0):
        raise FeatureError(f"a time-to-live of {reach} lets no row through: give one above 0")
    refuse_other(view, await features.views(tenant, db, view.name))
    asked = features.Asked(
        names=labels.names,
        places=labels.places,
        low=labels.times - reach // MICROSECOND,
        high=labels.times,
        known=_seen(labels, known, created_by),
    )
    answer = await features.as_of(tenant, db, view.id, asked, len(view.names))
    return Joined(view, labels, answer.numbers, answer.coverage, answer.times, answer.created)


def _seen(labels: Labels, known: bool, created_by: datetime | None) -> Indexes | None:
    """When the last row that each label may see was created; None: whenever it was."""
    if created_by is None:
        return labels.times if known else None
    latest = np.full(len(labels), microseconds(created_by))
    return np.minimum(latest, labels.times) if known else latest


async def frame(
    tenant: str, db: Connection, view: View, entities: Sequence[str], start: datetime, end: datetime
) -> FeatureFrame:
    """The view's windows within (start, end] as `windows.window_features` gives them, bit for bit, from what is kept.

    A window that was never made, or had no sample, has NaN and coverage 0; coverage 0 alone: the watcher's machine was
    starved in it. Raises FeatureError: as `join`.
    """
    labels = grid(view, entities, start, end)
    joined = await join(tenant, db, view, labels, ttl=MICROSECOND)
    return FeatureFrame(
        family=view.name,
        entities=tuple(labels.names[place] for place in labels.places.tolist()),
        ends=tuple(moment(time) for time in labels.times.tolist()),
        names=view.names,
        values=joined.values,
        coverage=np.where(joined.found, joined.coverage, 0.0),
    )


async def rows(tenant: str, db: Connection, view: View, start: datetime, end: datetime) -> tuple[Floats, Indexes]:
    """What is kept of the view's windows within (start, end], of all entities that it described at any time of
    it; windows in which the watcher's machine was starved are left out.

    Values: (rows, features); ends of the windows: (rows,), microseconds since 1970. Raises FeatureError: as `join`.
    """
    names = await parts.within(tenant, db, view.entity, start, end)
    joined = await join(tenant, db, view, grid(view, names, start, end), ttl=MICROSECOND)
    judged = joined.coverage > 0  # NaN, where there is no row, is not
    return joined.values[judged], joined.times[judged]


async def stretch(
    tenant: str, db: Connection, view: View, entities: Sequence[str], start: datetime, end: datetime
) -> features.FeatureColumns:
    """What is kept of the entities' windows that ended within (start, end], as known now; windows in which the
    watcher's machine was starved are left out. Raises FeatureError: as `join`.
    """
    refuse_other(view, await features.views(tenant, db, view.name))
    found = await features.stretch(tenant, db, view.id, entities, start, end, len(view.names))
    judged = found.coverage > 0
    return features.FeatureColumns(
        found.names, found.places[judged], found.times[judged], found.coverage[judged], found.numbers[judged]
    )

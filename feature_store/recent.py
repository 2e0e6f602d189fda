"""The last minutes of every series, in memory: what rules and live windows read. Rebuilt from the warehouse.

Held in columns: each series has a row of times and one of values on a shelf whose rows have room for so many samples;
a row that is full first drops what is too old, then moves to a wider shelf. Samples as objects are made when asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import overload

import numpy as np

from feature_store.definitions import metrics
from feature_store.shelves import Shelves
from feature_store.windows import FeatureFrame, Floats, Indexes, Lines, Name, Plan, compute, plan, tidy
from tonewatch.clock import microseconds, moment
from tonewatch.records import Sample, Series

_series = attrgetter("series")


class Line(Sequence[Sample]):
    """Samples of one entity and metric in order of time, as they stood when asked for; made when looked at."""

    __slots__ = ("_owners", "_series", "_times", "_values")

    def __init__(self, series: Sequence[Series], owners: Indexes | None, times: Indexes, values: Floats) -> None:
        self._series, self._owners, self._times, self._values = series, owners, times, values

    def __len__(self) -> int:
        return len(self._times)

    @overload
    def __getitem__(self, place: int) -> Sample: ...
    @overload
    def __getitem__(self, place: slice) -> Line: ...
    def __getitem__(self, place: int | slice) -> Sample | Line:
        if isinstance(place, slice):
            owners = None if self._owners is None else self._owners[place]
            return Line(self._series, owners, self._times[place], self._values[place])
        series = self._series[0 if self._owners is None else int(self._owners[place])]
        return Sample(series, moment(int(self._times[place])), float(self._values[place]))

    def __iter__(self) -> Iterator[Sample]:
        return (self[place] for place in range(len(self._times)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # equal to a list, which has none either

    def __repr__(self) -> str:
        return repr(list(self))

    def after(self, time: datetime) -> Line:
        """The samples later than `time`."""
        return self[int(self._times.searchsorted(microseconds(time), "right")) :]

    def trailing(self, inside: Callable[[float], bool]) -> Line:
        """The samples at the end whose values are all `inside`."""
        count, held = 0, len(self._values)
        while count < held and inside(float(self._values[held - count - 1])):
            count += 1
        return self[held - count :]


class Readings(Mapping[tuple[str, str], Sequence[Sample]]):
    """(entity, metric) -> its samples; an index by metric saves rules from looking at everything."""

    def __init__(self, recent: Recent) -> None:
        self._recent = recent

    def __getitem__(self, key: tuple[str, str]) -> Line:
        return self._recent.line(*key)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for metric, entities in self._recent.by_metric.items():
            for entity in entities:
                yield entity, metric

    def __len__(self) -> int:
        return sum(len(entities) for entities in self._recent.by_metric.values())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and len(key) == 2 and key[0] in self._recent.by_metric.get(key[1], ())

    def __repr__(self) -> str:
        return repr(dict(self))

    def entities_with(self, metric: str) -> list[str]:
        """Entities that have a sample of `metric`, by name."""
        return sorted(self._recent.by_metric.get(metric, ()))

    def quiet(self, before: datetime) -> list[tuple[str, str]]:
        """The (entity, metric) whose newest sample is not later than `before`, in order."""
        return self._recent.quiet(before)


class Recent:
    """Samples of the last `horizon`, ordered by time within (entity, metric); bounded by time and by number.

    Of equal times those of one series stand as they came, those of several in the order in which the series came.

    >>> recent = Recent(timedelta(seconds=60))
    >>> recent.readings
    {}
    """

    #: A metric of one entity holds at most this many samples: a bound against label explosions.
    LARGEST = 20_000

    def __init__(self, horizon: timedelta) -> None:
        self._horizon = horizon
        self._oldest = -(2**62)
        self._shelves = Shelves()
        self._series: list[Series] = []  # by slot; its unit and kind are the last told
        self._slots: dict[Name, int] = {}
        # Whoever hands over the same object again, as a collector does, is not asked for its name. The object in
        # `_series` is held, so no other can have its id.
        self._seen: dict[int, int] = {}
        self._free: list[int] = []
        self._widest = 0  # the most series that a metric of one entity has had
        self._plans: dict[str, tuple[object, Plan, Indexes]] = {}
        self._changes: Counter[str] = Counter()
        #: metric -> entity -> slots of its series, in the order in which they came.
        self.by_metric: dict[str, dict[str, list[int]]] = {}
        self.readings = Readings(self)

    def add(self, samples: Iterable[Sample]) -> None:
        """Put samples where their time belongs; late ones find their place, those older than the horizon have none."""
        samples = samples if isinstance(samples, list) else list(samples)
        known: dict[datetime, int] = {}
        times = np.fromiter((_known(known, sample.time) for sample in samples), np.int64, len(samples))
        fresh = times > self._oldest
        if not fresh.all():
            samples, times = [samples[at] for at in np.flatnonzero(fresh)], times[fresh]
        values = np.fromiter((sample.value for sample in samples), np.float64, len(samples))
        if len(samples):
            self._shelves.put(self._slots_of(samples), times, values, self._oldest)

    def forget(self, now: datetime) -> None:
        """Drop what is older than the horizon."""
        self._oldest = max(self._oldest, microseconds(now - self._horizon))
        for slot in self._shelves.expired(self._oldest):
            self._remove(int(slot))
        if self._shelves.fullest() * self._widest > self.LARGEST:
            self._bound()
        self._shelves.tidy()

    def between(self, start: datetime, end: datetime) -> Iterator[Sample]:
        """All samples of (start, end]."""
        for key in self.readings:
            yield from (sample for sample in self.readings[key].after(start) if sample.time <= end)

    def features(
        self, family: str, ends: Sequence[datetime], seconds: float, *, entities: Collection[str], every: float
    ) -> FeatureFrame:
        """What `window_features` gives for the samples held: the same, bit for bit, without making them objects.

        Raises ModelError: no such family.
        """
        placed, slots = self._plan(family, tuple(entities))
        start = microseconds(min(ends) - timedelta(seconds=seconds))
        return compute(placed, self._lines(slots, start, microseconds(max(ends))), ends, seconds, every=every)

    def line(self, entity: str, metric: str) -> Line:
        """The samples of one entity and metric. Raises KeyError: there are none."""
        slots = self.by_metric[metric][entity]
        if len(slots) == 1:
            return Line((self._series[slots[0]],), None, *self._shelves.held(slots[0], self._oldest))
        series = [self._series[slot] for slot in slots]
        parts = [self._shelves.held(slot, self._oldest) for slot in slots]
        times = np.concatenate([times for times, _ in parts])
        order = np.argsort(times, kind="stable")
        owners = np.repeat(np.arange(len(slots)), [len(times) for times, _ in parts])
        return Line(series, owners[order], times[order], np.concatenate([values for _, values in parts])[order])

    def quiet(self, before: datetime) -> list[tuple[str, str]]:
        """The (entity, metric) whose newest sample is not later than `before`, in order."""
        slots = set(self._shelves.expired(microseconds(before)).tolist())
        keys = {(self._series[slot].entity, self._series[slot].metric) for slot in slots}
        return sorted(key for key in keys if slots.issuperset(self.by_metric[key[1]][key[0]]))

    def _slots_of(self, samples: list[Sample]) -> Indexes:
        seen = self._seen
        found = [seen.get(id(series)) for series in map(_series, samples)]
        if None in found:
            found = [
                self._slot(sample.series) if slot is None else slot for slot, sample in zip(found, samples, strict=True)
            ]
        return np.array(found, dtype=np.int64)

    def _slot(self, series: Series) -> int:
        name = (series.entity, series.metric, series.labels)
        slot = self._slots.get(name)
        if slot is None:
            slot = self._slots[name] = self._new(series)
        elif self._series[slot] is not series:
            self._seen.pop(id(self._series[slot]), None)
        self._series[slot] = series
        self._seen[id(series)] = slot
        return slot

    def _new(self, series: Series) -> int:
        if self._free:
            slot = self._free.pop()
        else:
            slot = len(self._series)
            self._series.append(series)
        self._shelves.open(slot)
        slots = self.by_metric.setdefault(series.metric, {}).setdefault(series.entity, [])
        slots.append(slot)
        self._widest = max(self._widest, len(slots))
        self._changes[series.metric] += 1
        return slot

    def _remove(self, slot: int) -> None:
        series = self._series[slot]
        del self._slots[series.entity, series.metric, series.labels]
        del self._seen[id(series)]
        of_metric = self.by_metric[series.metric]
        of_metric[series.entity].remove(slot)
        if not of_metric[series.entity]:
            del of_metric[series.entity]
        if not of_metric:
            del self.by_metric[series.metric]
        self._shelves.close(slot)
        self._free.append(slot)
        self._changes[series.metric] += 1

    def _bound(self) -> None:
        """Of a metric with too many samples keep the newest."""
        for entities in list(self.by_metric.values()):
            for slots in list(entities.values()):
                held = [self._shelves.held(slot, self._oldest)[0] for slot in slots]
                if sum(map(len, held)) <= self.LARGEST:
                    continue
                owners = np.repeat(np.arange(len(slots)), [len(times) for times in held])
                kept = np.argsort(np.concatenate(held), kind="stable")[-self.LARGEST :]
                left = np.bincount(owners[kept], minlength=len(slots))
                for slot, count in zip(list(slots), left.tolist(), strict=True):
                    if count:
                        self._shelves.keep(slot, count)
                    else:
                        self._remove(slot)

    def _plan(self, family: str, entities: tuple[str, ...]) -> tuple[Plan, Indexes]:
        """The family's plan and the slots of its series, made anew when a series or an entity has come or gone."""
        wanted = metrics(family)
        state = (entities, tuple(self._changes[metric] for metric in sorted(wanted)))
        held = self._plans.get(family)
        if held is None or held[0] != state:
            among = frozenset(entities)
            found = sorted(
                ((entity, metric, self._series[slot].labels), slot)
                for metric in wanted
                for entity, slots in self.by_metric.get(metric, {}).items()
                if entity in among
                for slot in slots
            )
            slots = np.array([slot for _, slot in found], dtype=np.int64)
            held = self._plans[family] = (state, plan(family, [name for name, _ in found], entities), slots)
        return held[1], held[2]

    def _lines(self, slots: Indexes, start: int, end: int) -> Lines:
        bounds, times, values = self._shelves.between(slots, max(start, self._oldest), end)
        return tidy(bounds, times, values)


def _known(known: dict[datetime, int], time: datetime) -> int:
    """Microseconds of a time; those of a scrape are one object, and counted out once."""
    found = known.get(time)
    if found is None:
        found = known[time] = microseconds(time)
    return found

"""Rows of times and values in numpy, on shelves by width: many short series and a few long ones without waste."""

from __future__ import annotations

import numpy as np

from feature_store.windows import Floats, Indexes

#: The narrowest row: six minutes of a scrape every 15 s fit.
NARROWEST = 32
#: Rows that a shelf begins with, and below which it is not made smaller.
FEWEST = 64
_NEVER = 2**62


class _Shelf:
    """Rows of one width. owners: the slot whose row it is, -1 for none."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.times = np.zeros((0, width), dtype=np.int64)
        self.values = np.zeros((0, width))
        self.counts = np.zeros(0, dtype=np.int64)
        self.owners = np.zeros(0, dtype=np.int64)
        self.used = 0

    def take(self, slots: Indexes) -> Indexes:
        """Free rows for the slots; the shelf grows as needed."""
        free = np.flatnonzero(self.owners < 0)[: len(slots)]
        if len(free) < len(slots):
            self._resize(max(FEWEST, len(self.owners) + len(slots) - len(free), len(self.owners) * 5 // 4))
            free = np.flatnonzero(self.owners < 0)[: len(slots)]
        self.owners[free] = slots
        self.counts[free] = 0
        self.used += len(slots)
        return free

    def give(self, rows: Indexes) -> None:
        """These rows are free again."""
        self.owners[rows] = -1
        self.counts[rows] = 0
        self.used -= len(rows)

    def _resize(self, rows: int) -> None:
        more = rows - len(self.owners)
        self.times = np.concatenate([self.times, np.zeros((more, self.width), dtype=np.int64)])
        self.values = np.concatenate([self.values, np.zeros((more, self.width))])
        self.counts = np.append(self.counts, np.zeros(more, dtype=np.int64))
        self.owners = np.append(self.owners, np.full(more, -1))

    def pack(self) -> Indexes:
        """Move the used rows together and let the rest go; gives the slots in the order of their rows."""
        rows = np.flatnonzero(self.owners >= 0)
        self.times, self.values = self.times[rows], self.values[rows]
        self.counts, self.owners = self.counts[rows], self.owners[rows]
        return self.owners


class Shelves:
    """Per slot (a small whole number) samples in order of time; times in microseconds."""

    def __init__(self) -> None:
        self._shelves: list[_Shelf] = []
        self._level = np.zeros(0, dtype=np.int64)
        self._row = np.zeros(0, dtype=np.int64)
        self._latest = np.zeros(0, dtype=np.int64)
        self._opened: list[int] = []

    def open(self, slot: int) -> None:
        """A slot that is new, or was closed, has no samples yet; it gets its row with the next `put`."""
        if slot >= len(self._level):
            more = max(FEWEST, slot + 1 - len(self._level), len(self._level) // 4)
            self._level = np.append(self._level, np.zeros(more, dtype=np.int64))
            self._row = np.append(self._row, np.zeros(more, dtype=np.int64))
            self._latest = np.append(self._latest, np.full(more, _NEVER))
        self._opened.append(slot)

    def close(self, slot: int) -> None:
        """The slot's samples are gone."""
        self._shelf(int(self._level[slot])).give(self._row[slot : slot + 1])
        self._latest[slot] = _NEVER

    def put(self, slots: Indexes, times: Indexes, values: Floats, oldest: int) -> None:
        """Add samples, each to its slot where its time belongs, after equal ones. What is not after `oldest` may go."""
        self._place_opened()
        order = np.lexsort((times, slots))  # keeps the order of coming within equal times
        slots, times, values = slots[order], times[order], values[order]
        heads = np.flatnonzero(np.append(True, slots[1:] != slots[:-1]))
        owners, sizes = slots[heads], np.diff(np.append(heads, len(slots)))
        late = times[heads] < self._latest[owners]
        for at in np.flatnonzero(late):
            part = slice(heads[at], heads[at] + sizes[at])
            self._merge(int(owners[at]), times[part], values[part], oldest)
        if late.any():
            on_time = np.repeat(~late, sizes)
            slots, times, values = slots[on_time], times[on_time], values[on_time]
            owners, sizes = owners[~late], sizes[~late]
        if len(owners):
            self._append(owners, sizes, times, values, oldest)

    def held(self, slot: int, oldest: int) -> tuple[Indexes, Floats]:
        """Copies of the slot's times and values after `oldest`."""
        shelf, row = self._shelves[self._level[slot]], self._row[slot]
        count = shelf.counts[row]
        times = shelf.times[row, :count]
        first = times.searchsorted(oldest, "right") if count and times[0] <= oldest else 0
        return times[first:].copy(), shelf.values[row, first:count].copy()

    def keep(self, slot: int, count: int) -> None:
        """Keep the slot's newest samples alone."""
        shelf, row = self._shelves[self._level[slot]], self._row[slot]
        held = shelf.counts[row]
        for columns in (shelf.times, shelf.values):
            columns[row, :count] = columns[row, held - count : held].copy()
        shelf.counts[row] = count

    def expired(self, oldest: int) -> Indexes:
        """The slots whose newest sample is not after `oldest`."""
        return np.flatnonzero(self._latest <= oldest)

    def fullest(self) -> int:
        """The most samples that a slot holds, old ones included."""
        return max((int(shelf.counts.max(initial=0)) for shelf in self._shelves), default=0)

    def tidy(self) -> None:
        """Give back the memory of shelves that are mostly empty."""
        for shelf in self._shelves:
            if len(shelf.owners) > FEWEST and shelf.used < len(shelf.owners) // 2:
                slots = shelf.pack()
                self._row[slots] = np.arange(len(slots))

    def between(self, slots: Indexes, start: int, end: int) -> tuple[Indexes, Indexes, Floats]:
        """The samples of (start, end], slot by slot: bounds (slots + 1), times, values."""
        counts = np.zeros(len(slots), dtype=np.int64)
        parts = []
        for level in np.unique(self._level[slots]):
            places = np.flatnonzero(self._level[slots] == level)
            times, values, inside = self._tails(int(level), self._row[slots[places]], start, end)
            counts[places] = inside.sum(axis=1)
            parts.append((places, times[inside], values[inside]))
        bounds = np.append(0, np.cumsum(counts))
        if len(parts) == 1:
            return bounds, parts[0][1], parts[0][2]
        times, values = np.empty(bounds[-1], dtype=np.int64), np.empty(bounds[-1])
        for places, some_times, some_values in parts:
            sizes = counts[places]
            where = np.repeat(bounds[places] - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
            times[where], values[where] = some_times, some_values
        return bounds, times, values

    def _tails(self, level: int, rows: Indexes, start: int, end: int) -> tuple[Indexes, Floats, Indexes]:
        """The last samples of the rows, as many columns as reach back to `start`; and which lie in (start, end]."""
        shelf = self._shelves[level]
        counts = shelf.counts[rows]
        flat, width = rows * shelf.width, min(8, shelf.width)
        while True:
            places = counts[:, None] + np.arange(-width, 0)
            there = places >= 0
            at = flat[:, None] + np.maximum(places, 0)
            times = shelf.times.ravel()[at]
            if width >= shelf.width or not (there[:, 0] & (times[:, 0] > start)).any():
                break
            width = min(2 * width, shelf.width)
        return times, shelf.values.ravel()[at], there & (times > start) & (times <= end)

    def _shelf(self, level: int) -> _Shelf:
        while len(self._shelves) <= level:
            self._shelves.append(_Shelf(NARROWEST << len(self._shelves)))
        return self._shelves[level]

    def _place_opened(self) -> None:
        if self._opened:
            slots = np.array(self._opened, dtype=np.int64)
            self._opened.clear()
            self._row[slots] = self._shelf(0).take(slots)
            self._level[slots] = 0
            self._latest[slots] = -_NEVER

    def _append(self, owners: Indexes, sizes: Indexes, times: Indexes, values: Floats, oldest: int) -> None:
        """Put samples behind what the owners hold; none is earlier than what they hold."""
        self._make_room(owners, sizes, oldest)
        levels = self._level[owners]
        ranks = np.arange(len(times)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        for level in np.unique(levels):
            shelf, ours = self._shelves[level], levels == level
            rows = self._row[owners[ours]]
            mine = np.repeat(ours, sizes) if not ours.all() else slice(None)
            at = np.repeat(rows * shelf.width + shelf.counts[rows], sizes[ours]) + ranks[mine]
            shelf.times.ravel()[at] = times[mine]
            shelf.values.ravel()[at] = values[mine]
            shelf.counts[rows] += sizes[ours]
        self._latest[owners] = times[np.cumsum(sizes) - 1]

    def _make_room(self, owners: Indexes, sizes: Indexes, oldest: int) -> None:
        levels = self._level[owners]
        for level in np.unique(levels):
            shelf = self._shelves[level]
            ours = np.flatnonzero(levels == level)
            full = ours[shelf.counts[self._row[owners[ours]]] + sizes[ours] > shelf.width]
            if len(full):
                self._drop_old(shelf, self._row[owners[full]], oldest)
                wanted = shelf.counts[self._row[owners[full]]] + sizes[full]
                self._move(int(level), owners[full][wanted > shelf.width], wanted[wanted > shelf.width])

    @staticmethod
    def _drop_old(shelf: _Shelf, rows: Indexes, oldest: int) -> None:
        counts = shelf.counts[rows]
        columns = np.arange(shelf.width)
        old = ((shelf.times[rows] <= oldest) & (columns < counts[:, None])).sum(axis=1)
        at = np.minimum(columns + old[:, None], shelf.width - 1)
        shelf.times[rows] = np.take_along_axis(shelf.times[rows], at, axis=1)
        shelf.values[rows] = np.take_along_axis(shelf.values[rows], at, axis=1)
        shelf.counts[rows] = counts - old

    def _move(self, level: int, slots: Indexes, wanted: Indexes) -> None:
        """Move slots to the shelf on which what is wanted fits."""
        targets = np.maximum(np.ceil(np.log2(wanted / NARROWEST)).astype(np.int64), 0)
        for target in np.unique(targets):
            moved = slots[targets == target]
            source, goal = self._shelves[level], self._shelf(int(target))
            rows, before = goal.take(moved), self._row[moved]
            goal.times[rows, : source.width] = source.times[before]
            goal.values[rows, : source.width] = source.values[before]
            goal.counts[rows] = source.counts[before]
            source.give(before)
            self._row[moved], self._level[moved] = rows, target

    def _merge(self, slot: int, times: Indexes, values: Floats, oldest: int) -> None:
        """Put late samples among what the slot holds, after equal times."""
        held_times, held_values = self.held(slot, oldest)
        times, values = np.concatenate([held_times, times]), np.concatenate([held_values, values])
        order = np.argsort(times, kind="stable")
        self.keep(slot, 0)
        self._append(np.array([slot]), np.array([len(times)]), times[order], values[order], oldest)

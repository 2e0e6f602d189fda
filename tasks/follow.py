"""Step 3b: every series that arrives is followed: a round per tick, judged by ensemble and course of the platform.

Here is what is known of each series, and which reports are confirmed; what they tell is in tasks/tell.py. Pure, and the
same live, in a replay, after a restart and in a training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from feature_store.history import STARVED, WATCHER
from ml import prior
from ml.course import Strayed
from ml.detectors.stream import StreamState
from ml.ensemble import Ensemble, Judged, default_ensemble
from ml.lasting import Lasting, Reports
from tasks.alongside import Alongside
from tasks.rounds import Rounds
from tasks.train import budget_of
from tonewatch.keeping import series_key
from tonewatch.records import Change, Sample, Series, SeriesKind
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse.calibrations import SERIES

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Name = tuple[str, str, tuple[tuple[str, str], ...]]
#: A series that has been silent for so many seconds makes room for a new one, where there is none.
SILENT = 3600.0
#: A clock that was set back by more than so many seconds makes every series begin as after a pause; by less is waited.
SET_BACK = 60.0
#: Rounds by which a sample may be late and still be judged: an agent that comes back with an hour must hold up no tick.
LATEST = 20
#: Series that are left aside are looked at again after so many rounds.
LOOK_AGAIN = 100
#: What the programme does, quiet passages and all, is no fault (docs/decisions/0005): rules look at it, no model does.
PROGRAMME = frozenset({"source_level_dbfs", "probe_loudness_lufs", "probe_silence_seconds", "transcode_segment_bytes"})
#: A series that is not followed.
ASIDE = -1
_series = attrgetter("series")


def family_of(series: Series) -> str:
    """The family on whose calm a series' threshold is set: those of one metric are alike, whatever part tells it."""
    return f"{SERIES}{series.metric}"


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What became of a round. judged: as the ensemble says, (series,); confirmed: reports that have lasted.

    strayed: as the course of the platform says, of all that is known of the round by now; times: epoch seconds, NaN:
    nothing came with this tick.
    """

    number: int
    judged: Judged
    confirmed: Reports
    strayed: Strayed
    times: Floats


class Follower:
    """Follows the series of one tenant. It owns its state; hear() and tick() in turn, never two at once.

    limit: series that are followed at most; refused: how many are not, because the others are not silent.
    """

    def __init__(self, limit: int, ensemble: Ensemble | None = None) -> None:
        self.limit = limit
        self.ensemble = ensemble or default_ensemble()
        self.state: StreamState = self.ensemble.begin(0)
        self.alongside = Alongside()
        self.series: list[Series] = []  # by row; its unit and kind are the last told
        self.rounds = Rounds()
        self.lasting = Lasting(1)
        self.refused = 0
        #: Rows of series that have begun and have had no value yet: their family lends with the first.
        self.begun: set[int] = set()
        #: Rows whose series were dropped since somebody asked.
        self.gone: list[int] = []
        self.rows_of: dict[str, list[int]] = {}
        self._rows: dict[Name, int] = {}
        # Whoever hands over the same object again is not asked for its name; it is held, so no other has its id.
        self._seen: dict[int, int] = {}
        self._aside: dict[int, Series] = {}
        self._topology: Topology | None = None
        self._heard: list[Sample] = []

    def __len__(self) -> int:
        return len(self.series)

    @property
    def followed(self) -> int:
        """How many series have a row."""
        return len(self._rows)

    def hear(self, samples: Iterable[Sample]) -> None:
        """Samples that keep their contract, for the rounds that they belong to."""
        self._heard.extend(samples)

    def announce(self, changes: Iterable[Change]) -> None:
        """What was changed, or will be: levels that move with it are forgiven a little (ml/course.py)."""
        self.alongside.announce(changes)

    def tick(self, now: datetime, topology: Topology, profile: Profile) -> list[Heard]:
        """The round that ends at `now`: judge what was heard. It comes last; late samples may have older ones before.

        Nothing, and nothing is lost, while the clock is not past the round before.
        """
        end = now.timestamp()
        if end <= self.rounds.end and not self._set_back(end):
            return []
        self.lasting.run = budget_of(profile).run
        heard, self._heard = self._heard, []
        self.rounds.lame = max([self.rounds.lame, *(s.time.timestamp() for s in heard if _starved(s))])
        number = self.rounds.begin(end, profile.window_seconds + (profile.debounce_windows - 1) * profile.tick_seconds)
        if number % LOOK_AGAIN == 0 or topology is not self._topology:
            self._look_again(topology)
        rows, times, values, numbers = self._placed(heard, topology)
        # In the order of rounds; of a round the first sample of a series last, so that it is the one that stands.
        order = np.lexsort((-times, numbers))
        cuts = np.flatnonzero(np.diff(numbers[order])) + 1
        parts = [part for part in np.split(order, cuts) if len(part) and numbers[part[0]] < number]
        newest = order[numbers[order] == number]
        told = [(int(numbers[part[0]]), part) for part in parts]
        return [self._judge(each, rows[part], times[part], values[part]) for each, part in [*told, (number, newest)]]

    def restore(self, state: StreamState, alongside: Alongside, series: Sequence[Series], begun: Iterable[int]) -> None:
        """Take over what is known of these series, a row of the states each."""
        self.state, self.alongside, self.series = state, alongside, list(series)
        for row, each in enumerate(self.series):
            self._name(row, each)
        self.begun = set(begun)

    def _set_back(self, end: float) -> bool:
        """Whether the clock was set back so far that it is not waited for; then all series begin as after a pause."""
        if self.rounds.end - end <= SET_BACK:
            return False
        self.rounds = Rounds(first=self.rounds.last + 1)
        self.state.arrays["time"][:] = np.nan
        self.alongside.pause()
        return True

    def _judge(self, number: int, rows: Rows, times: Floats, values: Floats) -> Heard:
        told, at = np.full(len(self), np.nan), np.full(len(self), np.nan)
        told[rows], at[rows] = values, times
        _, judged = self.ensemble.score(self.state, at, told) if len(self) else (None, _nothing())
        strayed = self.alongside.judge(number, at, told, self.series, self.rounds.end)
        self._lend([row for row in sorted(self.begun) if np.isfinite(judged.value[row])])
        return Heard(number, judged, self.lasting.step(number, at, judged), strayed, at)

    def _lend(self, rows: Sequence[int]) -> None:
        """Series that have had their first value begin with what their families know."""
        self.begun.difference_update(rows)
        known: dict[str, Rows] = {}
        for row in rows:
            family = family_of(self.series[row])
            if family not in known:
                own = np.array(self.rows_of[family], np.int64)
                known[family] = own[self.state.arrays["seen"][own, 0] >= self.ensemble.least]
            prior.lend(self.state, row, known[family], self.ensemble.least)

    def _placed(self, heard: Sequence[Sample], topology: Topology) -> tuple[Rows, Floats, Floats, Rows]:
        """Row, time, value and round of those samples that are their round's; what is early waits for its own."""
        known: dict[datetime, float] = {}
        times = np.fromiter((_seconds(known, sample.time) for sample in heard), np.float64, len(heard))
        values = np.fromiter((sample.value for sample in heard), np.float64, len(heard))
        numbers = self.rounds.of(times)
        rows = self._rows_of(heard, topology)
        early = numbers > self.rounds.last
        self._heard = [heard[at] for at in np.flatnonzero(early & (rows != ASIDE)).tolist()]
        at = np.flatnonzero(~early & (rows != ASIDE))
        at = at[self.rounds.judged(numbers[at]) & (numbers[at] > self.rounds.last - LATEST)]
        before = self.state.arrays["time"][rows[at]]
        had = np.where(np.isnan(before), -1, self.rounds.of(before))
        at = at[numbers[at] > had]
        return rows[at], times[at], values[at], numbers[at]

    def _rows_of(self, heard: Sequence[Sample], topology: Topology) -> Rows:
        found = [self._seen.get(id(series)) for series in map(_series, heard)]
        if None in found:
            strangers = {id(s.series): s.series for s, row in zip(heard, found, strict=True) if row is None}
            admitted = self._admit(strangers, topology)
            found = [admitted[id(s.series)] if row is None else row for s, row in zip(heard, found, strict=True)]
        return np.array(found, np.int64)

    def _admit(self, strangers: dict[int, Series], topology: Topology) -> dict[int, int]:
        """The rows of series that come as new objects; new ones get one whatever the order in which they came."""
        new: dict[Name, Series] = {}
        for series in strangers.values():
            name = series_key(series)
            if name in self._rows:
                self._rename(self._rows[name], series)
            elif series.metric in PROGRAMME or series.entity == WATCHER or series.entity not in topology.entities:
                self._leave(series)
            else:
                new[name] = series
        for row, name in zip(self._room(len(new)), sorted(new), strict=False):
            self._name(row, new.pop(name))
        self.refused += len(new)
        for series in new.values():
            self._leave(series)
        return {number: self._rows.get(series_key(series), ASIDE) for number, series in strangers.items()}

    def _room(self, wanted: int) -> list[int]:
        """Rows for so many new series, as many as there is room for: of those that are silent for longest, at need."""
        more = max(0, min(wanted, self.limit - len(self)))
        first = len(self)
        if not wanted:
            return []
        if more:
            fresh = self.ensemble.begin(more).arrays
            held = self.state.arrays
            self.state = StreamState({name: np.concatenate([held[name], fresh[name]]) for name in held})
            self.alongside.add(more)
            self.series.extend([_NOBODY] * more)
        times = self.state.arrays["time"][:first]
        silent = np.flatnonzero(~(times >= self.rounds.end - SILENT))  # also what never had a time
        freed = silent[np.argsort(times[silent], kind="stable")][: wanted - more].tolist()
        self.drop(freed)
        return [*range(first, first + more), *freed]

    def drop(self, rows: Sequence[int]) -> None:
        """Forget all that is known of these series; their rows are free for others."""
        if not len(rows):
            return
        empty = self.ensemble.begin(1).arrays
        for name, array in self.state.arrays.items():
            array[list(rows)] = empty[name][0]
        self.alongside.forget(rows)
        self.lasting.forget(np.array(rows, np.int64))
        self.gone.extend(rows)
        for row in rows:
            gone = self.series[row]
            self._rows.pop(series_key(gone), None)
            self._seen.pop(id(gone), None)
            self.rows_of[family_of(gone)].remove(row)
            self.series[row] = _NOBODY

    def _rename(self, row: int, series: Series) -> None:
        """The same series as another object; told in another unit, it is another series."""
        held = self.series[row]
        told_anew = held.unit and series.unit and held.unit != series.unit
        if told_anew or held.kind is not series.kind:
            self.drop([row])
            self._name(row, series)
            return
        self._seen.pop(id(held), None)
        self.series[row] = series
        self._seen[id(series)] = row

    def _name(self, row: int, series: Series) -> None:
        """From now on the row, of which nothing is known, is this series'."""
        self._rows[series_key(series)] = row
        self.rows_of.setdefault(family_of(series), []).append(row)
        self.series[row] = series
        self._seen[id(series)] = row
        self.state.arrays["counter"][row] = series.kind is SeriesKind.COUNTER
        self.alongside.name(row, series.kind is SeriesKind.COUNTER)
        self.begun.add(row)

    def _leave(self, series: Series) -> None:
        self._aside[id(series)] = series
        self._seen[id(series)] = ASIDE

    def _look_again(self, topology: Topology) -> None:
        """What was left aside may have a place now."""
        for number in self._aside:
            self._seen.pop(number, None)
        self._aside.clear()
        self.refused = 0
        self._topology = topology


#: In a row that nobody has.
_NOBODY = Series("", "")


def _starved(sample: Sample) -> bool:
    return sample.value > 0 and sample.series.metric == STARVED and sample.series.entity == WATCHER


def _seconds(known: dict[datetime, float], time: datetime) -> float:
    """Epoch seconds of a time; those of a scrape are one object, and counted out once."""
    found = known.get(time)
    if found is None:
        found = known[time] = time.timestamp()
    return found


def _nothing() -> Judged:
    none = np.empty(0)
    return Judged(none, none, np.empty(0, np.int8), none, none, none, none)

"""The course of the platform (ml/course.py), followed live beside the ensemble: same rows, rounds, times and values.

It judges all series of a round together, and a sample may come a tick late: the round before is then judged once more,
whole, from where it began. So a restart, a replay and a training know the same as the life they play again. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.course import SCALED, Course, Strayed
from ml.detectors.stream import StreamState
from policy.grouping import BREAKING
from tasks.rounds import from_seconds
from tonewatch.records import Change, Series
from tonewatch.settings import PageBudget

Floats = npt.NDArray[np.float64]
#: A change of which is heard only so long after it began says nothing any more: levels have been followed since.
HEARD_LATE = timedelta(days=1)
#: What the calm of platforms shows (simulator, seeds 101 to 106): at one page a week and 100 series no threshold is
#: below so many usual differences, and pages are e times rarer for each so many more. Two weeks of one platform's calm
#: alone would now and then promise less.
PRIOR, RARER, OF_SERIES = 9.5, 1.5, 100
WEEK_S = 7 * 86_400.0
NEVER = -1


def least_score(series: int, pages_per_week: float) -> float:
    """The score below which no threshold of the family is set, at this budget for so many series."""
    differences = PRIOR + RARER * math.log(max(series, 1) / OF_SERIES / pages_per_week)
    return -math.expm1(-max(differences, 0.0) / SCALED)


def least_of(series: int, budget: PageBudget) -> float:
    """The same of a tenant's budget: the threshold that holds before anything was calibrated.

    A compressed week counts as a whole one: the course's days are real, and nothing was measured at thousands of pages.
    """
    return least_score(series, budget.pages_per_week * min(1.0, WEEK_S / budget.week_seconds))


def changed_rows(names: Sequence[Series], change: Change) -> list[int]:
    """The series whose level this change may have moved for good: those of the part that was changed."""
    if change.kind not in BREAKING:
        return []
    return [row for row, series in enumerate(names) if series.entity == change.entity]


class Alongside:
    """Follows the series of one tenant together. It owns its state; the Follower says what becomes of its rows."""

    def __init__(self) -> None:
        self.course = Course()
        self.state: StreamState = self.course.begin(0)
        #: The round in which each row was judged last, (series,).
        self.judged = np.empty(0, np.int64)
        # The newest round, from which state it was judged, and what was heard in it.
        self._before, self._round = self.state.copy(), NEVER
        self._times, self._values = np.empty(0), np.empty(0)
        self._waiting: dict[str, Change] = {}
        self._taken: dict[str, datetime] = {}

    def add(self, rows: int) -> None:
        """So many more rows, of which nothing is known."""
        fresh = self.course.begin(rows).arrays
        for name in ("state", "_before"):
            held = getattr(self, name).arrays
            setattr(self, name, StreamState({each: np.concatenate([held[each], fresh[each]]) for each in held}))
        none = np.full(rows, np.nan)
        self._times, self._values = (np.concatenate([each, none]) for each in (self._times, self._values))
        self.judged = np.concatenate([self.judged, np.full(rows, NEVER)])

    def forget(self, rows: Sequence[int]) -> None:
        """Nothing is known of these rows any more."""
        empty = self.course.begin(1).arrays
        for state in (self.state, self._before):
            for name, array in state.arrays.items():
                array[list(rows)] = empty[name][0]
        self._times[list(rows)] = self._values[list(rows)] = np.nan
        self.judged[list(rows)] = NEVER

    def name(self, row: int, counts: bool) -> None:
        """Whether the series that has this row from now on is a counter."""
        for state in (self.state, self._before):
            state.arrays["counter"][row] = counts

    def pause(self) -> None:
        """All series begin as after a pause: the clock was set back."""
        for state in (self.state, self._before):
            state.arrays["time"][:] = np.nan

    def announce(self, changes: Iterable[Change]) -> None:
        """Changes that are known, also of what is to come; each is taken up once, in the round that reaches it."""
        self._waiting |= {each.id: each for each in changes if each.kind in BREAKING and each.id not in self._taken}

    def judge(self, number: int, times: Floats, values: Floats, names: Sequence[Series], end: float) -> Strayed:
        """Judge what was heard of a round; what is told once more of the newest one completes it.

        times, values: (series,), NaN: nothing heard; names: of the rows; end: epoch seconds, of the newest round.
        """
        if number > self._round:
            self._take_up(names, from_seconds(end))
            self._before, self._round = self.state.copy(), number
            self._times, self._values = times, values
        elif number == self._round:
            came = ~np.isnan(times)
            self._times, self._values = np.where(came, times, self._times), np.where(came, values, self._values)
            self.state = self._before.copy()
        else:  # later than a tick: its own series learn from it, what all did then is over
            self.course.score(self._before, times, values)
            return self._scored(number, times, values)
        return self._scored(number, self._times, self._values)

    def document(self) -> dict[str, Any]:
        """All but the state that kept() gives, as JSON holds it."""
        return {
            "round": self._round,
            "times": self._times.tolist(),
            "values": self._values.tolist(),
            "judged": self.judged.tolist(),
            "taken": {name: started.isoformat() for name, started in self._taken.items()},
        }

    def kept(self) -> StreamState:
        """The state from which the newest round was judged: it is judged once more when it is restored."""
        return self._before

    def restore(self, state: StreamState, document: dict[str, Any]) -> None:
        """Go on with what kept() and document() gave. Raises KeyError, TypeError, ValueError: it is another thing."""
        told = [np.array(document[name], np.float64) for name in ("times", "values")]
        judged = np.array(document["judged"], np.int64)
        if any(each.shape != (len(state),) for each in (*told, judged)):
            raise ValueError(f"{[len(each) for each in (*told, judged)]} times, values, rounds of {len(state)} series")
        self._before, self.state, self._round = state, state.copy(), int(document["round"])
        self._times, self._values = told
        self._taken = {name: datetime.fromisoformat(started) for name, started in document["taken"].items()}
        self.judged = judged
        self._scored(self._round, *told)

    def _scored(self, number: int, times: Floats, values: Floats) -> Strayed:
        _, strayed = self.course.score(self.state, times, values)
        self.judged[~np.isnan(strayed.score)] = number
        return strayed

    def _take_up(self, names: Sequence[Series], end: datetime) -> None:
        for change in sorted(self._waiting.values(), key=lambda each: (each.started, each.id)):
            if change.started > end:
                continue
            del self._waiting[change.id]
            if change.started > end - HEARD_LATE:
                self._taken[change.id] = change.started
                self.course.changed(self.state, changed_rows(names, change))
        if any(started <= end - HEARD_LATE for started in self._taken.values()):
            self._taken = {name: each for name, each in self._taken.items() if each > end - HEARD_LATE}

"""Rounds: the watcher's ticks as single series are judged by them, the same live, in a replay and in a training.

A sample belongs to the round of the first tick that is not before its time, whenever it came, and of a series the first
sample of a round is the round's. So a sample that arrives late (its scrape was under way when the watcher ticked)
changes nothing, and whoever reads the stored samples again makes the same rounds of them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tonewatch.clock import EPOCH
from tonewatch.records import Series

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
#: A sample per tick of the watcher, at its time: seconds since the one before. A replay ticks when the watcher did.
TICKED = Series("host:watcher", "host_tick_seconds", unit="s")
#: Rounds are remembered for so many seconds: no sample that keeps its contract is later (policy/contracts.py).
REMEMBERED = 3600.0
#: Where nobody ticked for longer than so many ticks take, rounds are even.
PAUSE_TICKS = 5


@dataclass(slots=True)
class Rounds:
    """The rounds of the last hour. first: the number of the oldest; ends: epoch seconds; starved: not to be judged."""

    first: int = 0
    ends: list[float] = field(default_factory=list)
    starved: list[bool] = field(default_factory=list)
    lame: float = -np.inf  # when the watcher's machine was starved last

    @property
    def last(self) -> int:
        """The number of the newest round; before the first one it is one lower than that."""
        return self.first + len(self.ends) - 1

    @property
    def end(self) -> float:
        """When the newest round ended; before the first one: never."""
        return self.ends[-1] if self.ends else -np.inf

    def begin(self, end: float, span: float) -> int:
        """A round that ends then, which is later than all before; its number.

        span: seconds before it within which a starved machine makes it one that is not judged.
        """
        self.ends.append(end)
        self.starved.append(self.lame > end - span)
        old = np.searchsorted(self.ends, end - REMEMBERED) - 1  # one stays, so that what lies before it is told apart
        if old > len(self.ends) // 2:  # seldom, and then many
            del self.ends[:old], self.starved[:old]
            self.first += int(old)
        return self.last

    def of(self, times: Floats) -> Numbers:
        """The numbers of the rounds that these times fall into; the one after the newest where they are later."""
        return self.first + np.searchsorted(self.ends, times, "left")

    def judged(self, numbers: Numbers) -> npt.NDArray[np.bool_]:
        """Which of these rounds, none of them after the newest, are to be judged."""
        return ~np.array(self.starved, np.bool_)[numbers - self.first]

    def document(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"first": self.first, "ends": self.ends, "starved": self.starved, "lame": self.lame}

    @classmethod
    def restored(cls, document: dict[str, Any]) -> Self:
        """What document() gave. Raises KeyError, TypeError, ValueError: it is another thing."""
        ends, starved = list(map(float, document["ends"])), list(map(bool, document["starved"]))
        if len(ends) != len(starved):
            raise ValueError(f"{len(ends)} rounds, {len(starved)} times told whether they were starved")
        return cls(int(document["first"]), ends, starved, float(document["lame"]))


def moments(told: Sequence[float], start: float, end: float, every: float) -> Iterator[float]:
    """When rounds of the past ended, after `start` up to `end`: when the watcher ticked, and evenly where none did.

    All epoch seconds; every: between two ticks; told: in order.
    """
    at = start
    for tick in (each for each in told if start < each <= end):
        yield from _evenly(at, tick - every, every)
        yield tick
        at = tick
    yield from _evenly(at, end, every)


def _evenly(start: float, end: float, every: float) -> Iterator[float]:
    if end - start > (PAUSE_TICKS - 1) * every:
        yield from (start + every * step for step in range(1, int((end - start) / every) + 1))


def from_seconds(seconds: float) -> datetime:
    """The time so many seconds after the epoch."""
    return EPOCH + timedelta(seconds=seconds)

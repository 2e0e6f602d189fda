"""A recorded platform many times over: the same telemetry under new names, each copy at another moment of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from tests.benchmarks._recording import Recording, copies, renamed, renamed_entity
from tonewatch.records import Entity, Sample, Series, SeriesKind
from tonewatch.topology import Topology

#: How far a copy's levels lie from the recorded ones, and how much each reading trembles; relative.
APART, TREMBLE = 0.02, 0.005
SHAPES = np.random.SeedSequence(4)


@dataclass
class Stream:
    """Rounds of samples of so many series, round after round as the collector would bring them.

    A recorded second is one scrape, whatever time lies between two scrapes. The record begins anew after its end;
    counters grow on. Each copy plays it from another second on, at another level, and trembles a little.
    """

    recording: Recording
    series: int
    scrape_seconds: float
    start: datetime
    names: list[Series] = field(init=False)
    topology: Topology = field(init=False)

    def __post_init__(self) -> None:
        number = copies(self.recording, self.series)
        chance = np.random.default_rng(SHAPES)
        self._rounds = int(self.recording.seconds)
        self._values, self._rises, even = _matrix(self.recording, self._rounds)
        self._phases = chance.integers(0, self._rounds, number)
        self._levels = np.where(even[:, None], 1.0, 1.0 + APART * chance.standard_normal((len(even), number)))
        self._trembles = TREMBLE * (~even & (self._rises == 0))[:, None]
        self._chance = chance
        lines = self.recording.lines
        self.names = [_renamed(line.series, copy) for line in lines for copy in range(number)]
        self._kept = (
            np.arange(len(self.names)).reshape(len(lines), number) % number * len(lines)
            + np.arange(len(lines))[:, None]
            < self.series
        )
        self.topology = Topology(
            renamed_entity(entity, copy) for copy in range(number) for entity in self.recording.entities
        )

    def time(self, round_: int) -> datetime:
        """When that round was read."""
        return self.start + timedelta(seconds=(round_ + 1) * self.scrape_seconds)

    def read(self, round_: int) -> list[Sample]:
        """The samples of one round; all carry its time, as those of a scrape of all components do."""
        places = (round_ + self._phases) % self._rounds
        times = (round_ + self._phases) // self._rounds
        values = self._values[:, places] + self._rises[:, None] * times
        values = values * self._levels * (1.0 + self._trembles * self._chance.standard_normal(values.shape))
        there = np.flatnonzero((np.isfinite(values) & self._kept).ravel())
        now = self.time(round_)
        names = self.names
        return [
            Sample(names[at], now, value)
            for at, value in zip(there.tolist(), values.ravel()[there].tolist(), strict=True)
        ]


def _renamed(series: Series, copy: int) -> Series:
    labels = tuple((name, renamed(value, copy) if ":" in value else value) for name, value in series.labels)
    return Series(renamed(series.entity, copy), series.metric, labels, series.unit, series.kind)


def _matrix(recording: Recording, rounds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(series, rounds) values, NaN where none came; what a counter gains per record; which lines are whole numbers."""
    values = np.full((len(recording.lines), rounds), np.nan)
    rises = np.zeros(len(recording.lines))
    for row, line in enumerate(recording.lines):
        for time, value in zip(line.times, line.values, strict=True):
            values[row, min(max(time // 1000, 0), rounds - 1)] = value
        if line.series.kind is SeriesKind.COUNTER and len(line.values) > 1:
            rises[row] = (line.values[-1] - line.values[0]) * len(line.values) / (len(line.values) - 1)
    present = np.nan_to_num(values)
    even = (present == np.round(present)).all(axis=1) & (rises == 0)
    return values, rises, even


def entities(stream: Stream) -> list[Entity]:
    """The platform's entities."""
    return list(stream.topology.entities.values())

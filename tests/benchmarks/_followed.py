"""Simulated platforms followed minute by minute, side by side: by the course, and by the ensemble beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.course import Course
from ml.detectors.stream import StreamState
from ml.ensemble import default_ensemble
from ml.episodes import confirmed
from tasks.alongside import changed_rows
from tests.benchmarks._simulated import Simulated

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """What the ensemble said of one platform, (ticks, series) each, from tick `first` on."""

    first: int
    score: Singles
    expected: Singles
    actual: Singles

    def lasting(self, rates: Floats, run: int) -> Floats:
        """The scores that count: of what lasted."""
        values = rates[self.first : self.first + len(self.score)].T
        score, expected, actual = (np.asarray(each.T, np.float64) for each in (self.score, self.expected, self.actual))
        return confirmed(score, expected, actual, values, run).T


def stream(platforms: Sequence[Simulated], first: int, until: int, state: StreamState, kept: int) -> list[Scored]:
    """The ensemble on the steps first..until of all platforms; keep what was said from `kept` on."""
    ensemble, width = default_ensemble(), platforms[0].series
    every = platforms[0].simulation.wish.every_s
    shape = (len(platforms), until - kept, width)
    score, expected, actual = (np.empty(shape, np.float32) for _ in range(3))
    for step in range(first, until):
        values = np.concatenate([each.values[step] for each in platforms])
        state, judged = ensemble.score(state, np.full(len(values), step * every), values)
        if step >= kept:
            for into, told in ((score, judged.score), (expected, judged.expected), (actual, judged.actual)):
                into[:, step - kept] = told.reshape(len(platforms), width)
    return [Scored(kept, *each) for each in zip(score, expected, actual, strict=True)]


def begin(platforms: Sequence[Simulated]) -> StreamState:
    """The course's state of these platforms."""
    width = platforms[0].series
    counters = np.concatenate([each.counters for each in platforms])
    return Course().begin(width * len(platforms), counters, np.repeat(np.arange(len(platforms)), width))


def course(platforms: Sequence[Simulated], first: int, until: int, state: StreamState, kept: int) -> list[Singles]:
    """The course's scores of the steps first..until of all platforms, (ticks, series) each, from `kept` on.

    It hears of the announced changes when they begin, and of no series that the watcher does not follow.
    """
    follows, width, wish = Course(), platforms[0].series, platforms[0].simulation.wish
    start, changed = wish.start.timestamp(), _changed(platforms)
    followed = np.concatenate([each.followed for each in platforms])
    found = np.empty((len(platforms), until - kept, width), np.float32)
    for step in range(first, until):
        if step in changed:
            follows.changed(state, changed[step])
        values = np.where(followed, np.concatenate([each.values[step] for each in platforms]), np.nan)
        state, strayed = follows.score(state, np.full(len(values), start + step * wish.every_s), values)
        if step >= kept:
            found[:, step - kept] = strayed.score.reshape(len(platforms), width)
    return list(found)


def _changed(platforms: Sequence[Simulated]) -> dict[int, list[int]]:
    """By step, the rows of the state whose level an announced change may move."""
    found: dict[int, list[int]] = {}
    for place, platform in enumerate(platforms):
        wish = platform.simulation.wish
        for change in platform.changes:
            step = round((change.started - wish.start).total_seconds() / wish.every_s)
            rows = [place * platform.series + row for row in changed_rows(platform.names, change)]
            found.setdefault(step, []).extend(rows)
    return found

"""Trying: a copy of what follows the single series hears a piece of calm once more, with made anomalies in it.

What it tells of them is kept as scores: whoever asks later knows what any threshold would have found. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from ml.gate import LONGER, SIZES
from ml.lasting import SETTLE
from tasks.follow import Follower, Heard, family_of
from tasks.inject import LEAST_SAMPLES, Anomaly, Shape, inject, movable
from tasks.preserve import restored, snapshot
from tasks.tell import Teller
from tasks.train import budget_of
from tonewatch.records import Sample, Series, digest
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse.calibrations import COURSE

#: What may last as long as an anomaly must to be told.
SHAPES = (Shape.SHIFT, Shape.DRIFT)
#: Anomalies in one piece at most.
MOST = 100
Part = tuple[str, str]
Round = tuple[datetime, Sequence[Sample]]


@dataclass(frozen=True, slots=True)
class Tried:
    """A made anomaly. family: whose threshold it must exceed; score: the highest that was told of it, 0: nothing."""

    family: str
    score: float


def rounds_of_piece(profile: Profile) -> int:
    """The rounds of the shortest piece that holds what lasts long enough, and LEAST_SAMPLES of what is scraped."""
    heard = math.ceil(LEAST_SAMPLES * max(1.0, profile.scrape_seconds / profile.tick_seconds))
    return heard + budget_of(profile).run + LONGER + SETTLE + 1


def tried(
    tenant: str, follower: Follower, rounds: Sequence[Round], platform: Topology, profile: Profile
) -> list[Tried]:
    """Made anomalies of the metrics in turn, on up to half of the parts of each; a seed of tenant and time draws.

    follower: as it is before these rounds, and stays. Empty where they are too few to hold what lasts long enough.
    """
    room = len(rounds) - LEAST_SAMPLES - SETTLE - 1
    length = budget_of(profile).run + LONGER
    if room < length:
        return []
    copy = restored(snapshot(Teller(follower)), follower.limit).follower
    lines: dict[Part, list[Sample]] = {}
    for _, heard in rounds:
        for sample in heard:
            lines.setdefault((sample.series.entity, sample.series.metric), []).append(sample)
    rows = _rows(copy.series)
    known = {part: line for part, line in lines.items() if part in rows}
    made = _drawn(tenant, known, rounds, length)
    moved: dict[tuple[Series, datetime], Sample] = {}
    for each in made:
        line = known[each.entity, each.metric]
        moved |= {(sample.series, sample.time): sample for sample in inject(line, each)}
    watched = [_Watched(each, rows[each.entity, each.metric]) for each in made]
    for end, heard in rounds:
        copy.hear(moved.get((sample.series, sample.time), sample) for sample in heard)
        for told in copy.tick(end, platform, profile):
            for one in watched:
                one.look(told, copy)
    return [one.tried() for one in watched]


def _rows(names: Sequence[Series]) -> dict[Part, list[int]]:
    found: dict[Part, list[int]] = {}
    for row, series in enumerate(names):
        found.setdefault((series.entity, series.metric), []).append(row)
    return found


def _drawn(tenant: str, lines: Mapping[Part, Sequence[Sample]], rounds: Sequence[Round], length: int) -> list[Anomaly]:
    """Each so many rounds long, after so many that tell how far it goes, and all of it before the last."""
    chance = np.random.default_rng(int(digest(tenant, rounds[0][0].isoformat())[:15], 16))
    parts: dict[str, list[str]] = {}
    for entity, metric in sorted(lines):
        parts.setdefault(metric, []).append(entity)
    metrics = sorted(parts)
    found: list[Anomaly] = []
    queues = {
        metric: _half(parts[metric], chance) for metric in (metrics[at] for at in chance.permutation(len(metrics)))
    }
    while queues and len(found) < MOST:
        for metric in list(queues):
            if not queues[metric]:
                del queues[metric]
            elif movable(lines[part := (queues[metric].pop(), metric)]):
                found.append(_anomaly(part, rounds, length, chance))
    return found[:MOST]


def _half(entities: Sequence[str], chance: np.random.Generator) -> list[str]:
    order = chance.permutation(len(entities))[: (len(entities) + 1) // 2]
    return [entities[at] for at in order]


def _anomaly(part: Part, rounds: Sequence[Round], length: int, chance: np.random.Generator) -> Anomaly:
    first = int(chance.integers(LEAST_SAMPLES, len(rounds) - length - SETTLE))
    after = timedelta(microseconds=1)  # what comes at the end of a round is of the round
    start, end = (rounds[number - 1][0] + after for number in (first, first + length))
    size = float(np.exp(chance.uniform(*np.log(SIZES))) * chance.choice([-1.0, 1.0]))
    shape = SHAPES[int(chance.integers(len(SHAPES)))]
    return Anomaly("", *part, shape, start, end, size, int(chance.integers(2**31)))


class _Watched:
    """What is told of one anomaly while it lasts, as the watcher tells it (tasks/tell.py)."""

    def __init__(self, of: Anomaly, rows: Sequence[int]) -> None:
        self.family = family_of(Series(of.entity, of.metric))
        self.start, self.end = of.start.timestamp(), of.end.timestamp()
        self.rows = frozenset(rows)
        self.told = 0.0
        self.strayed: float | None = None

    def look(self, heard: Heard, follower: Follower) -> None:
        """Take in a round."""
        for report in heard.confirmed:
            row = int(report["row"])
            alone = follower.alongside.judged[row] < report["round"]
            if row in self.rows and alone and self.start <= report["time"] < self.end:
                self.told = max(self.told, float(report["score"]))
        for row in self.rows:
            score = float(heard.strayed.score[row])
            if not np.isnan(score) and self.start <= heard.times[row] < self.end:
                self.strayed = max(self.strayed or 0.0, score)

    def tried(self) -> Tried:
        """Where the course judges a series it alone speaks for it."""
        if self.strayed is not None:
            return Tried(COURSE, self.strayed)
        return Tried(self.family, self.told)

"""Shadow: champion and challenger judge the same windows, and copies of them with an anomaly; neither acts on it.

A stretch is gone through piece by piece. Of each piece it is told which incidents either would have opened, what they
cost, and which of the anomalies they found that were injected into copies. Both are asked as the watcher asks: a run
of windows above the threshold that the tenant's page budget allows, each notable, opens an incident. Pure: samples come
in, observations go out.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import process_time

import numpy as np

from feature_store.definitions import metrics
from feature_store.history import untainted
from feature_store.windows import FeatureFrame, window_features
from ml.champion import Champion, scoring
from ml.episodes import spans
from policy.grouping import REACH
from tasks.detect import HORIZON, LEAST_COVERAGE, least_horizon
from tasks.inject import Anomaly, drawn, inject, movable
from tasks.train import budget_of, notable_matrix, score_matrix
from tonewatch.errors import ModelFails
from tonewatch.records import Sample, digest
from tonewatch.settings import Profile

#: An incident is found by what is told within so long of its onset, on a platform whose day is a real one.
FOUND_WITHIN = timedelta(minutes=10)
#: Copies of a piece that get an anomaly each.
COPIES = 4
#: Ticks that an anomaly lasts beyond the run that opens an incident.
LONGER = 4
PIECES_PER_DAY, DAY_SECONDS = 24, 86_400.0
#: Times that either is timed on a piece.
REPEATS = 3
_LEAST_S, _LEAST_MB = 1e-6, 1e-3


@dataclass(frozen=True, slots=True)
class Pair:
    """Who is compared, each with the tenant's own threshold for it."""

    champion: Champion
    challenger: Champion


@dataclass(frozen=True, slots=True)
class Known:
    """An incident that needs no model to be known: a rule saw it, or people called it real. chains: where it was;
    until: when it was over, if it lasted longer than it takes to find it.
    """

    id: str
    onset: datetime
    chains: frozenset[int]
    until: datetime | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """A family's samples, from `horizon` before the piece to `found_within` after it. chains: tasks.train.chains_of."""

    tenant: str
    samples: Sequence[Sample]
    starved: Sequence[Sample]
    chains: Mapping[str, int]
    incidents: Sequence[Known]


@dataclass(frozen=True, slots=True)
class Page:
    """An incident that a model would have opened, by itself, with the run of windows first..met; until: it held, with
    all that joined it.
    """

    id: str
    entity: str
    chain: int
    first: datetime
    met: datetime
    until: datetime
    score: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What a piece told. outcomes: id -> time, found by the champion, by the challenger, injected; pages: of calm;
    standing: entities of which a page that was met before the piece holds on in it, of calm too.

    cost: seconds of the processor of either, MiB of either; None: nothing could be judged; crash: why the challenger
    failed, or empty.
    """

    start: datetime
    calm_seconds: float = 0.0
    outcomes: Mapping[str, tuple[datetime, bool, bool, bool]] = field(default_factory=dict)
    champion_pages: Sequence[Page] = ()
    challenger_pages: Sequence[Page] = ()
    champion_standing: Sequence[str] = ()
    challenger_standing: Sequence[str] = ()
    cost: tuple[float, float, float, float] | None = None
    crash: str = ""

    def alone(self) -> list[tuple[str, Page]]:
        """The pages that one of the two would have sent and the other not, with whose they are."""
        sides = (self.champion_pages, self.challenger_pages)
        return [
            (who, page)
            for who, own, other in zip(("champion", "challenger"), sides, sides[::-1], strict=True)
            for page in own
            if not any(_met(page, each) for each in other)
        ]


def piece_of(profile: Profile) -> timedelta:
    """How long a piece is: an hour of the platform's day, and long enough for an anomaly."""
    return max(timedelta(seconds=profile.day_seconds / PIECES_PER_DAY), length_of(profile))


def length_of(profile: Profile) -> timedelta:
    """How long an injected anomaly lasts: it could open an incident."""
    ticks = budget_of(profile).run + LONGER
    return timedelta(seconds=profile.window_seconds + ticks * profile.tick_seconds)


def found_within(profile: Profile) -> timedelta:
    """How long after its onset what is told of an incident has found it: the same part of every platform's day, and
    long enough for an anomaly.
    """
    return max(FOUND_WITHIN * (profile.day_seconds / DAY_SECONDS), length_of(profile))


def horizon(pair: Pair, profile: Profile) -> timedelta:
    """How far before a piece its judging begins: a run that holds on into it must have been met before it."""
    back = max(each.detector.looks_back for each in (pair.champion, pair.challenger))
    return max(HORIZON, least_horizon(back + budget_of(profile).run, profile))


def shadow(pair: Pair, stream: Stream, start: datetime, profile: Profile, *, seed: int = 0) -> Seen:
    """What the piece that begins at `start` tells of both.

    Raises ModelFails: the champion does, so that nothing can be compared.
    """
    end, patience = start + piece_of(profile), found_within(profile)
    frame = _frame(pair, stream, start - horizon(pair, profile), end + patience, profile, tuple(sorted(stream.chains)))
    if frame is None:
        return Seen(start)
    try:
        champion, challenger = (pages(one, frame, stream.chains, profile) for one in (pair.champion, pair.challenger))
        cost = _cost(pair, frame)
        found = dict(_injected(pair, stream, start, profile, seed, [*champion, *challenger]))
    except ModelFails as error:
        if error.version == pair.champion.version:
            raise
        return Seen(start, crash=str(error))
    within = [each for each in stream.incidents if start <= each.onset < end]
    for each in within:
        found[each.id] = (each.onset, _finds(champion, each, patience), _finds(challenger, each, patience), False)
    there = _share_judged(frame, start, end)
    if not there:
        return Seen(start, outcomes=found)
    his, its = ([page for page in told if not _explained(page, stream, patience)] for told in (champion, challenger))
    return Seen(
        start,
        there * calm_share(stream, start, end, patience) * (end - start).total_seconds(),
        found,
        [page for page in his if start < page.met <= end],
        [page for page in its if start < page.met <= end],
        [page.entity for page in his if page.met <= start < page.until],
        [page.entity for page in its if page.met <= start < page.until],
        cost,
    )


def calm_share(stream: Stream, start: datetime, end: datetime, patience: timedelta) -> float:
    """The share of the time, of each chain alike, that lies in no known incident: a page in one would be of it."""
    chains = set(stream.chains.values())
    known = sorted(stream.incidents, key=lambda each: each.onset)
    taken = timedelta()
    for chain in chains:
        reached = start
        for each in known:
            first, last = max(each.onset - REACH, reached), min(_over(each, patience), end)
            if chain in each.chains and first < last:
                taken += last - first
                reached = last
    return 1.0 - taken / ((end - start) * len(chains))


def _share_judged(frame: FeatureFrame, start: datetime, end: datetime) -> float:
    """The share of the piece's windows that held enough samples to be judged."""
    inside = np.array([start < each <= end for each in frame.ends])
    return float(np.mean(frame.coverage[inside] >= LEAST_COVERAGE)) if inside.any() else 0.0


def _frame(
    pair: Pair, stream: Stream, start: datetime, end: datetime, profile: Profile, entities: Sequence[str]
) -> FeatureFrame | None:
    """The windows that end a tick apart within the time, all of them whole."""
    tick = timedelta(seconds=profile.tick_seconds)
    first = start + timedelta(seconds=profile.window_seconds)
    ends = [first + number * tick for number in range(max(0, (end - first) // tick + 1))]
    if not ends or not entities:
        return None
    seconds, every = profile.window_seconds, profile.scrape_seconds
    made = window_features(pair.champion.family, stream.samples, ends, seconds, entities=entities, every=every)
    return untainted(made, stream.starved, seconds)


def _cost(pair: Pair, frame: FeatureFrame) -> tuple[float, float, float, float]:
    """What it takes either to judge the windows: seconds of the processor, the least of several, and MiB.

    By turns, and not by the wall's clock: others work on the machine, and the first is the one that warms it up.
    """
    both = (pair.champion, pair.challenger)
    took = [[_seconds(each, frame) for each in both] for _ in range(REPEATS)]
    champion_s, challenger_s = (max(_LEAST_S, min(each)) for each in zip(*took, strict=True))
    champion_mb, challenger_mb = (_megabytes(each, frame) for each in both)
    return champion_s, challenger_s, champion_mb, challenger_mb


def _seconds(one: Champion, frame: FeatureFrame) -> float:
    with scoring(one.family, one.version):
        began = process_time()
        score_matrix(one.detector, frame)
        return process_time() - began


def _megabytes(one: Champion, frame: FeatureFrame) -> float:
    """At the most, and traced apart from the time: tracing is slow."""
    tracemalloc.start()
    try:
        with scoring(one.family, one.version):
            score_matrix(one.detector, frame)
        return max(_LEAST_MB, tracemalloc.get_traced_memory()[1] / 2**20)
    finally:
        tracemalloc.stop()


def pages(one: Champion, frame: FeatureFrame, chains: Mapping[str, int], profile: Profile) -> list[Page]:
    """The incidents that it would have opened: what is related and near in time is one. chains: see Stream.

    Raises ModelFails.
    """
    with scoring(one.family, one.version):
        scores = score_matrix(one.detector, frame)
        notable = notable_matrix(one.detector, frame)
    entities = tuple(dict.fromkeys(frame.entities))
    ends = frame.ends[: scores.shape[1]]
    strange = spans(np.where(notable, scores, np.nan), [one.threshold] * len(scores), run=budget_of(profile).run)
    opened: list[Page] = []
    newest: dict[int, int] = {}  # of each chain, which page opened last
    for span in sorted(strange, key=lambda each: (each.met, each.row)):
        entity, met, until = entities[span.row], ends[span.met], ends[span.until]
        chain = chains[entity]
        place = newest.get(chain)
        if place is not None and met <= opened[place].until + REACH:
            opened[place] = replace(opened[place], until=max(until, opened[place].until))
            continue
        name = digest(one.family, one.version, entity, met.isoformat())
        newest[chain] = len(opened)
        opened.append(Page(name, entity, chain, ends[span.first], met, until, float(scores[span.row, span.met])))
    return opened


def _injected(
    pair: Pair, stream: Stream, start: datetime, profile: Profile, seed: int, told: Sequence[Page]
) -> Iterator[tuple[str, tuple[datetime, bool, bool, bool]]]:
    """Of each anomaly in a copy: who finds it. None goes where something began to be told, or is known, of the live
    stream. Whoever has told for long what still holds opens no incident of the anomaly: to him it is lost.
    """
    family = metrics(pair.champion.family)
    piece = piece_of(profile)
    within = [each for each in stream.samples if start - horizon(pair, profile) < each.time <= start + piece]
    candidates = {
        entity: [metric for metric in moved if metric in family]
        for entity, moved in movable(within).items()
        if entity in stream.chains
    }
    for copy in range(COPIES):
        for anomaly in drawn(
            stream.tenant,
            seed + copy,
            candidates,
            start,
            start + piece,
            every=piece,
            length=length_of(profile),
        ):
            if _disturbed(stream, anomaly, told, found_within(profile)):
                continue
            if (found := _finders(pair, stream, anomaly, profile)) is not None:
                yield anomaly.id, (anomaly.start, *found, True)


def _disturbed(stream: Stream, anomaly: Anomaly, told: Sequence[Page], patience: timedelta) -> bool:
    chain, start, end = stream.chains[anomaly.entity], anomaly.start - REACH, anomaly.end + REACH
    known = any(
        chain in each.chains and start <= _over(each, patience) and each.onset <= end for each in stream.incidents
    )
    return known or any(page.chain == chain and start <= page.first <= end for page in told)


def _finders(pair: Pair, stream: Stream, anomaly: Anomaly, profile: Profile) -> tuple[bool, bool] | None:
    """Who finds it; None: one of the two opens an incident there without it, too, so that nobody knows what of."""
    mine = [sample for sample in stream.samples if sample.series.entity == anomaly.entity]
    if any(_tell(pair, replace(stream, samples=mine), anomaly, profile)):
        return None
    champion, challenger = _tell(pair, replace(stream, samples=inject(mine, anomaly)), anomaly, profile)
    return champion, challenger


def _tell(pair: Pair, copy: Stream, anomaly: Anomaly, profile: Profile) -> tuple[bool, bool]:
    """Whether champion and challenger open an incident of the entity after the anomaly's beginning."""
    start, until = anomaly.start - horizon(pair, profile), anomaly.end + timedelta(seconds=profile.window_seconds)
    frame = _frame(pair, copy, start, until, profile, (anomaly.entity,))
    if frame is None:
        return False, False
    told = [pages(one, frame, copy.chains, profile) for one in (pair.champion, pair.challenger)]
    champion, challenger = (any(page.met > anomaly.start for page in each) for each in told)
    return champion, challenger


def _finds(told: Sequence[Page], incident: Known, patience: timedelta) -> bool:
    return any(_is_of(page, incident, patience) for page in told)


def _is_of(page: Page, incident: Known, patience: timedelta) -> bool:
    return page.chain in incident.chains and incident.onset - REACH <= page.met <= incident.onset + patience


def _explained(page: Page, stream: Stream, patience: timedelta) -> bool:
    """Whether it is of an incident that is known: no page of calm."""
    return any(
        page.chain in each.chains and each.onset - REACH <= page.met <= _over(each, patience)
        for each in stream.incidents
    )


def _over(incident: Known, patience: timedelta) -> datetime:
    found = incident.onset + patience
    return found if incident.until is None else max(found, incident.until)


def _met(page: Page, other: Page) -> bool:
    return page.chain == other.chain and page.met <= other.until + REACH and other.met <= page.until + REACH

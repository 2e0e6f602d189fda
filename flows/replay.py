"""Replay: the watcher's own ticks over a recording, on a virtual clock. Nothing runs beside it, and nothing is stored.

The same recording, profile and champions give the same findings, bit by bit, in any process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from flows.ticks import TICKED, Batch, DetectionState, carry_on, excused, judge, take_in
from ml.champion import Champion
from policy.conditions import Conditions
from tasks.follow import Follower
from tasks.preserve import restored
from tasks.rounds import PAUSE_TICKS
from tasks.tell import Teller
from tonewatch.clock import ManualClock, moment
from tonewatch.recording import Recording
from tonewatch.records import Finding, Sample, digest
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from tonewatch.watched import judged_by
from warehouse.calibrations import Calibrated

#: A recording tells of no tenant; its findings are this one's.
TENANT = "replay"
#: Progress is told once for so many ticks.
TOLD_TICKS = 2_000


@dataclass(frozen=True, slots=True)
class Held:
    """The first and the last tick at which a condition held, and the one that found it over; None: it still held."""

    first: datetime
    last: datetime
    over: datetime | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the watcher would have found. excused: ids of findings that began while its machine was starved.

    held: of each finding, by id, from when to when its condition held.
    """

    findings: tuple[Finding, ...]
    excused: tuple[str, ...]
    ticks: int
    samples: int
    held: Mapping[str, Held]

    @property
    def hash(self) -> str:
        """Of the findings, whole: equal only if each is, in words, times and figures."""
        return digest(*(finding_document(finding) for finding in self.findings))


def replay(
    recording: Recording,
    profile: Profile,
    champions: Mapping[str, Champion] | None = None,
    say: Callable[[str], None] = lambda _: None,
    series: Mapping[str, Calibrated] | None = None,
    followed: bytes | None = None,
    beside: Callable[[DetectionState, datetime], None] = lambda _state, _now: None,
) -> Replayed:
    """Watch the recording from its beginning to its end.

    profile: by which it is judged, but for what the recording tells of its own. It ticks when the recorded watcher did,
    or evenly where that is not told; a sample arrives with the first tick after its time. series: thresholds by family
    of single series; None: they are not followed. followed: what is known of them when the recording begins
    (tasks/preserve.py); None: they become known in the recording itself. beside: called after each tick.
    Raises RecordingError: the recording is damaged; ModelError: what is known was learned by other detectors.
    """
    judged_as = judged_by(profile, recording.watched)
    clock, topology = ManualClock(recording.start), Topology(recording.entities)
    state = DetectionState(champions=champions or {})
    if series is not None:
        limit = judged_as.followed_series
        state.teller = Teller(Follower(limit)) if followed is None else restored(followed, limit)
        state.teller.thresholds = series
        state.teller.follower.announce(recording.changes)
    found: dict[str, Finding] = {}
    held: dict[str, Held] = {}
    doubted: dict[str, None] = {}
    ticks = count = 0
    before = recording.start
    for samples in batches(recording.samples(), moments(recording, clock, judged_as.tick_seconds)):
        now = clock.now()
        batch = Batch(samples, (before, now), {})
        _, broken = take_in(state, batch)
        holds = judge(state, batch, broken, topology, judged_as)
        starved = excused(state.excused, state.conditions, holds, TENANT)
        doubted |= dict.fromkeys(starved.values())
        _watch_on(held, state.conditions, holds, now)
        found |= {finding.id: finding for finding in carry_on(TENANT, state, holds, starved)}
        beside(state, now)
        ticks, count, before = ticks + 1, count + len(samples), now
        if ticks % TOLD_TICKS == 0:
            say(f"{now.isoformat()}: {count:,} samples, {len(found)} findings")
    ordered = sorted(found.values(), key=lambda each: (each.ended, each.entity, each.detector, each.started))
    return Replayed(tuple(ordered), tuple(sorted(doubted)), ticks, count, held)


def _watch_on(held: dict[str, Held], before: Conditions, now_held: Conditions, now: datetime) -> None:
    """Take down which conditions hold at `now`, and which of those before are over."""
    for key, condition in before.items():
        if key not in now_held:
            name = condition.finding(TENANT).id
            held[name] = replace(held[name], over=now)
    for condition in now_held.values():
        name = condition.finding(TENANT).id
        first = held[name].first if name in held else now
        held[name] = Held(first, now)


def moments(recording: Recording, clock: ManualClock, every_s: float) -> Iterator[datetime]:
    """The ticks' times, to which the clock goes along: the recorded watcher's, and evenly wherever nobody watched."""
    told, step = _ticked(recording), timedelta(seconds=every_s)
    for time in told:
        if time - clock.now() > PAUSE_TICKS * step:
            yield from _evenly(clock, time - step, every_s)
        clock.advance((time - clock.now()).total_seconds())
        yield time
    if not told or recording.end - clock.now() > PAUSE_TICKS * step:
        yield from _evenly(clock, recording.end, every_s)


def _evenly(clock: ManualClock, until: datetime, every_s: float) -> Iterator[datetime]:
    """Ticks from the clock's time on; the last is the first that is not before `until`."""
    while clock.now() < until:
        clock.advance(every_s)
        yield clock.now()


def _ticked(recording: Recording) -> list[datetime]:
    """When the watcher ticked; nothing where the recording does not tell."""
    if TICKED not in recording.series:
        return []
    number = recording.series.index(TICKED)
    times = [columns.times[columns.series == number] for columns in recording.columns()]
    return [moment(time) for part in times for time in part.tolist()]


def batches(told: Iterable[Sample], ends: Iterable[datetime]) -> Iterator[list[Sample]]:
    """Samples in the order of time, cut where the ticks are: of each, all up to its time that none before had."""
    source = iter(told)
    following = next(source, None)
    for end in ends:
        arrived: list[Sample] = []
        while following is not None and following.time <= end:
            arrived.append(following)
            following = next(source, None)
        yield arrived


def finding_document(finding: Finding) -> dict[str, object]:
    """A finding as JSON holds it, with its id; no tenant is in it."""
    return {
        "id": finding.id,
        "entity": finding.entity,
        "detector": finding.detector,
        "kind": finding.kind.value,
        "started": finding.started.isoformat(),
        "ended": finding.ended.isoformat(),
        "summary": finding.summary,
        "symptom": finding.symptom,
        "expected": finding.expected,
        "actual": finding.actual,
        "score": finding.score,
        "rate": finding.rate,
        "features": dict(finding.features),
        "model_version": finding.model_version,
    }

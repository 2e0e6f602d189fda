"""A simulated platform whose evenings change for good, its samples day by day, and the pages of whoever is champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np

from feature_store.definitions import by_family, metrics, names
from feature_store.windows import FeatureFrame
from ml.champion import Champion
from policy.grouping import REACH
from soundstage.simulator.telemetry import Simulation
from soundstage.simulator.wish import Wish
from tasks.prove import prove, rival_of
from tasks.publish import publish
from tasks.shadow import Page, pages
from tasks.train import LEARNED_DAYS, Stretch, budget_of, calibrated, chains_of, learn, read_frame
from tests.benchmarks._simulated import Simulated
from tonewatch.records import Entity
from tonewatch.settings import Profile
from tonewatch.topology import Topology
from warehouse import calibrations, samples
from warehouse.database import Warehouse

#: What of a platform is watched here: what works more when more listen, and what the probe hears, which does not.
STAGES = ("source", "rendition")
SERIES, EVENING = 111, 14.0
MICROSECOND, EPOCH = timedelta(microseconds=1), datetime(2000, 1, 1, tzinfo=UTC)
#: Whose challengers are sabotaged: nothing of what it sees changes with the traffic.
SABOTAGED = "rendition"
#: No model of it passes the gate for another reason than luck: so many seeds are tried.
SEEDS = 10


@dataclass(frozen=True)
class Evenings(Simulated):
    """A platform without faults, releases and restarts, of which the traffic has another shape from a day on."""

    changed: float = 9.0

    @cached_property
    def simulation(self) -> Simulation:
        """What is simulated."""
        wish = Wish(self.series, self.days, seed=self.seed, steady=True, evening=EVENING, evening_from=self.changed)
        return Simulation(wish)

    @cached_property
    def entities(self) -> list[Entity]:
        """The parts that are watched, with what they feed of one another."""
        kept = {part.id: part for part in self.simulation.platform.parts if part.stage in STAGES}
        return [
            Entity(
                each.id,
                each.stage,
                each.labels,
                tuple(other for other in each.feeds if other in kept),
                tuple(other for other in each.depends_on if other in kept),
            )
            for each in kept.values()
        ]

    @cached_property
    def topology(self) -> Topology:
        """Of those."""
        return Topology(self.entities)

    @cached_property
    def families(self) -> dict[str, tuple[str, ...]]:
        """With their entities."""
        return by_family(self.entities)

    @cached_property
    def told(self) -> list[int]:
        """The series that a feature reads."""
        read = {stage: set(metrics(stage)) for stage in STAGES}
        stages = {each.id: each.stage for each in self.entities}
        return [
            at
            for at, name in enumerate(self.names)
            if name.entity in stages and name.metric in read[stages[name.entity]]
        ]

    @cached_property
    def chains(self) -> Mapping[str, int]:
        """As in tasks/train.py, of all families together."""
        return chains_of(self.topology, [each.id for each in self.entities])

    def columns(self, after: datetime, until: datetime) -> samples.Columns:
        """The samples with after < time <= until."""
        every = timedelta(seconds=self.every_s)
        first, last = ((moment - self.time(0)) // every + 1 for moment in (after, until))
        some = self.values[max(first, 0) : last, self.told]
        ids = np.array([samples.series_id(self.names[at]) for at in self.told], np.int64)
        times = (self.time(max(first, 0)) - EPOCH) // MICROSECOND + np.arange(len(some)) * (every // MICROSECOND)
        known = dict(zip(ids.tolist(), (self.names[at] for at in self.told), strict=True))
        return samples.Columns(np.repeat(ids, len(some)), np.tile(times, len(ids)), some.T.ravel(), known)


@dataclass
class Pager:
    """Counts the pages of the champions: what is related and near in time is one, over all families."""

    world: Evenings
    profile: Profile
    found: list[tuple[datetime, str]] = field(default_factory=list)
    _open: dict[int, datetime] = field(default_factory=dict)

    def watch(self, champions: Mapping[str, Champion], after: datetime, until: datetime) -> None:
        """Count those that are met with after < time <= until."""
        told = [(page, family) for family, one in champions.items() for page in self._of(family, one, after, until)]
        for page, family in sorted(told, key=lambda each: (each[0].met, each[1])):
            if not (page.chain in self._open and page.met <= self._open[page.chain] + REACH):
                self.found.append((page.met, family))
            self._open[page.chain] = max(page.until, self._open.get(page.chain, page.until))

    def _of(self, family: str, one: Champion, after: datetime, until: datetime) -> Sequence[Page]:
        entities = self.world.families.get(family, ())
        tick = timedelta(seconds=self.profile.tick_seconds)
        back = budget_of(self.profile).run - 1 + one.detector.looks_back
        ends = [after + tick * step for step in range(1 - back, (until - after) // tick + 1)]
        first = self.world.time(0) + timedelta(seconds=self.profile.window_seconds)
        ends = [each for each in ends if each >= first]
        if not ends or not entities:
            return ()
        frame = self.world.frame(family, entities, ends, self.profile.window_seconds)
        return pages(one, frame, {entity: self.world.chains[entity] for entity in entities}, self.profile)

    def within(self, start: datetime, end: datetime) -> int:
        """How many there were."""
        return sum(start < met <= end for met, _ in self.found)


async def sabotage(
    how: str, world: Evenings, warehouse: Warehouse, tracking_uri: str, tenant: str, profile: Profile, at: datetime
) -> dict[str, object]:
    """Register a challenger that the product's own gate passes and that is worse live.

    deaf: properly learned, and after the gate somebody raises the tenant's threshold for it; strange: what it learned
    from, and is held against the champion on, is not this platform's (all latencies are 3 s higher).
    """
    stretch = Stretch(tenant, at - timedelta(days=LEARNED_DAYS), at, profile)
    entities = world.families[SABOTAGED]
    halves = [(stretch.start, stretch.middle), (stretch.middle, stretch.end)]
    frames = [await read_frame(warehouse, stretch, SABOTAGED, entities, stretch.ends(*half)) for half in halves]
    if how == "strange":
        frames = [_moved(frame) for frame in frames]
    groups = [world.chains[entity] for entity in entities]
    for seed in range(SEEDS):
        lesson = learn(SABOTAGED, frames[0], frames[1], seed=seed, phases=stretch.phases)
        calibration = calibrated([lesson], world.topology, stretch, families=len(world.families), seed=seed)
        champion = rival_of(tracking_uri, SABOTAGED).detector
        verdict = prove(lesson, calibration, champion, stretch, groups, len(world.families), seed=seed)
        if verdict.passed:
            break
    made = await publish(warehouse, tracking_uri, stretch, lesson, calibration, verdict=verdict, seed=seed, now=at)
    if how == "deaf":
        async with warehouse.as_tenant(tenant) as db:
            (own,) = [each for each in await calibrations.newest(tenant, db) if each.version == made.version]
            await calibrations.put(tenant, db, [replace(own, threshold=0.999, made=at + timedelta(seconds=1))])
    return {"how": how, "family": SABOTAGED, "version": made.version, "at": at, "gate": verdict.reason}


def _moved(frame: FeatureFrame) -> FeatureFrame:
    values = frame.values.copy()
    values[:, names(SABOTAGED).index("latency_mean")] += 3.0
    return replace(frame, values=values)

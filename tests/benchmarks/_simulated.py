"""A simulated platform as the product sees it: its series, topology, announced changes, and samples in memory."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feature_store.windows import FeatureFrame, Lines, compute, plan, tidy
from soundstage.simulator.placing import Placed
from soundstage.simulator.telemetry import Simulation
from soundstage.simulator.wish import Wish
from tasks.follow import PROGRAMME
from tonewatch.clock import microseconds
from tonewatch.records import Change, Entity, Sample, Series, SeriesKind
from tonewatch.topology import Topology

Floats = npt.NDArray[np.float64]
TENANT = "simulated"


@dataclass(frozen=True)
class Simulated:
    """One seed. calm_days come first, and no fault falls into them; `days` is all; per_week: faults."""

    seed: int
    series: int
    days: float
    calm_days: float
    faults: bool
    per_week: float = 5.0
    every_s: float = 60.0

    @cached_property
    def simulation(self) -> Simulation:
        """What is simulated: all that a platform has by default, and of faults the whole catalogue or none."""
        faults = ("all",) if self.faults else ()
        wish = Wish(
            self.series,
            self.days,
            self.every_s,
            seed=self.seed,
            faults=faults,
            per_week=self.per_week,
            calm_days=self.calm_days,
        )
        return Simulation(wish)

    @cached_property
    def values(self) -> Floats:
        """(steps, series); NaN where no sample came."""
        return np.concatenate([block.values for block in self.simulation.blocks()])

    @cached_property
    def names(self) -> list[Series]:
        """The series, as the watcher would know them."""
        told = (self.simulation.platform.name(line) for line in range(len(self.simulation.platform.lines)))
        return [
            Series(
                each["entity"],
                each["metric"],
                tuple((name, value) for name, value in each["labels"]),
                each["unit"],
                SeriesKind(each["kind"]),
            )
            for each in told
        ]

    @cached_property
    def counters(self) -> npt.NDArray[np.bool_]:
        """(series,): which only grow until they are reset."""
        return np.array([name.kind is SeriesKind.COUNTER for name in self.names])

    @cached_property
    def followed(self) -> npt.NDArray[np.bool_]:
        """(series,): which the watcher follows; what the programme does is for rules."""
        return np.array([name.metric not in PROGRAMME for name in self.names])

    @cached_property
    def topology(self) -> Topology:
        """The platform."""
        parts = self.simulation.platform.parts
        return Topology(Entity(part.id, part.stage, part.labels, part.feeds, part.depends_on) for part in parts)

    @cached_property
    def changes(self) -> list[Change]:
        """What was announced."""
        moments = ("started", "ended")
        return [
            Change(**(each | {name: datetime.fromisoformat(each[name]) if each[name] else None for name in moments}))
            for each in self.simulation.changes
        ]

    @property
    def faulted(self) -> list[Placed]:
        """What is really the matter."""
        return self.simulation.faults

    @property
    def calm_steps(self) -> int:
        """Steps of the calm days."""
        return self.simulation.wish.first_faulty_step

    def time(self, step: int) -> datetime:
        """When that step was read."""
        return self.simulation.wish.time(step)

    def samples(self, step: int) -> list[Sample]:
        """What came at that step."""
        row, now = self.values[step], self.time(step)
        return [Sample(self.names[at], now, float(row[at])) for at in np.flatnonzero(np.isfinite(row)).tolist()]

    def rates(self) -> Floats:
        """The values, of counters their growth per second; NaN after a reset or a gap."""
        grown = np.diff(self.values, axis=0, prepend=np.nan) / self.simulation.wish.every_s
        return np.where(self.counters, np.where(grown >= 0, grown, np.nan), self.values)

    def lines(self, first: int, until: int) -> tuple[list[int], Lines]:
        """Samples of the steps in columns, and which series each column is: in the order of their names."""
        order = sorted(range(len(self.names)), key=lambda at: (self.names[at].entity, *_rest(self.names[at])))
        start, step = microseconds(self.time(first)), timedelta(seconds=self.simulation.wish.every_s)
        times = start + np.arange(until - first) * (step // timedelta(microseconds=1))
        columns = self.values[first:until, order].T
        bounds = np.arange(len(order) + 1) * (until - first)
        return order, tidy(bounds, np.tile(times, len(order)), columns.ravel())

    def frame(self, family: str, entities: tuple[str, ...], ends: list[datetime], seconds: float) -> FeatureFrame:
        """The family's features, by the product's own windowing."""
        every = self.simulation.wish.every_s
        first = round((ends[0] - self.time(0)).total_seconds() / every) - round(seconds / every)
        until = round((ends[-1] - self.time(0)).total_seconds() / every) + 1
        order, lines = self.lines(max(0, first), min(until, len(self.values)))
        told = [(self.names[at].entity, *_rest(self.names[at])) for at in order]
        return compute(plan(family, told, entities), lines, ends, seconds, every=every)


def _rest(series: Series) -> tuple[str, tuple[tuple[str, str], ...]]:
    return series.metric, series.labels


def offer_platforms(parser: argparse.ArgumentParser, *, first: int) -> None:
    """Let whoever runs a benchmark of family models say on how many platforms of which size."""
    parser.add_argument("--first", type=int, default=first, help=f"the first seed (default {first})")
    parser.add_argument("--seeds", type=int, default=3, help="how many platforms (default 3)")
    parser.add_argument("--series", type=int, default=150, help="series of each (default 150)")
    parser.add_argument("--calm-days", type=float, default=8.0, help="calm days (default 8)")
    parser.add_argument("--days", type=float, default=7.0, help="days after them (default 7)")
    parser.add_argument("--per-week", type=float, default=40.0, help="faults a week (default 40)")

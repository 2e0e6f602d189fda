"""The course followed live: it tells what the benchmark counts, speaks alone, hears of changes once, takes up again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from ml.course import Course
from ml.detectors.stream import StreamState
from ml.episodes import spans
from ml.fingerprint import fingerprint_of_course
from policy.strange import lasts
from tasks.alongside import HEARD_LATE, Alongside, changed_rows, least_of
from tasks.course import FOLLOWED
from tasks.follow import Follower
from tasks.tell import Teller, course_of
from tests.benchmarks import _followed
from tests.benchmarks._simulated import Simulated
from tests.unit.platform_parts import START, at
from tests.unit.tasks.followed import EDGES, LAG, PROFILE, fit, noise, played, sampled, teller
from tonewatch.records import Change, Sample, Series
from tonewatch.settings import PageBudget, load_profile
from warehouse.calibrations import COURSE

#: Read every ten minutes; three days with faults after twelve calm ones, with releases and missing scrapes.
EVERY_S, DAYS, CALM_DAYS = 600.0, 15.0, 12.0
MINUTES = load_profile("platform").model_copy(
    update={
        "tick_seconds": EVERY_S,
        "scrape_seconds": EVERY_S,
        "window_seconds": 3 * EVERY_S,
        "budget": PageBudget(pages_per_week=1.0),
    }
)
Told = tuple[str, str, int]


@cache
def platform() -> Simulated:
    return Simulated(3, 20, DAYS, CALM_DAYS, faults=True, per_week=14.0, every_s=EVERY_S)


def live() -> tuple[Teller, set[Told], list[float]]:
    """What the watcher tells of it: entity, detector, and the step of the finding's end."""
    made, sim = Teller(Follower(100)), platform()
    made.follower.announce(sim.changes)
    found, scores = set(), []
    for step, row in enumerate(sim.values):
        now = sim.time(step)
        heard = (Sample(sim.names[at], now, float(row[at])) for at in np.flatnonzero(~np.isnan(row)).tolist())
        made.follower.hear(heard)
        for each in made.tick(now, sim.topology, MINUTES):
            assert lasts(each.detector)  # no family of the ensemble has a threshold
            found.add((each.entity, each.detector, step_of(each.met)))
            scores.append(each.score)
    return made, found, scores


def step_of(time) -> int:  # type: ignore[no-untyped-def]
    return round((time - platform().time(0)).total_seconds() / EVERY_S)


def benchmark() -> Iterator[Told]:
    """What the page budget counts: episodes of the course's scores above its threshold, by entity and metric."""
    sim = platform()
    (scores,) = _followed.course([sim], 0, len(sim.values), _followed.begin([sim]), 0)
    keys = [(each.entity, course_of(each)) for each in sim.names]
    for key in sorted(set(keys)):
        rows = [row for row, each in enumerate(keys) if each == key]
        most = np.fmax.reduce(scores.T[rows].astype(np.float64), axis=0)[None, :]
        least = least_of(int(sim.followed.sum()), MINUTES.budget)
        for span in spans(most, [least], run=FOLLOWED.run, hold=FOLLOWED.hold):
            yield *key, span.first


def test_the_watcher_tells_the_episodes_that_the_page_budget_counts() -> None:
    made, found, scores = live()
    counted = set(benchmark())
    assert counted
    assert found == counted
    assert min(scores) > 0.5
    assert made.follower.followed == platform().followed.sum()
    assert (made.follower.alongside.judged >= 0).sum() > 10


def test_both_states_of_a_series_take_less_than_four_kilobytes() -> None:
    """3,722 bytes; the course's 1,253 are held twice while the newest round may still be completed."""
    made = teller()
    played(made, sampled(LAG, noise(2, 2)))
    own, its = made.follower.state.bytes_per_series, made.follower.alongside.state.bytes_per_series
    assert (own + its, its) == (3_722, 1_253)
    assert own + 2 * its < 18 * 1024


def known(days: int) -> StreamState:
    """A course's state that has followed two lags for so long, every ten minutes."""
    state, chance = Course().begin(2), np.random.default_rng(1)
    start = START.timestamp() - days * 86_400.0
    for number in range(int(days * 144)):
        noon = 5.0 * np.sin(2 * np.pi * number / 144.0)
        Course().score(state, np.full(2, start + 600.0 * number), 100.0 + noon + chance.normal(size=2))
    return state

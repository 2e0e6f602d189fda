"""The course followed live: it tells what the benchmark counts, speaks alone, hears of changes once, takes up again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import cache

import numpy as np
import pytest

from flows.correlation import lasting
from flows.ticks import DetectionState
from ml.detectors import straying, usual_day
from ml.episodes import spans
from ml.fingerprint import fingerprint_of_course
from policy.strange import lasts
from tasks.alongside import HEARD_LATE, Alongside, least_of
from tasks.course import FOLLOWED
from tasks.follow import Follower
from tasks.preserve import restored, snapshot
from tasks.tell import Teller, course_of, thresholds_of
from tests.benchmarks import _followed
from tests.benchmarks._simulated import Simulated
from tests.unit.platform_parts import START, at
from tests.unit.tasks.followed import EDGES, LAG, PLATFORM, PROFILE, TICK, ended, fit, noise, played, sampled, teller
from tonewatch.records import Change, Sample
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


def step_of(time: datetime) -> int:
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


def release(name: str, second: float, kind: str = "release") -> Change:
    return Change(name, kind, EDGES[0], at(second), None, "somebody", "v2")


def settled(made: Teller) -> list[int]:
    """Readings since the level of each may have moved."""
    told: list[int] = made.follower.alongside.state.arrays["settled"].tolist()
    return told


def watched(made: Teller) -> Teller:
    """As if the course had long known what axis they are on: it learns from the first reading."""
    for state in (made.follower.alongside.state, made.follower.alongside.kept()):
        state.arrays["offset"][:] = 1.0
        state.arrays["profile"][:] = 2.0
    return made


def test_a_change_is_taken_up_once_in_the_round_that_reaches_it_also_after_a_restart() -> None:
    made = teller()
    ticks = sampled(LAG, noise(2, 40))
    played(made, ticks[:10])
    watched(made)
    made.follower.announce([release("a", 12 * TICK), release("w", 0.0, "maintenance")])
    played(made, ticks[10:11], 10)
    assert settled(made)[0] > 100  # not yet
    played(made, ticks[11:20], 11)
    assert settled(made)[0] == 9
    assert settled(made)[1] > 100
    again = restored(snapshot(made), 1_000)
    for each in (made, again):
        each.follower.announce([release("a", 12 * TICK)])
        played(each, ticks[20:30], 20)
        assert settled(each)[0] == 19
    assert snapshot(again) == snapshot(made)


def test_a_change_that_is_heard_of_late_counts_from_then_on_and_after_a_day_no_more() -> None:
    made = teller()
    ticks = sampled(LAG, noise(2, 40))
    played(made, ticks[:20])
    watched(made)
    made.follower.announce([release("a", 2 * TICK), release("old", -HEARD_LATE.total_seconds())])
    played(made, ticks[20:25], 20)
    assert settled(made)[0] == 5
    assert list(made.follower.alongside.document()["taken"]) == ["a"]


def test_a_sample_that_comes_a_tick_late_completes_its_round() -> None:
    names, end = LAG, START.timestamp()
    times, values = np.full(2, end), np.array([10.0, 11.0])
    whole, late = Alongside(), Alongside()
    for each in (whole, late):
        each.add(2)
    whole.judge(0, times, values, names, end)
    late.judge(0, np.array([end, np.nan]), np.array([10.0, np.nan]), names, end)
    late.judge(0, np.array([np.nan, end]), np.array([np.nan, 11.0]), names, end)
    for each in (whole, late):
        each.judge(1, times + 5.0, values + 1.0, names, end + 5.0)
    assert whole.state.snapshot(whole.document()) == late.state.snapshot(late.document())


def test_where_the_course_judges_a_series_the_ensemble_tells_nothing_of_it() -> None:
    values = noise(2, 200)
    values[:, 150:] += 20.0
    ticks = sampled(LAG, values)
    made = teller("lag_seconds")
    played(made, ticks[:150])
    made.follower.alongside.judged[0] = 2**40  # from now on
    told = played(made, ticks[150:], 150)
    assert {each.entity for tick in told for each in tick} == {EDGES[1]}


def strays(made: Teller, score: float) -> list[tuple[float, float | None, str | None]]:
    """What it tells of the first lag where the course gives it this score: threshold in words, rate and version."""
    played(made, sampled(LAG, noise(2, 3)))
    heard = made.follower.tick(ended(3), PLATFORM, PROFILE)[0]
    strayed = replace(heard.strayed, score=np.array([score, np.nan]), look=np.array([1, -1], np.int8),
                      expected=np.array([1.0, np.nan]), actual=np.array([4.0, np.nan]))  # fmt: skip
    made._stray(replace(heard, strayed=strayed, times=np.full(2, START.timestamp())), PROFILE)
    return [(each.score, each.rate, each.model_version) for each in made.conditions()]


def test_without_a_calibration_the_course_tells_by_what_other_platforms_have_shown() -> None:
    least, version = least_of(2, PROFILE.budget), f"course/{fingerprint_of_course()}"
    assert strays(teller(), least) == []
    assert strays(teller(), least + 1e-6) == [(least + 1e-6, PROFILE.budget.pages_per_week, version)]


def test_its_own_calm_raises_the_threshold_of_the_course_and_never_lowers_it() -> None:
    least = least_of(2, PROFILE.budget)
    for own, threshold in ((least / 2, least), ((1 + least) / 2, (1 + least) / 2)):
        mine = replace(fit("x", own), family=COURSE, version=fingerprint_of_course())
        assert list(thresholds_of([mine, replace(mine, version="of another")])) == [COURSE]
        for score, told in ((threshold, 0), (threshold + 1e-6, 1)):
            made = teller()
            made.thresholds = thresholds_of([mine])
            assert len(strays(made, score)) == told


def test_what_the_course_tells_explains_itself() -> None:
    made = teller()
    strays(made, 0.999)
    (said,) = made.conditions()
    assert (said.entity, said.detector) == (EDGES[0], course_of(LAG[0]))
    assert said.summary == (
        f"lag_seconds of {EDGES[0]} has lain too high for a quarter of an hour: 4 s instead of about 1 s"
    )
    assert "by its mean of a quarter of an hour 0.999 strange, told above" in said.actual
    assert lasts(said.detector)
    assert said.since == said.met == START


def test_what_the_course_tells_opens_an_incident_in_the_tick_that_tells_it() -> None:
    made = teller()
    strays(made, 0.999)
    (said,) = made.conditions()
    state = DetectionState(conditions={said.key: said, ("a", "b"): replace(said, detector="series:lag_seconds")})
    assert lasting(state, PROFILE, "t", said.met) == {said.finding("t").id}


def test_another_constant_of_the_course_is_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {fingerprint_of_course()}
    monkeypatch.setattr(straying, "MEANS_S", (*straying.MEANS_S[:3], 7_200.0))
    before.add(fingerprint_of_course())
    monkeypatch.setattr(usual_day, "HEARD", 3.0)
    before.add(fingerprint_of_course())
    assert len(before) == 3


def test_a_budget_of_longer_weeks_is_tighter_and_a_compressed_week_counts_as_a_whole_one() -> None:
    budget = PageBudget(pages_per_week=1.0)
    year, minutes = (budget.model_copy(update={"week_seconds": 7 * 86_400.0 * share}) for share in (52.0, 0.001))
    assert least_of(100, minutes) == least_of(100, budget) < least_of(100, year)

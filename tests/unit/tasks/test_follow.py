"""Following single series: rounds by the samples' times, rows by the series' names, and input of every kind."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from tasks.follow import Follower
from tasks.rounds import Rounds, moments
from tasks.tell import Teller
from tasks.train import budget_of
from tests.unit.platform_parts import at
from tests.unit.tasks.followed import (
    EDGES,
    LAG,
    PLATFORM,
    PROFILE,
    RUN,
    TICK,
    counter,
    ended,
    noise,
    played,
    sampled,
    teller,
)
from tonewatch.records import Sample, Series

NAN = np.nan


def same(one: Teller, other: Teller) -> bool:
    """Whether both know the same, bit for bit."""
    mine, its = (
        [each for state in (made.follower.state, made.follower.alongside.state) for each in state.arrays.values()]
        for made in (one, other)
    )
    return one.follower.series == other.follower.series and all(
        np.array_equal(each, told, equal_nan=each.dtype.kind == "f") for each, told in zip(mine, its, strict=True)
    )


def test_a_run_is_as_long_as_what_opens_an_incident() -> None:
    assert budget_of(PROFILE).run == RUN


def test_a_sample_belongs_to_the_first_tick_that_is_not_before_it() -> None:
    rounds = Rounds()
    for end in (10.0, 15.0, 25.0):
        rounds.begin(end, 0.0)
    assert rounds.of(np.array([3.0, 10.0, 10.5, 25.0, 25.5])).tolist() == [0, 0, 1, 2, 3]


def test_rounds_are_forgotten_after_an_hour_and_their_numbers_stay() -> None:
    rounds = Rounds()
    numbers = [rounds.begin(5.0 * tick, 0.0) for tick in range(2_000)]
    assert numbers == list(range(2_000))
    assert len(rounds.ends) < 1_500
    assert rounds.of(np.array([5.0 * 1_990]))[0] == 1_990


def test_where_nobody_ticked_rounds_are_even() -> None:
    assert list(moments([5.0, 11.0], 0.0, 12.0, 5.0)) == [5.0, 11.0]
    assert list(moments([50.0], 0.0, 50.0, 5.0)) == [5.0 * step for step in range(1, 11)]
    assert list(moments([], 0.0, 32.0, 5.0)) == [5.0, 10.0, 15.0, 20.0, 25.0, 30.0]


def test_late_samples_and_their_order_change_nothing() -> None:
    """A sample that came a tick late, after its like, or in another order makes the same of its series."""
    ticks = sampled(LAG, noise(2, 150))
    again = [[Sample(each.series, each.time + (at(0.4) - at(0)), 99.0) for each in tick] for tick in ticks]
    shuffled = [[*tick, *more] for tick, more in zip(ticks, again, strict=True)]
    chance = random.Random(1)
    for tick in shuffled:
        chance.shuffle(tick)
    late = [[], *ticks[:-1]]  # of the last one nothing has come
    late[-1] = [*late[-1], *ticks[-1]]
    plain, mixed, slow = (teller() for _ in range(3))
    for made, told in ((plain, ticks), (mixed, shuffled), (slow, late)):
        played(made, told)
    assert same(plain, mixed)
    assert same(plain, slow)


def test_the_watchers_host_strangers_to_the_platform_and_the_programme_are_not_followed() -> None:
    made = teller()
    strangers = [Series("host:watcher", "host_tick_seconds"), Series("service:prometheus", "up")]
    strangers += [Series("rendition:ch1/aac-128", "probe_loudness_lufs"), *LAG]
    played(made, sampled(strangers, noise(5, 3)))
    assert made.follower.series == sorted(LAG, key=lambda each: each.entity)


def test_a_series_that_comes_as_another_object_each_time_has_one_row() -> None:
    made = teller()
    values = noise(1, 5)
    played(made, [[replace(each, series=replace(LAG[0])) for each in tick] for tick in sampled(LAG[:1], values)])
    assert len(made.follower) == 1
    assert made.follower.state.arrays["last"][0] == values[0, -1]


def test_beyond_the_limit_the_series_that_is_silent_for_longest_makes_room() -> None:
    names = [Series(EDGES[0], f"m{number}") for number in range(4)]
    made = teller(limit=2)
    long = int(3600 / TICK) + 102  # looked at again every hundred rounds
    played(made, [sampled(names[:1], noise(1, 1))[0], sampled(names[:2], noise(2, 1), 1)[0]])
    assert made.follower.series == names[:2]
    # the first is silent from here on, the second is not, and for a third there is no room yet
    ticks = sampled([names[1], names[2]], noise(2, long), 2)
    played(made, ticks[:1], 2)
    assert (made.follower.series, made.follower.refused) == (names[:2], 1)
    played(made, ticks[1:], 3)
    assert made.follower.series == [names[2], names[1]]
    assert made.follower.refused == 0


def test_while_the_watcher_starves_nothing_is_judged_or_learned() -> None:
    made = teller()
    ticks = sampled(LAG, noise(2, 150))
    starved = Sample(Series("host:watcher", "host_starved_seconds"), at(120 * TICK - 1), 1.0)
    ticks[119].append(starved)
    played(made, ticks)
    quiet = made.follower.rounds.starved
    span = int((PROFILE.window_seconds + (PROFILE.debounce_windows - 1) * TICK) / TICK)
    assert [number for number, each in enumerate(quiet) if each] == list(range(119, 119 + span))
    assert made.follower.state.arrays["seen"][0, 0] == 150 - span


def test_a_clock_that_stands_or_is_set_back_a_little_is_waited_for() -> None:
    made = teller()
    played(made, sampled(LAG, noise(2, 20)))
    before = made.follower.state.copy()
    assert made.follower.tick(ended(19), PLATFORM, PROFILE) == []
    assert made.follower.tick(ended(12), PLATFORM, PROFILE) == []
    assert all(np.array_equal(before.arrays[name], each, equal_nan=each.dtype.kind == "f")
               for name, each in made.follower.state.arrays.items())  # fmt: skip
    played(made, sampled(LAG, noise(2, 1), 20), 20)
    assert made.follower.state.arrays["seen"][0, 0] == 21


def test_a_clock_that_jumps_is_a_pause_and_series_go_on() -> None:
    made = teller("lag_seconds")
    played(made, sampled(LAG, noise(2, 150), 10_000), 10_000)
    back = played(made, sampled(LAG, noise(2, 50, seed=2)), 0)  # fourteen hours earlier
    ahead = played(made, sampled(LAG, noise(2, 50, seed=3), 100_000), 100_000)
    assert made.follower.state.arrays["seen"][0, 0] == 250
    assert not any(back + ahead)


VALUES = {
    "constant": np.full(300, 5.0),
    "always zero": np.zeros(300),
    "two points": np.array([1.0, 2.0] + [NAN] * 298),
    "all missing": np.full(300, NAN),
    "exploding": np.exp(np.linspace(0, 700, 300)),
    "huge": np.full(300, 1.7e308) * np.where(np.arange(300) % 2, 1, -1),
    "irregular": np.where(np.random.default_rng(5).random(300) < 0.3, 1.0, NAN),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("counts", [False, True])
def test_strange_input_is_followed_without_a_crash(kind: str, counts: bool) -> None:
    made = teller("lag_seconds")
    name = counter(LAG[0]) if counts else LAG[0]
    told = played(made, sampled([name], VALUES[kind][None, :]))
    for each in (condition for tick in told for condition in tick):
        assert 0 < each.score < 1
        assert "nan" not in f"{each.summary} {each.expected} {each.actual}"
    assert np.isfinite(made.follower.state.arrays["centre"]).all()
    if kind in {"constant", "always zero", "two points", "all missing"}:
        assert not any(told)


def test_a_counter_that_is_reset_tells_nothing_and_one_that_runs_faster_does() -> None:
    made = teller("lag_seconds")
    growth = np.random.default_rng(1).uniform(45, 55, 400).cumsum()
    reset = np.concatenate([growth[:200], growth[:100]])
    faster = reset[-1] + 4 * growth[:50]
    told = played(made, sampled([counter(LAG[0])], np.concatenate([reset, faster])[None, :]))
    assert not any(told[: len(reset)])
    (condition,) = told[-1]
    assert condition.expected.endswith(" s/s")


def test_a_series_that_changes_its_unit_begins_anew() -> None:
    made = teller("lag_seconds")
    told = played(made, sampled(LAG[:1], noise(1, 200)))
    other = replace(LAG[0], unit="ms")
    told += played(made, sampled([other], noise(1, 150, seed=2) * 1000, 200), 200)
    assert not any(told)
    assert made.follower.series == [other]
    assert made.follower.state.arrays["seen"][0, 0] == 150


def test_a_unit_that_changes_in_secret_is_told() -> None:
    made = teller("lag_seconds")
    told = played(made, sampled(LAG[:1], np.concatenate([noise(1, 200), noise(1, 20, seed=2) * 1000], axis=1)))
    assert [each.entity for each in told[-1]] == [EDGES[0]]


def test_an_empty_platform_and_an_empty_tick_are_none_too_little() -> None:
    made = Teller(Follower(10))
    assert played(made, [[], []]) == [[], []]
    played(made, sampled(LAG, noise(2, 1), 2), 2)
    assert played(made, [[]], 3) == [[]]

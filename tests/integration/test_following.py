"""Single series followed on a real PostgreSQL: as if the watcher had never stopped, whatever stops it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from flows.detection import Batch, DetectionState, tick
from flows.following import NAME, SAVED_EVERY, Following
from ml.hindsight import AFTER_SECONDS, BEFORE_SECONDS
from tasks.calibrate_series import LEAST_ROUNDS, SeriesLesson, calibrated_together, learn_series, rows_of
from tasks.preserve import snapshot
from tasks.rounds import TICKED
from tasks.tell import Teller
from tasks.train import Stretch
from tests.conftest import new_tenant
from tests.unit.platform_parts import START, at, two_channels
from tests.unit.tasks.followed import LAG, PROFILE, RUN, TICK, ended, fit, noise, sampled
from tonewatch.clock import ManualClock
from tonewatch.errors import WarehouseAway
from tonewatch.records import Change, Finding, Sample, Series, SeriesKind
from warehouse import calibrations, changes, samples, snapshots
from warehouse.calibrations import COURSE
from warehouse.database import Warehouse

PLATFORM = two_channels()
ONSET, TICKS = 150, 190
COUNTED = [Series(each.entity, "bytes_total", unit="B", kind=SeriesKind.COUNTER) for each in LAG]
HOST = "host:watcher"


def told() -> list[list[Sample]]:
    """What each tick brings: lags, of which one shifts, counters that come a tick late, and a starved second."""
    values = noise(2, TICKS)
    values[0, ONSET:] += 20.0
    ticks = sampled(LAG, values)
    late = sampled(COUNTED, noise(2, TICKS, seed=2, level=50.0).cumsum(axis=1))
    for number, each in enumerate(late[:-1]):
        ticks[number + 1] += each
    ticks[120].append(Sample(Series(HOST, "host_starved_seconds", unit="s"), at(121 * TICK - 2), 1.0))
    return ticks


class Watch:
    """A watcher's ticks, as far as single series go. Starting another on the same tenant is what a crash leaves."""

    def __init__(self, warehouse: Warehouse, tenant: str) -> None:
        self.warehouse, self.tenant = warehouse, tenant
        self.clock = ManualClock(START)
        self.state = DetectionState()
        self.following = Following(tenant, warehouse, self.clock)
        self.last: datetime | None = None

    async def run(self, ticks: Sequence[Sequence[Sample]], first: int = 0) -> list[list[Finding]]:
        """The ticks from `first` on; what each found."""
        return [await self.tick(number, ticks[number - first]) for number in range(first, first + len(ticks))]

    async def tick(self, number: int, heard: Sequence[Sample]) -> list[Finding]:
        now = ended(number)
        self.clock.advance((now - self.clock.now()).total_seconds())
        batch = Batch([*heard, Sample(TICKED, now, TICK)], (self.last or now, now), {})
        found = await tick(self.tenant, self.warehouse, self.state, batch, PLATFORM, PROFILE)
        self.last = now
        await self.following.after(self.state, now, PLATFORM, PROFILE)
        return [each for each in found if each.detector.startswith("series:")]

    @property
    def teller(self) -> Teller:
        assert self.state.teller is not None
        return self.state.teller


def known(teller: Teller) -> dict[Series, dict[str, bytes]]:
    """All that is known of each series, bit for bit, whatever its row."""
    both = (teller.follower.state, teller.follower.alongside.state)
    arrays = [(f"{place} {name}", array) for place, state in enumerate(both) for name, array in state.arrays.items()]
    return {
        series: {name: array[row].tobytes() for name, array in arrays}
        for row, series in enumerate(teller.follower.series)
    }


@pytest.fixture
async def calibrated(warehouse: Warehouse, tenant: str) -> str:
    """A tenant whose lags have a threshold."""
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [fit("lag_seconds")])
    return tenant


@pytest.fixture
async def other(warehouse: Warehouse) -> str:
    """Another one."""
    name = await new_tenant(warehouse)
    async with warehouse.as_tenant(name) as db:
        await calibrations.put(name, db, [fit("lag_seconds")])
    return name


async def test_after_a_crash_it_is_as_if_it_had_never_stopped(
    warehouse: Warehouse, calibrated: str, other: str
) -> None:
    """The snapshot is 30 ticks old when the watcher dies in the middle of what waits to be confirmed."""
    ticks = told()
    whole, mortal = Watch(warehouse, calibrated), Watch(warehouse, other)
    found = await whole.run(ticks)
    assert [number for number, each in enumerate(found) if each] == [ONSET + RUN - 1]
    cut = ONSET + 3
    await mortal.run(ticks[: cut - 30])
    await mortal.following.keep()
    await mortal.run(ticks[cut - 30 : cut], cut - 30)

    heir = Watch(warehouse, other)
    again = await heir.run(ticks[cut:], cut)
    assert [replace(each, tenant=calibrated) for tick in again for each in tick] == [
        each for tick in found for each in tick
    ]
    assert known(heir.teller) == known(whole.teller)
    assert heir.teller.document() == whole.teller.document()
    assert heir.teller.follower.rounds == whole.teller.follower.rounds


async def test_a_release_is_heard_from_the_warehouse_once_also_after_a_crash(
    warehouse: Warehouse, calibrated: str
) -> None:
    """One is announced ahead, and counts from the round that reaches it; one late; one while the watcher is down."""
    ticks = told()
    kinds = {"ahead": 20 * TICK, "late": 5 * TICK, "down": 28 * TICK}
    release = {
        name: Change(name, "release", LAG[0].entity, at(second), None, "ci", "v2") for name, second in kinds.items()
    }

    async def announce(name: str) -> None:
        async with warehouse.as_tenant(calibrated) as db:
            await changes.save(calibrated, db, [release[name]])

    def taken(watch: Watch) -> set[str]:
        return set(watch.teller.follower.alongside.document()["taken"])

    watch = Watch(warehouse, calibrated)
    await watch.run(ticks[:10])
    await announce("ahead")
    await announce("late")
    await watch.run(ticks[10:12], 10)
    assert taken(watch) == {"late"}
    await watch.run(ticks[12:20], 12)
    assert taken(watch) == {"late", "ahead"}
    await watch.following.keep()
    await announce("down")
    heir = Watch(warehouse, calibrated)
    await heir.run(ticks[28:30], 28)
    seen: list[list[int]] = []
    heir.teller.follower.alongside.course.changed = lambda state, rows: seen.append(list(rows))  # type: ignore[method-assign]
    assert taken(heir) == {"late", "ahead", "down"}
    await heir.run(ticks[30:34], 30)
    assert seen == []


async def test_without_a_snapshot_everything_that_is_stored_is_played_again(
    warehouse: Warehouse, calibrated: str
) -> None:
    ticks = told()
    whole = Watch(warehouse, calibrated)
    await whole.run(ticks)
    heir = Watch(warehouse, calibrated)
    await heir.tick(TICKS, [])
    whole.teller.tick(ended(TICKS), PLATFORM, PROFILE)
    assert known(heir.teller) == known(whole.teller)


async def test_a_snapshot_that_does_not_fit_is_left_and_said_so(
    warehouse: Warehouse, calibrated: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = Watch(warehouse, calibrated)
    await whole.run(told()[:110])
    async with warehouse.as_tenant(calibrated) as db:
        await snapshots.save(calibrated, db, NAME, ended(100), b"of something else")
    heir = Watch(warehouse, calibrated)
    with caplog.at_level(logging.WARNING, "tonewatch.watch"):
        await heir.tick(110, [])
    assert "followed anew, from the samples that are stored" in caplog.text
    whole.teller.tick(ended(110), PLATFORM, PROFILE)
    assert known(heir.teller) == known(whole.teller)


async def test_it_is_kept_every_few_minutes_right_after_a_tick(warehouse: Warehouse, calibrated: str) -> None:
    watch = Watch(warehouse, calibrated)
    due = int(SAVED_EVERY / TICK)
    await watch.run(told()[:due])
    async with warehouse.as_tenant(calibrated) as db:
        assert await snapshots.load(calibrated, db, NAME) is None
    await watch.tick(due, [])
    async with warehouse.as_tenant(calibrated) as db:
        kept = await snapshots.load(calibrated, db, NAME)
    assert kept == (ended(due), snapshot(watch.teller))


async def test_a_warehouse_that_is_away_when_it_is_kept_loses_nothing(warehouse: Warehouse, calibrated: str) -> None:
    watch = Watch(warehouse, calibrated)
    await watch.run(told()[:10])
    away = Warehouse("postgresql+psycopg://nobody:none@127.0.0.1:9/none")
    watch.following.warehouse = away
    with pytest.raises(WarehouseAway):
        await watch.following.keep()
    await away.close()
    watch.following.warehouse = warehouse
    await watch.run(told()[10:12], 10)
    await watch.following.keep()
    async with warehouse.as_tenant(calibrated) as db:
        kept = await snapshots.load(calibrated, db, NAME)
    assert kept is not None
    assert kept[0] == ended(11)


async def test_a_long_past_is_played_a_little_in_each_tick(warehouse: Warehouse, calibrated: str) -> None:
    """While the past is not caught up with the ticks go on, and nothing is told."""

    class Slow(ManualClock):
        """Every look at it takes a second."""

        def monotonic(self) -> float:
            self.advance_monotonic = getattr(self, "advance_monotonic", 0.0) + 1.0
            return self.advance_monotonic

    ticks = told()
    whole = Watch(warehouse, calibrated)
    await whole.run(ticks[:60])
    heir = Watch(warehouse, calibrated)
    heir.following.clock = Slow(START)
    caught = []
    for number in range(60, 68):
        await heir.tick(number, ticks[number])
        caught.append(heir.state.teller is not None)
    assert caught[0] is False
    assert caught[-1] is True
    await whole.run(ticks[60:68], 60)  # the same samples once more: repeats
    assert known(heir.teller) == known(whole.teller)


CALM_TICKS = 2 * LEAST_ROUNDS + 300


async def stretch_of(warehouse: Warehouse, tenant: str, count: int, outliers: bool = True) -> Stretch:
    """Calm lags in the warehouse, as a watcher has stored them."""
    values = noise(2, count, seed=7)
    if outliers:
        values[:, 1500::97] += 4.0
    stored = [each for some in sampled(LAG, values) for each in some]
    stored += [Sample(TICKED, ended(number), TICK) for number in range(count)]
    async with warehouse.as_tenant(tenant) as db:
        await samples.append(tenant, db, stored)
    return Stretch(tenant, START, ended(count - 1), PROFILE)


async def learned(warehouse: Warehouse, tenant: str, count: int = CALM_TICKS) -> tuple[Stretch, SeriesLesson]:
    stretch = await stretch_of(warehouse, tenant, count)
    return stretch, await learn_series(warehouse, stretch, PLATFORM)


async def test_training_sets_the_thresholds_by_which_the_watcher_then_judges(warehouse: Warehouse, tenant: str) -> None:
    stretch, lesson = await learned(warehouse, tenant)
    assert lesson.ready() == ["series:lag_seconds"]
    assert list(lesson.silent()) == [COURSE]
    assert lesson.silent()[COURSE].endswith("what other platforms' calm has shown")
    assert lesson.rounds == CALM_TICKS
    calibration = calibrated_together([], lesson, PLATFORM, stretch, families=0, seed=1)
    (row,) = rows_of(stretch, calibration, fit("x").version, at(0))
    assert 0 < row.highest < row.threshold < 1
    async with warehouse.as_tenant(tenant) as db:
        await calibrations.put(tenant, db, [row])
    watch = Watch(warehouse, tenant)
    values = noise(2, 60, seed=8)
    values[0, 20:] += 40.0
    found = await watch.run(sampled(LAG, values, CALM_TICKS), CALM_TICKS)
    assert [number for number, each in enumerate(found) if each] == [20 + RUN - 1]


async def test_the_same_stretch_gives_the_same_lesson(warehouse: Warehouse, tenant: str) -> None:
    stretch, lesson = await learned(warehouse, tenant, 300)
    again = await learn_series(warehouse, stretch, PLATFORM)
    assert again.data_hash == lesson.data_hash
    np.testing.assert_array_equal(again.scores, lesson.scores)
    assert again.scores.shape == (2, len(stretch.ends(stretch.middle, stretch.end)))


async def test_a_family_with_too_little_calm_has_no_threshold_and_says_why(warehouse: Warehouse, tenant: str) -> None:
    _, lesson = await learned(warehouse, tenant, 300)
    assert lesson.ready() == []
    assert lesson.silent()["series:lag_seconds"].startswith(f"judged in 150 rounds of calm; {LEAST_ROUNDS} are needed")
    assert lesson.calm({name.entity: 0 for name in lesson.names}) == {}


async def test_what_announced_work_explains_is_no_calm(warehouse: Warehouse, tenant: str) -> None:
    stretch = await stretch_of(warehouse, tenant, 300)
    work = Change("c", "maintenance", LAG[0].entity, at(1_000), at(1_200), "somebody", "work")
    async with warehouse.as_tenant(tenant) as db:
        await changes.save(tenant, db, [work])
    lesson = await learn_series(warehouse, stretch, PLATFORM)
    windows = stretch.ends(stretch.middle, stretch.end)
    within = [at(1_000) - timedelta(seconds=15) <= each < at(1_200) + timedelta(seconds=15) for each in windows]
    row = lesson.names.index(LAG[0])
    assert lesson.disturbed[row].tolist() == within
    assert not lesson.disturbed[1 - row].any()


async def test_what_was_a_real_incident_is_no_calm(warehouse: Warehouse, tenant: str) -> None:
    stretch = await stretch_of(warehouse, tenant, 2_400)
    onset, end = at(10_000).timestamp(), at(10_100).timestamp()
    lesson = await learn_series(warehouse, replace(stretch, real=[(onset, end)]), PLATFORM)
    windows = stretch.ends(stretch.middle, stretch.end)
    within = [onset - BEFORE_SECONDS <= each.timestamp() <= end + AFTER_SECONDS for each in windows]
    assert 0 < sum(within) < len(within)
    assert [row.tolist() for row in lesson.disturbed] == [within] * 2
    whole = await learn_series(warehouse, stretch, PLATFORM)
    assert not whole.disturbed.any()
    np.testing.assert_array_equal(whole.scores, lesson.scores)

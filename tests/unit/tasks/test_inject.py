from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ml.gate import SHAPES
from tasks.inject import LEAST_SAMPLES, STRONGEST, WEAKEST, Anomaly, Shape, drawn, inject, movable
from tonewatch.errors import ModelError
from tonewatch.records import Sample, Series, SeriesKind

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LAG = Series("component:a", "lag_seconds")
FRAMES = Series("component:a", "frames_total", kind=SeriesKind.COUNTER)
OTHER = Series("component:b", "lag_seconds")


def samples(count: int = 100) -> list[Sample]:
    chance = np.random.default_rng(1)
    lag, other = chance.normal(0.3, 0.05, (2, count))
    frames = np.cumsum(chance.poisson(50, count)).astype(float)
    frames[60:] -= frames[59]  # it began again
    return [
        Sample(series, NOON + number * SECOND, float(values[number]))
        for number in range(count)
        for series, values in ((LAG, lag), (FRAMES, frames), (OTHER, other))
    ]


def anomaly(shape: Shape, metric: str = "lag_seconds", amplitude: float = 10.0) -> Anomaly:
    return Anomaly("x", "component:a", metric, shape, NOON + 20 * SECOND, NOON + 50 * SECOND, amplitude, 7)


def values(told: list[Sample], series: Series) -> np.ndarray:
    return np.array([each.value for each in sorted(told, key=lambda each: each.time) if each.series == series])


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("metric", ["lag_seconds", "frames_total"])
def test_the_original_is_untouched_and_so_is_all_that_lies_outside(shape: Shape, metric: str) -> None:
    live = samples()
    before = list(live)
    copy = inject(live, anomaly(shape, metric))
    assert all(one is other for one, other in zip(live, before, strict=True))
    assert copy is not live
    moved = {(each.series, each.time) for each in set(live) ^ set(copy)}
    assert moved
    assert {series.metric for series, _ in moved} == {metric}
    assert {series.entity for series, _ in moved} == {"component:a"}
    assert min(time for _, time in moved) >= NOON + 20 * SECOND
    if metric == "lag_seconds":
        assert max(time for _, time in moved) < NOON + 50 * SECOND


@pytest.mark.parametrize("shape", Shape)
def test_the_same_anomaly_gives_the_same_copy_whatever_the_order(shape: Shape) -> None:
    assert inject(samples(), anomaly(shape)) == inject(samples(), anomaly(shape))
    assert set(inject(samples()[::-1], anomaly(shape))) == set(inject(samples(), anomaly(shape)))


def test_an_amplitude_counts_in_the_series_own_robust_spread() -> None:
    moved = values(inject(samples(), anomaly(Shape.SHIFT)), LAG) - values(samples(), LAG)
    spread = 1.4826 * np.median(np.abs(values(samples(), LAG) - np.median(values(samples(), LAG))))
    assert moved[20:50] == pytest.approx(10 * spread)
    assert not moved[:20].any()
    assert not moved[50:].any()


def test_the_shapes_are_what_their_names_say() -> None:
    live = values(samples(), LAG)
    drift = values(inject(samples(), anomaly(Shape.DRIFT)), LAG) - live
    assert (np.diff(drift[20:50]) > 0).all()
    tossed = values(inject(samples(), anomaly(Shape.VARIANCE)), LAG)
    assert tossed[20:50].std() > 3 * live[20:50].std()


def test_what_is_injected_live_has_the_shapes_of_the_offline_gate() -> None:
    assert [str(shape) for shape in Shape] == list(SHAPES)


def test_a_counter_still_only_counts_and_begins_again_where_it_did() -> None:
    for amplitude in (10.0, -500.0):
        changed = values(inject(samples(), anomaly(Shape.SHIFT, "frames_total", amplitude)), FRAMES)
        live = values(samples(), FRAMES)
        assert np.flatnonzero(np.diff(changed) < 0).tolist() == [59]
        assert changed[60:] == pytest.approx(live[60:])
        assert np.diff(changed)[50:59] == pytest.approx(np.diff(live)[50:59])
        assert (np.sign(np.diff(changed)[19:49] - np.diff(live)[19:49]) == np.sign(amplitude)).all()
    stopped = values(inject(samples(), anomaly(Shape.SHIFT, "frames_total", -500.0)), FRAMES)
    assert not np.diff(stopped)[20:49].any()


def test_a_level_that_was_never_below_0_goes_up_where_it_has_no_room_below() -> None:
    for shape in (Shape.SHIFT, Shape.DRIFT):
        changed = values(inject(samples(), anomaly(shape, amplitude=-20.0)), LAG)
        assert changed[20:50].mean() > values(samples(), LAG)[20:50].mean()
    assert values(inject(samples(), anomaly(Shape.VARIANCE, amplitude=-20.0)), LAG).min() == 0.0
    room = values(inject(samples(), anomaly(Shape.SHIFT, amplitude=-3.0)), LAG)[20:50]
    assert room.mean() < values(samples(), LAG)[20:50].mean()


def candidates() -> dict[str, list[str]]:
    return movable(samples())


def drawn_for(tenant: str, seed: int, hours: int = 6) -> list[Anomaly]:
    room = timedelta(hours=1)
    return drawn(tenant, seed, candidates(), NOON, NOON + hours * room, every=room, length=timedelta(minutes=10))


def test_what_is_injected_follows_from_seed_and_tenant_alone() -> None:
    assert drawn_for("kiwi", 1) == drawn_for("kiwi", 1)
    assert drawn_for("kiwi", 1) != drawn_for("kiwi", 2)
    assert drawn_for("kiwi", 1) != drawn_for("plum", 1)
    assert drawn_for("kiwi", 1)[:3] == drawn_for("kiwi", 1, hours=3)


def test_each_anomaly_has_its_own_hour_and_lies_whole_in_it() -> None:
    told = drawn_for("kiwi", 3, hours=200)
    assert len({each.id for each in told}) == 200
    for number, each in enumerate(told):
        assert NOON + number * timedelta(hours=1) <= each.start
        assert each.end - each.start == timedelta(minutes=10)
        assert each.end <= NOON + (number + 1) * timedelta(hours=1)
        assert WEAKEST <= abs(each.amplitude) <= STRONGEST
    assert {each.shape for each in told} == set(Shape)
    assert {each.entity for each in told} == {"component:a", "component:b"}


def test_an_anomaly_moves_one_metric_or_any_number_of_the_entity_s() -> None:
    told = [each for each in drawn_for("kiwi", 3, hours=200) if each.entity == "component:a"]
    moved = {frozenset({each.metric, *each.also}) for each in told}
    assert moved == {frozenset({LAG.metric}), frozenset({FRAMES.metric}), frozenset({LAG.metric, FRAMES.metric})}
    assert all(each.metric not in each.also for each in told)
    assert not any(each.also for each in drawn_for("kiwi", 3, hours=200) if each.entity == "component:b"), "has one"


def test_what_an_anomaly_moves_beside_its_metric_goes_as_far_up_or_down() -> None:
    ways = set()
    for seed in range(20):
        both = replace(anomaly(Shape.SHIFT, "frames_total"), also=(LAG.metric,), amplitude=3.0, seed=seed)
        told = inject(samples(), both)
        by = (values(told, LAG) - values(samples(), LAG))[20:50]
        alone = (values(inject(samples(), anomaly(Shape.SHIFT, amplitude=3.0)), LAG) - values(samples(), LAG))[20:50]
        assert np.abs(by) == pytest.approx(np.abs(alone))
        ways.add(bool(by[0] > 0))
        only = replace(both, also=())
        assert values(told, FRAMES).tolist() == values(inject(samples(), only), FRAMES).tolist()
    assert ways == {True, False}


def test_what_never_changes_or_was_hardly_seen_is_not_moved() -> None:
    flat = [Sample(Series("component:c", "up"), NOON + number * SECOND, 1.0) for number in range(50)]
    few = [Sample(Series("component:d", "lag"), NOON + number * SECOND, float(number)) for number in range(9)]
    assert len(few) < LEAST_SAMPLES
    assert movable([*flat, *few]) == {}
    assert drawn("kiwi", 1, {}, NOON, NOON + timedelta(hours=5), every=timedelta(hours=1), length=SECOND) == []


def test_an_anomaly_longer_than_its_room_is_refused() -> None:
    with pytest.raises(ModelError, match="shorter"):
        drawn("kiwi", 1, {}, NOON, NOON, every=SECOND, length=2 * SECOND)

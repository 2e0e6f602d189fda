from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.sound import ClippingMeter, SilenceMeter, balance_db, correlation

RATE = 1000


def loud(seconds: float) -> np.ndarray:
    return np.full((round(seconds * RATE), 2), 0.1, dtype=np.float32)


def quiet(seconds: float, level: float = 0.0) -> np.ndarray:
    return np.full((round(seconds * RATE), 2), level, dtype=np.float32)


def test_silence_runs_on_over_blocks() -> None:
    meter = SilenceMeter()
    at = 100.0
    for block in (loud(1), np.concatenate([loud(0.5), quiet(0.5)]), quiet(1), quiet(1, 0.0009)):
        meter.push(at, block, RATE)
        at += len(block) / RATE
    assert meter.seconds == pytest.approx(2.5)
    assert meter.since == pytest.approx(101.5)


def test_sound_ends_silence_and_the_longest_is_kept() -> None:
    meter = SilenceMeter()
    meter.push(0.0, np.concatenate([quiet(3), loud(0.1), quiet(1)]), RATE)
    assert meter.seconds == pytest.approx(1.0)
    assert meter.longest == pytest.approx(3.0)
    meter.push(4.1, loud(1), RATE)
    assert meter.seconds == 0.0


def test_one_channel_with_sound_is_no_silence() -> None:
    meter = SilenceMeter()
    block = quiet(2)
    block[:, 1] = 0.1
    meter.push(0.0, block, RATE)
    assert meter.seconds == 0.0


def test_a_part_that_was_not_heard_begins_a_new_silence() -> None:
    meter = SilenceMeter()
    meter.push(0.0, quiet(2), RATE)
    meter.push(8.0, quiet(2), RATE)
    assert meter.seconds == pytest.approx(2.0)


def test_a_part_left_out_on_purpose_is_bridged() -> None:
    meter = SilenceMeter(bridge_s=6.0)
    meter.push(0.0, quiet(2), RATE)
    meter.push(8.0, quiet(2), RATE)
    assert meter.seconds == pytest.approx(10.0)


def test_a_clock_that_goes_back_begins_a_new_silence() -> None:
    meter = SilenceMeter()
    meter.push(100.0, quiet(2), RATE)
    meter.push(50.0, quiet(2), RATE)
    assert meter.seconds == pytest.approx(2.0)


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.tuples(st.booleans(), st.integers(1, 400)), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 3000), max_size=8),
)
def test_silence_and_clipping_do_not_depend_on_the_cutting(parts: list[tuple[bool, int]], cuts: list[int]) -> None:
    sound = np.concatenate([np.full((count, 2), 1.0 if full else 0.0, dtype=np.float32) for full, count in parts])
    whole, cut, tops, cut_tops = SilenceMeter(), SilenceMeter(), ClippingMeter(), ClippingMeter()
    whole.push(0.0, sound, RATE)
    tops.push(sound)
    at = 0
    for block in np.split(sound, sorted(min(cut_at, len(sound)) for cut_at in cuts)):
        cut.push(at / RATE, block, RATE)
        cut_tops.push(block)
        at += len(block)
    assert (cut.seconds, cut.longest) == (pytest.approx(whole.seconds), pytest.approx(whole.longest))
    assert cut_tops.runs == tops.runs


def test_flat_tops_of_four_samples_are_clipping_and_three_are_not() -> None:
    meter = ClippingMeter()
    block = np.zeros((100, 2), dtype=np.float32)
    block[10:14, 0] = 1.0
    block[30:33, 1] = -1.0
    block[50:60, 1] = -0.9995
    assert meter.push(block) == 2
    assert meter.runs == 2


def test_a_flat_top_over_two_blocks_counts_once() -> None:
    meter = ClippingMeter()
    block = np.zeros((10, 1), dtype=np.float32)
    block[7:] = 1.0
    assert meter.push(block) == 0
    assert meter.push(block[::-1]) == 1
    assert meter.runs == 1


def test_an_inverted_channel_has_a_correlation_of_minus_one() -> None:
    left = np.random.default_rng(1).standard_normal(RATE)
    assert correlation(np.column_stack([left, -left])) == pytest.approx(-1.0)
    assert correlation(np.column_stack([left, left])) == pytest.approx(1.0)


def test_a_channel_30_db_down_is_seen_in_the_balance() -> None:
    left = np.random.default_rng(1).standard_normal(RATE)
    assert balance_db(np.column_stack([left, left * 10 ** (-30 / 20)])) == pytest.approx(30.0)


def test_a_dead_channel_has_a_finite_balance() -> None:
    assert balance_db(np.column_stack([np.zeros(RATE), np.ones(RATE)])) == pytest.approx(-96.0)


@pytest.mark.parametrize("samples", [np.zeros((RATE, 2)), np.ones((RATE, 1)), np.zeros((0, 2))])
def test_without_a_pair_or_sound_there_is_no_balance(samples: np.ndarray) -> None:
    assert balance_db(samples) is None
    assert correlation(samples) is None

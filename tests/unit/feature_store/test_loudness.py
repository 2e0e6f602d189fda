"""EBU Tech 3341 (V4) and Tech 3342 cases that can be generated; 7, 8 and the two programmes of 3342 are recordings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from feature_store.loudness import FLOOR, LoudnessMeter

RATE = 48_000
Part = tuple[float | None, float]  # dBFS (None: silence), seconds


def sine(dbfs: float | None, seconds: float, rate: int = RATE) -> np.ndarray:
    at = np.arange(round(seconds * rate)) / rate
    level = 0.0 if dbfs is None else 10 ** (dbfs / 20)
    return level * np.sin(2 * np.pi * 1000 * at)


def programme(parts: list[Part], rate: int = RATE) -> np.ndarray:
    one = np.concatenate([sine(*part, rate) for part in parts])
    return np.column_stack([one, one])


def measured(parts: list[Part], rate: int = RATE) -> LoudnessMeter:
    meter = LoudnessMeter(rate, 2)
    meter.push(programme(parts, rate))
    return meter


@pytest.mark.parametrize("rate", [22_050, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize(("case", "level"), [(1, -23.0), (2, -33.0)])
def test_a_steady_tone_reads_its_level(case: int, level: float, rate: int) -> None:
    meter = measured([(level, 20)], rate)
    for value in (meter.momentary, meter.short_term, meter.integrated):
        assert value == pytest.approx(level, abs=0.1)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([(-36, 10), (-23, 60), (-36, 10)], id="case 3"),
        pytest.param([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], id="case 4"),
        pytest.param([(-26, 20), (-20, 20.1), (-26, 20)], id="case 5"),
    ],
)
def test_integrated_loudness_is_gated(parts: list[Part]) -> None:
    assert measured(parts).integrated == pytest.approx(-23.0, abs=0.1)


def test_surround_channels_are_weighted_as_in_case_6() -> None:
    meter = LoudnessMeter(RATE, 5)
    meter.push(np.column_stack([sine(level, 20) for level in (-28, -28, -24, -30, -30)]))
    assert meter.integrated == pytest.approx(-23.0, abs=0.1)


def test_the_lfe_of_six_channels_is_not_heard() -> None:
    meter = LoudnessMeter(RATE, 6)
    meter.push(np.column_stack([sine(level, 20) for level in (-28, -28, -24, 0, -30, -30)]))
    assert meter.integrated == pytest.approx(-23.0, abs=0.1)


def test_short_term_is_constant_in_case_9() -> None:
    sound = programme([(-20, 1.34), (-30, 1.66)] * 5)
    assert_constant(sound, "short_term", after=3.0)


def test_momentary_is_constant_in_case_12() -> None:
    sound = programme([(-20, 0.18), (-30, 0.22)] * 25)
    assert_constant(sound, "momentary", after=1.0)


def assert_constant(sound: np.ndarray, name: str, after: float) -> None:
    meter = LoudnessMeter(RATE, 2)
    for start in range(0, len(sound), RATE // 100):
        meter.push(sound[start : start + RATE // 100])
        if meter.seconds > after:
            assert getattr(meter, name) == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize("i", range(20))
def test_short_term_catches_a_tone_of_3_s_at_any_offset_as_in_case_10(i: int) -> None:
    assert measured([(None, i * 0.15), (-23, 3), (None, 1)]).max_short_term == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize("i", range(20))
def test_momentary_catches_a_tone_of_400_ms_at_any_offset_as_in_case_13(i: int) -> None:
    assert measured([(None, i * 0.02), (-23, 0.4), (None, 1)]).max_momentary == pytest.approx(-23.0, abs=0.1)


def test_short_term_follows_rising_tones_in_case_11() -> None:
    meter = LoudnessMeter(RATE, 2)
    for i in range(20):
        meter.push(programme([(None, i * 0.15), (-38 + i, 3), (None, 3 - i * 0.15)]))
        assert meter.max_short_term == pytest.approx(-38 + i, abs=0.1)


def test_momentary_follows_rising_tones_in_case_14() -> None:
    meter = LoudnessMeter(RATE, 2)
    for i in range(20):
        meter.push(programme([(None, i * 0.02), (-38 + i, 0.4), (None, 0.4 - i * 0.02)]))
        assert meter.max_momentary == pytest.approx(-38 + i, abs=0.1)


@pytest.mark.parametrize(
    ("level", "phase", "expected"),
    [(0.5, 0, -6.0), (0.5, 45, -6.0), (0.5, 60, -6.0), (0.5, 67.5, -6.0), (1.41, 45, 3.0)],
    ids=["case 15", "case 16", "case 17", "case 18", "case 19"],
)
def test_true_peak_lies_between_the_samples(level: float, phase: float, expected: float) -> None:
    at = np.arange(RATE)
    fade = np.minimum(1.0, np.minimum(at, at[::-1]) / (0.05 * RATE))
    tone = level * fade * np.sin(np.pi / 2 * at + np.radians(phase))
    assert_true_peak(np.column_stack([tone, tone]), expected)


@pytest.mark.parametrize("offset", range(4), ids=["case 20", "case 21", "case 22", "case 23"])
def test_true_peak_of_a_decimated_burst_is_found(offset: int) -> None:
    at = np.arange(4 * RATE // 10)
    quiet = 0.5 * np.sin(2 * np.pi * at / 24)  # fs / 6, made at four times the rate
    middle = slice(len(at) // 2 // 24 * 24, len(at) // 2 // 24 * 24 + 24)
    quiet[middle] *= 2.0
    low_passed = signal.sosfiltfilt(signal.butter(12, 0.22, output="sos"), quiet)
    low_passed /= np.abs(low_passed).max()
    assert_true_peak(low_passed[offset::4][:, None].repeat(2, axis=1), 0.0)


def assert_true_peak(sound: np.ndarray, expected: float) -> None:
    meter = LoudnessMeter(RATE, 2, true_peak=True)
    for block in np.array_split(sound, 7):
        meter.push(block)
    assert expected - 0.4 <= meter.true_peak <= expected + 0.2


@pytest.mark.parametrize(
    ("levels", "expected"),
    [((-20, -30), 10), ((-20, -15), 5), ((-40, -20), 20), ((-50, -35, -20, -35, -50), 15)],
    ids=["3342 case 1", "3342 case 2", "3342 case 3", "3342 case 4"],
)
def test_loudness_range_is_that_of_tech_3342(levels: tuple[float, ...], expected: float) -> None:
    assert measured([(level, 20) for level in levels]).range == pytest.approx(expected, abs=1.0)


NOISE = (
    np.random.default_rng(7).standard_normal((2 * 8_000 * 5, 2))
    * np.repeat([0.2, 1e-5, 0.9, 0.02, 0.2], 16_000)[:, None]
)


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, len(NOISE)), max_size=12),
    rate=st.sampled_from([8_000, 11_025, 22_050]),
)
def test_any_cutting_into_blocks_measures_the_same(cuts: list[int], rate: int) -> None:
    whole, cut = (LoudnessMeter(rate, 2, true_peak=True) for _ in range(2))
    whole.push(NOISE)
    for block in np.split(NOISE, sorted(cuts)):
        cut.push(block)
    names = ("momentary", "short_term", "integrated", "range", "max_momentary", "max_short_term", "seconds")
    for name in names:
        assert getattr(cut, name) == pytest.approx(getattr(whole, name), abs=1e-6), name
    assert cut.true_peak == pytest.approx(whole.true_peak, abs=1e-9)


def test_silence_has_a_finite_loudness() -> None:
    meter = LoudnessMeter(RATE, 2, true_peak=True)
    meter.push(np.zeros((RATE * 4, 2)))
    values = (meter.momentary, meter.short_term, meter.integrated, meter.true_peak, meter.latest)
    assert values == (FLOOR,) * 5
    assert meter.range == 0.0


def test_quiet_after_loud_is_not_veiled_by_what_was_loud() -> None:
    meter = LoudnessMeter(RATE, 2)
    meter.push(programme([(0, 5), (-69, 5)]))
    assert meter.momentary == pytest.approx(-69.0, abs=0.1)


def test_less_sound_than_a_window_has_no_loudness_yet() -> None:
    assert measured([(-23, 0.39)]).momentary == FLOOR
    assert measured([(-23, 2.9)]).short_term == FLOOR

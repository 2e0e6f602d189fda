"""The filters against SciPy's, which goes sample by sample."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from feature_store.filters import Cascade, low_pass, oversampled
from feature_store.loudness import k_weighting


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("cuts", [[], [1], [255, 256, 257, 1000], list(range(37, 5000, 37))])
def test_a_cascade_filters_as_scipy_does_however_the_sound_is_cut(rate: int, cuts: list[int]) -> None:
    sound = np.random.default_rng(rate).standard_normal((5000, 2))
    sections = k_weighting(rate)
    cascade = Cascade(sections, 2)
    told = np.concatenate([cascade.push(piece) for piece in np.split(sound, cuts)])
    np.testing.assert_allclose(told, signal.sosfilt(sections, sound, axis=0), rtol=0, atol=1e-11)


def test_a_cascade_stays_exact_over_minutes() -> None:
    sound = np.random.default_rng(1).standard_normal((48_000 * 60, 1))
    sections = k_weighting(48_000)
    told = Cascade(sections, 1).push(sound)
    np.testing.assert_allclose(told, signal.sosfilt(sections, sound, axis=0), rtol=0, atol=1e-9)


def test_taps_and_oversampling_are_scipys() -> None:
    taps = low_pass(96, 0.25, 6.0)
    np.testing.assert_allclose(taps, signal.firwin(96, 0.25, window=("kaiser", 6.0)), rtol=0, atol=1e-15)
    block = np.random.default_rng(2).standard_normal((500, 2))
    phases = oversampled(taps, block, 4)
    assert phases.shape == (4, 476, 2)
    whole = signal.upfirdn(taps, block, up=4, axis=0)[4 * 24 : 4 * 500]
    np.testing.assert_allclose(phases.transpose(1, 0, 2).reshape(-1, 2), whole, rtol=0, atol=1e-12)


def test_a_block_that_is_shorter_than_the_filter_gives_nothing() -> None:
    assert oversampled(low_pass(96, 0.25, 6.0), np.zeros((20, 2)), 4).size == 0

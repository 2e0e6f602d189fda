from __future__ import annotations

import numpy as np

from ml.detectors import memory
from ml.detectors.memory import INWARD, KNOWN, NARROWEST, OUTWARD, SAME, TINY, UNITS
from ml.detectors.stream import Floats, StreamState


def naive(numbers: Floats) -> list[tuple[float, float]]:
    """The same for one series and one look, a number after the other: distance and nearest of each."""
    known: dict[float, int] = {}
    centre = low = high = float(numbers[0])
    told = []
    for seen, number in enumerate(numbers):
        wide = max(high - low, NARROWEST * abs(centre) + float(TINY))
        here = np.arcsinh((number - centre) / wide) * UNITS
        apart = [(abs(np.arcsinh((each - centre) / wide) * UNITS - here), each) for each in known]
        distance, nearest = min(apart) if apart else (0.0, np.nan)
        told.append((distance, nearest))
        if not known or distance > SAME:
            if len(known) == KNOWN:
                del known[min(known, key=lambda each: known[each])]
            known[number] = seen
        else:
            known[nearest] = seen
        share = 1.0 / max(seen + 1, 1)
        outward = max(share, OUTWARD)
        over, under, middle = number - high, low - number, centre
        centre += max(share, INWARD) * (np.clip(number, low - wide, high + wide) - middle)
        high += outward * over if over > 0 else -INWARD * (high - middle)
        low += -outward * under if under > 0 else INWARD * (middle - low)
    return told


def test_the_memory_is_as_told_by_a_naive_one() -> None:
    """300 numbers in reach of each other, and far more distinct ones than are kept."""
    chance = np.random.default_rng(2)
    numbers = np.concatenate([chance.normal(50.0, 3.0, 200), chance.normal(50.0, 3.0, 100) * 1.2 ** np.arange(100)])
    state = StreamState(memory.begin(1, 1))
    found = [memory.novelty(state, np.array([[number]], np.float32)) for number in numbers]
    expected = naive(numbers.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose([float(one[0, 0]) for one, _ in found], [one for one, _ in expected], atol=0.02)
    np.testing.assert_allclose([float(one[0, 0]) for _, one in found], [one for _, one in expected], rtol=1e-5)
    assert (state.arrays["used"] >= 0).all()  # the memory was full


def test_looks_and_series_do_not_touch_one_another() -> None:
    chance = np.random.default_rng(3)
    numbers = chance.normal(0.0, 1.0, (40, 5, 3)).astype(np.float32)
    numbers[chance.random(numbers.shape) < 0.2] = np.nan
    together = StreamState(memory.begin(5, 3))
    told = [memory.novelty(together, each.copy())[0] for each in numbers]
    for series in range(5):
        alone = StreamState(memory.begin(1, 3))
        for each, expected in zip(numbers, told, strict=True):
            found = memory.novelty(alone, each[series : series + 1].copy())[0]
            np.testing.assert_array_equal(found[0], expected[series])


def test_known_numbers_lie_in_order() -> None:
    state = StreamState(memory.begin(1, 1))
    for number in np.random.default_rng(4).normal(0.0, 100.0, 300):
        memory.novelty(state, np.array([[number]], np.float32))
    known = state.arrays["known"][0, 0]
    assert np.isfinite(known).sum() > 20
    np.testing.assert_array_equal(known, np.sort(known))

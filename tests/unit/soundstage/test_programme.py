from __future__ import annotations

import numpy as np
import pytest

from soundstage.plan import RATE
from soundstage.programme import ITEM_S, Programme
from soundstage.source import dbfs


def test_programme_of_one_seed_is_the_same_however_it_is_cut() -> None:
    whole = Programme(3).render(100_000, 50_000)
    other = Programme(3)
    other.render(0, 10)
    assert np.array_equal(np.concatenate([other.render(100_000, 20_000), other.render(120_000, 30_000)]), whole)


def test_programme_of_another_seed_is_another() -> None:
    assert not np.array_equal(Programme(3).render(0, 5_000), Programme(4).render(0, 5_000))


def test_programme_has_all_kinds_of_material_and_is_never_silent_or_clipped() -> None:
    programme = Programme(1)
    first_of = {programme.kind(slot): slot for slot in reversed(range(20))}
    assert set(first_of) == {"Music", "Speech", "Ambience"}
    for slot in first_of.values():
        samples = programme.render(slot * ITEM_S * RATE, ITEM_S * RATE)
        assert -26 < dbfs(samples) < -16
        assert np.max(np.abs(samples)) < 0.9
        blocks = np.abs(samples).reshape(-1, RATE // 10, 2).max(axis=(1, 2)) < 10 ** (-60 / 20)
        assert not blocks.any(), "a tenth of a second of silence would be no programme"


def test_programme_goes_on_over_an_item_boundary() -> None:
    programme = Programme(2)
    boundary = ITEM_S * RATE
    around = programme.render(boundary - 1_000, 2_000)
    assert around.shape == (2_000, 2)
    assert np.max(np.abs(np.diff(around, axis=0))) < 0.5


def test_level_of_digital_silence_is_a_number() -> None:
    assert dbfs(np.zeros((100, 2), np.float32)) == pytest.approx(-120.0)


def test_quiet_passage_is_music_at_a_low_level_and_the_same_from_both_sources() -> None:
    primary, backup, untouched = Programme(1_000), Programme(1_000), Programme(1_000)
    begin, end = 7 * RATE, 32 * RATE
    for programme in (primary, backup):
        programme.quieten(begin, end)
    levels = []
    for start in range(0, 40 * RATE, RATE // 4):
        samples = primary.render(start, RATE // 4)
        assert np.array_equal(samples, backup.render(start, RATE // 4))
        if begin + RATE <= start < end - RATE - RATE // 4:
            levels.append(dbfs(samples))
        elif start + RATE // 4 <= begin or start >= end:
            assert np.array_equal(samples, untouched.render(start, RATE // 4))
    assert min(levels) > -50
    assert max(levels) < -44
    assert -48 < float(np.mean(levels)) < -46

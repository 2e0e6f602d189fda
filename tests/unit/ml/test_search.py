"""Which settings are tried, and which are taken: the defaults, unless chance cannot explain that others find more."""

from __future__ import annotations

import numpy as np
import pytest

from feature_store.definitions import floors, names
from ml.kinds import kind_of, kinds
from ml.search import Trial, candidates, chosen


def found(count: int, first: int = 0) -> np.ndarray:
    return (np.arange(120) >= first) & (np.arange(120) < first + count)


def test_the_defaults_are_tried_first_and_fewer_trials_are_the_first_of_more() -> None:
    space = {"trees": (100, 300), "samples": (256, 64, 1024)}
    every = candidates(space, 99, 3)
    assert every[0] == {"trees": 100, "samples": 256}
    assert len(every) == 6
    assert len({str(sorted(each.items())) for each in every}) == 6
    assert candidates(space, 4, 3) == every[:4]
    assert candidates(space, 1, 3) == every[:1]
    assert candidates(space, 99, 4) != every
    assert candidates({}, 5, 0) == [{}]


def test_another_is_taken_only_where_it_finds_more_than_chance_would_have_it() -> None:
    default = Trial({"trees": 100}, found(40))
    little, clear = Trial({"trees": 200}, found(43)), Trial({"trees": 300}, found(60))
    assert chosen([default, little]) is default
    assert chosen([default, little, clear]) is clear
    assert chosen([default, Trial({}, found(45, first=30))]) is default
    assert chosen([default, Trial({"trees": 400}, found(0), failure="too little")]) is default


def test_a_default_that_failed_is_taken_so_that_the_training_says_why() -> None:
    failed = Trial({}, np.zeros(0, np.bool_), failure="too little calm")
    assert chosen([failed, Trial({"trees": 300}, found(60))]) is failed
    assert failed.recall == 0.0


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_every_setting_of_a_kind_makes_a_detector_that_looks_back_no_farther_than_the_default(kind: str) -> None:
    made = kind_of(kind)
    if made.needs:
        pytest.importorskip(made.needs, reason="the optional group `learning` is not installed")
    every = candidates(made.space, 99, 0)
    assert len(every) > 1
    back = [made.make(names("edge"), floors("edge"), 0, **each).looks_back for each in every]
    assert max(back) == back[0]
    assert made.settings({}) == every[0]

"""NAB's score as the benchmark takes it: by hand on a small file, and as published on the whole corpus."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import _nab
from tests.benchmarks._nab import PROFILES, Floats, Labelled

DATA = Path(os.environ.get("DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
STANDARD = PROFILES["standard"]
#: 100 rows, 15 of them probation; one window of 20 rows.
SMALL = Labelled("a", np.arange(100.0), np.zeros(100), ((40, 59),))


def alarms(*rows: int) -> dict[str, Floats]:
    scores = np.zeros(100)
    scores[list(rows)] = 0.8
    return {"a": scores}


def at(threshold: float, *rows: int) -> float:
    return _nab.fixed([SMALL], alarms(*rows), STANDARD, threshold)


def test_nothing_found_is_0_and_the_first_row_of_the_window_is_100() -> None:
    assert at(0.5) == 0.0
    assert at(0.5, 40) == pytest.approx(100.0)
    assert at(0.9, 40) == 0.0


def test_a_window_counts_once_by_its_best_row() -> None:
    assert at(0.5, 41, 50, 59) == at(0.5, 41)
    assert at(0.5, 59) < at(0.5, 50) < at(0.5, 41)


def test_each_false_alarm_costs_and_less_right_after_the_window() -> None:
    assert at(0.5, 20) == pytest.approx(-100 * 0.11 / 2)
    assert at(0.5, 20, 21) == pytest.approx(-100 * 0.22 / 2)
    assert at(0.5, 20) < at(0.5, 61) < 0.0
    assert at(0.5, 99) > at(0.5, 20)  # two windows' widths after it: not yet wholly strange


def test_rows_of_the_probation_are_not_scored() -> None:
    assert at(0.5, 3, 14) == 0.0
    assert at(0.5, 15) < 0.0


def test_the_best_threshold_is_one_that_leaves_false_alarms_out() -> None:
    scores = alarms(20, 21, 22)
    scores["a"][45] = 0.9
    found, threshold = _nab.official([SMALL], scores, STANDARD)
    assert threshold == 0.9
    assert found > 90.0


def test_each_half_is_scored_at_the_threshold_of_the_other() -> None:
    files = [Labelled(name, SMALL.times, SMALL.values, SMALL.windows) for name in ("a", "b")]
    scores = {"a": np.where(np.arange(100) == 40, 0.9, 0.0), "b": np.where(np.arange(100) == 40, 0.6, 0.0)}
    found, thresholds = _nab.two_folds(files, scores, STANDARD)
    assert thresholds == [0.6, 0.9]
    assert found == pytest.approx(50.0)  # 0.9 finds nothing in b


def test_a_score_that_is_missing_is_refused() -> None:
    with pytest.raises(SystemExit, match="no NaN"):
        _nab.official([SMALL], {"a": np.full(100, np.nan)}, STANDARD)


@pytest.mark.skipif(
    not (DATA / _nab.FOLDER).is_dir(), reason=f"no {_nab.FOLDER} in {DATA}: say where the data lies by DATA=folder"
)
@pytest.mark.parametrize("detector", ["ARTime", "contextOSE", "windowedGaussian"])
def test_published_scores_come_out_to_six_decimals(detector: str) -> None:
    files = _nab.load(DATA)
    expected = json.loads((DATA / _nab.FOLDER / "reference_expected.json").read_text(encoding="utf-8"))
    scores = _nab.reference(DATA, detector)
    for name, profile in PROFILES.items():
        found, threshold = _nab.official(files, scores, profile)
        assert found == pytest.approx(expected[detector]["final"][name], abs=5e-7)
        assert threshold <= 1.0
    assert _nab.official(files, _nab.clockwork(files), STANDARD)[0] == pytest.approx(25.86, abs=0.005)

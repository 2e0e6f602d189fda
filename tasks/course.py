"""A platform's course (ml/course.py) and the page budget: its calm, its threshold, and the changes it must hear of.

All series are one family: what counts of each is measured by its own days already. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ml.calibration import Calm
from ml.course import SCALED
from ml.ensemble import QUIET
from policy.grouping import BREAKING
from tasks.calibrate import Way
from tonewatch.errors import ModelError
from tonewatch.records import Change, Series

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
#: The family under which its threshold is kept.
COURSE = "course"
#: Its looks are means: one window is enough, and an episode holds on as the ensemble's do.
FOLLOWED = Way(run=1, hold=QUIET)
#: What the calm of platforms shows (simulator, seeds 101 to 106): at one page a week and 100 series no threshold is
#: below so many usual differences, and pages are e times rarer for each so many more. Two weeks of one platform's calm
#: alone would now and then promise less.
PRIOR, RARER, OF_SERIES = 9.5, 1.5, 100


def calm_of_course(
    names: Sequence[Series], scores: Floats, chains: Mapping[str, int], disturbed: Flags
) -> dict[str, Calm]:
    """The family's calm, or none where no series was judged.

    scores: (series, ticks) in [0, 1), NaN: not judged; chains: of each entity (tasks.train.chains_of); disturbed: the
    same shape, where announced work explains what is strange. Raises ModelError: other shapes.
    """
    if scores.shape != disturbed.shape or len(scores) != len(names):
        raise ModelError(f"scores of shape {scores.shape} and {disturbed.shape} for {len(names)} series")
    told = np.where(disturbed, np.nan, scores)
    if not np.isfinite(told).any():
        return {}
    groups = [chains[series.entity] for series in names]
    return {COURSE: Calm(told, np.ones(told.shape, np.bool_), groups, run=FOLLOWED.run, hold=FOLLOWED.hold)}


def least_score(series: int, pages_per_week: float) -> float:
    """The score below which no threshold of the family is set, at this budget for so many series."""
    differences = PRIOR + RARER * math.log(max(series, 1) / OF_SERIES / pages_per_week)
    return -math.expm1(-max(differences, 0.0) / SCALED)


def changed_rows(names: Sequence[Series], change: Change) -> list[int]:
    """The series whose level this change may have moved for good: those of the part that was changed."""
    if change.kind not in BREAKING:
        return []
    return [row for row, series in enumerate(names) if series.entity == change.entity]

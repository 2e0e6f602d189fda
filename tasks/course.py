"""A platform's course (ml/course.py) and the page budget: its calm, and how its scores become incidents.

All series are one family: what counts of each is measured by its own days already. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ml.calibration import Calm
from ml.ensemble import QUIET
from tasks.calibrate import Way
from tonewatch.errors import ModelError
from tonewatch.records import Series
from warehouse.calibrations import COURSE

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
#: Its looks are means: one window is enough, and an episode holds on as the ensemble's do.
FOLLOWED = Way(run=1, hold=QUIET)


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

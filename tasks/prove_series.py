"""Proving single series' thresholds: what a stretch has set takes the place of what is held, or is refused.

The detectors stay who they are, so that only the thresholds are held against one another. No incident that nobody has
settled may make them deaf: what is too shrill is eased by people's labels, never by a training (tasks/recalibrate.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ml import gate
from ml.calibration import Calibration, incidents
from tasks.calibrate_series import SeriesLesson
from tasks.prove import Verdict, allowed
from tasks.train import Stretch, budget_of, chains_of
from tonewatch.topology import Topology
from warehouse.calibrations import COURSE, SERIES, Calibrated

#: They may find so much less: of the made anomalies of a small platform another calm of it loses up to a fifth (in one
#: of 120 comparisons 28 %), and one fault in the calm all of them.
LESS = 1 / 3


def prove_series(
    lesson: SeriesLesson,
    calibration: Calibration | None,
    held: Mapping[str, Calibrated],
    platform: Topology,
    stretch: Stretch,
) -> Verdict:
    """What the gate says of all of them together, since they spend one budget. held: by family, of today's detectors.

    Refused: the stretch is hardly calm; they open more incidents on its calm than the budget allows and than those
    held; or of the anomalies in copies of that calm they find fewer. Where none could be made in it the incidents alone
    judge. A first threshold takes nobody's place.
    """
    new = _thresholds(calibration)
    if stretch.restless:
        return Verdict(False, f"it is hardly calm: {stretch.restless}")
    if not new:
        return Verdict(True, "no family had enough calm")
    old = {family: held[family].threshold if family in held else math.inf for family in new}
    pages, before = (_pages(lesson, each, platform, stretch) for each in (new, old))
    may = allowed(budget_of(stretch.profile), (stretch.end - stretch.middle).total_seconds())
    figures = {"gate_pages": pages, "gate_pages_held": before, "gate_pages_allowed": may}
    if gate.count_interval(pages)[0] > max(before, may):
        why = f"they open {pages:g} incidents on the calm, those held {before:g}; {may:.2g} are allowed"
        return Verdict(False, why, figures=figures)
    asked = [each for each in lesson.tried if each.family in new and each.family in held]
    if not asked:
        return Verdict(True, _by_pages_alone(pages, before, bool(held.keys() & new.keys())), figures=figures)
    mine, theirs = (np.array([each.score > some[each.family] for each in asked], np.bool_) for some in (new, old))
    told = f"they find {mine.sum()} of {len(asked)} made anomalies, those held {theirs.sum()}"
    figures |= {"gate_recall": float(mine.mean()), "gate_recall_held": float(theirs.mean())}
    if theirs.sum() - mine.sum() > LESS * theirs.sum() and gate.worse(mine, theirs) < gate.CHANCE:
        return Verdict(False, told, figures=figures)
    return Verdict(True, told, figures=figures)


def _by_pages_alone(pages: float, before: float, renewed: bool) -> str:
    told = f"{pages:g} incidents on the calm"
    if not renewed:
        return f"{told}; none was held before"
    return f"{told}, those held {before:g}; no anomaly could be made in it, so that nothing else was compared"


def _thresholds(calibration: Calibration | None) -> dict[str, float]:
    """Of single series and their course alone."""
    made = calibration.thresholds if calibration is not None else {}
    return {name: each.value for name, each in made.items() if name == COURSE or name.startswith(SERIES)}


def _pages(lesson: SeriesLesson, thresholds: Mapping[str, float], platform: Topology, stretch: Stretch) -> float:
    """Incidents that the thresholds open on the held-out calm."""
    calm = lesson.calm(chains_of(platform, sorted({name.entity for name in lesson.names})))
    return incidents(calm, thresholds, budget_of(stretch.profile), stretch.phases)

"""Plots what a training has seen, for MLflow's pages: calm scores beside the threshold, and what would be noticed."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
_SIZE, _DPI = (9.0, 3.6), 100
_SCORES, _LIMIT, _SHARE = "#1f6f8b", "#a3201d", "#8a929c"


def calm_scores(family: str, scores: Floats, threshold: float, low: float, high: float) -> bytes:
    """PNG: scores of the calm windows that the detector had not seen, by time, and the threshold with its interval.

    scores: (entities, windows), NaN where a window is not judged.
    """
    # Imported here: it takes half a second that a watcher does not pay.
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    by_time, spread = figure.subplots(1, 2, width_ratios=[3, 1], sharey=True)
    for line in scores:
        by_time.plot(line, ".", markersize=2, color=_SCORES, alpha=0.5)
    seen = scores[np.isfinite(scores)]
    spread.hist(seen, bins=40, orientation="horizontal", color=_SCORES)
    for axes in (by_time, spread):
        axes.axhspan(low, high, color=_LIMIT, alpha=0.1)
        axes.axhline(threshold, color=_LIMIT)
    by_time.set(title=f"{family}: calm scores and the threshold, its 90 % interval shaded", xlabel="window")
    spread.set(xlabel="windows")
    return _png(figure)


def noticed(family: str, shifts: Mapping[str, float]) -> bytes:
    """PNG: per feature the shift, in robust standard deviations, that alone would be noticed; grey: none would."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    ordered = sorted(shifts.items(), key=lambda item: item[1])
    highest = max((shift for _, shift in ordered if math.isfinite(shift)), default=1.0)
    lengths = [shift if math.isfinite(shift) else highest for _, shift in ordered]
    colours = [_SCORES if math.isfinite(shift) else _SHARE for _, shift in ordered]
    axes.barh([name for name, _ in ordered], lengths, color=colours)
    axes.set(title=f"{family}: the shift of one feature that is noticed", xlabel="robust standard deviations")
    axes.set_xscale("log")
    return _png(figure)


def thresholds(calm: Mapping[str, tuple[float, float]]) -> bytes:
    """PNG: per family of series the highest score of its calm, and its threshold; (highest, threshold) by family."""
    from matplotlib.figure import Figure

    ordered = sorted(calm.items(), key=lambda item: item[1][1])
    figure = Figure(figsize=(_SIZE[0], max(_SIZE[1], 0.22 * len(ordered))), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.barh([family for family, _ in ordered], [highest for _, (highest, _) in ordered], color=_SCORES)
    axes.plot([threshold for _, (_, threshold) in ordered], range(len(ordered)), "|", markersize=10, color=_LIMIT)
    axes.set(title="Single series: the highest score in the calm, and the threshold", xlabel="score", xlim=(0.0, 1.0))
    return _png(figure)


def _png(figure: Figure) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()

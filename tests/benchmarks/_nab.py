"""The Numenta Anomaly Benchmark's score, from its rules: /work/shared's SCORING.md section 1, no code of NAB's.

A file's score at a threshold is a sum: over its windows the best value among the rows that are detected in it, over
all other detected rows what each false alarm costs. Both change only where a row's score is met, so one sort of the
rows gives the score at every threshold there is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
FOLDER = Path("detection") / "nab"
#: A threshold that no score reaches.
NEVER = 1.1
CLOCK_ROWS = 600


@dataclass(frozen=True, slots=True)
class Profile:
    """What a window found, a false alarm and a window missed are worth."""

    found: float
    false_alarm: float
    missed: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "reward_low_FP_rate": Profile(1.0, 0.22, 1.0),
    "reward_low_FN_rate": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """A file's rows: times in epoch seconds, values, and its windows as first and last row, both inclusive."""

    name: str
    times: Floats
    values: Floats
    windows: tuple[tuple[int, int], ...]

    @property
    def probation(self) -> int:
        """Rows at the start that are never scored."""
        return min(int(0.15 * len(self.values)), 750)


@dataclass(frozen=True, slots=True)
class _Steps:
    """What the rows of some files add as the threshold falls to their score: (steps,) each, of one profile."""

    scores: Floats
    gains: Floats
    windows: int

    def best(self, profile: Profile) -> float:
        """The threshold with the highest sum; of equals the highest."""
        order = np.argsort(-self.scores, kind="stable")
        scores, sums = self.scores[order], np.cumsum(self.gains[order])
        last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1) if len(scores) else np.empty(0, np.int64)
        if not len(last) or sums[last].max() <= 0.0:
            return NEVER
        return float(scores[last[np.argmax(sums[last])]])

    def total(self, threshold: float, profile: Profile) -> float:
        """The sum at a threshold."""
        return float(self.gains[self.scores >= threshold].sum()) - self.windows * profile.missed


def load(folder: Path) -> list[Labelled]:
    """All files by name, from the layout of the data folder (`folder`/detection/nab/)."""
    rows = pd.read_parquet(folder / FOLDER / "data.parquet")
    windows = json.loads((folder / FOLDER / "combined_windows.json").read_text(encoding="utf-8"))
    found = []
    for name, of_file in rows.groupby("file", sort=True):
        stamps = of_file["timestamp"].to_numpy().astype("datetime64[us]")
        places = []
        for first, last in windows[name]:
            inside = np.flatnonzero((stamps >= np.datetime64(first)) & (stamps <= np.datetime64(last)))
            places.append((int(inside[0]), int(inside[-1])))
        times = stamps.astype(np.int64) / 1e6
        found.append(Labelled(str(name), times, of_file["value"].to_numpy(np.float64), tuple(places)))
    return found


def reference(folder: Path, detector: str) -> dict[str, Floats]:
    """The published scores of a detector, per file."""
    rows = pd.read_parquet(folder / FOLDER / "reference_scores.parquet", columns=["file", detector])
    return {str(name): of_file[detector].to_numpy(np.float64) for name, of_file in rows.groupby("file", sort=True)}


def clockwork(files: Sequence[Labelled], every: int = CLOCK_ROWS) -> dict[str, Floats]:
    """An alarm every so many rows, whatever the data."""
    return {file.name: (np.arange(len(file.values)) % every == 0).astype(np.float64) for file in files}


def official(files: Sequence[Labelled], scores: Mapping[str, Floats], profile: Profile) -> tuple[float, float]:
    """The normalised score at the threshold that is best on the same labels, and that threshold."""
    steps = _steps(files, scores, profile)
    threshold = steps.best(profile)
    return _normalised(steps.total(threshold, profile), steps.windows, profile), threshold


def fixed(files: Sequence[Labelled], scores: Mapping[str, Floats], profile: Profile, threshold: float) -> float:
    """The normalised score at a threshold that was written down before."""
    steps = _steps(files, scores, profile)
    return _normalised(steps.total(threshold, profile), steps.windows, profile)


def two_folds(files: Sequence[Labelled], scores: Mapping[str, Floats], profile: Profile) -> tuple[float, list[float]]:
    """The normalised score with each half at the threshold that is best on the other; even and odd ranks by name."""
    ordered = sorted(files, key=lambda file: file.name)
    halves = [_steps(ordered[rank::2], scores, profile) for rank in (0, 1)]
    thresholds = [halves[1].best(profile), halves[0].best(profile)]
    total = sum(half.total(threshold, profile) for half, threshold in zip(halves, thresholds, strict=True))
    return _normalised(total, sum(half.windows for half in halves), profile), thresholds


def _normalised(total: float, windows: int, profile: Profile) -> float:
    null, perfect = -windows * profile.missed, windows * profile.found
    return 100.0 * (total - null) / (perfect - null)


def _steps(files: Sequence[Labelled], scores: Mapping[str, Floats], profile: Profile) -> _Steps:
    parts = [_file_steps(file, scores[file.name], profile) for file in files]
    return _Steps(
        np.concatenate([one for one, _ in parts]),
        np.concatenate([one for _, one in parts]),
        sum(len(file.windows) for file in files),
    )


def _file_steps(file: Labelled, scores: Floats, profile: Profile) -> tuple[Floats, Floats]:
    if np.isnan(scores).any() or len(scores) != len(file.values):
        raise SystemExit(
            f"{file.name}: a score per row and no NaN, or nothing can be said; what is unjudged is no alarm: 0"
        )
    values = _row_values(file, profile)
    outside = np.ones(len(scores), dtype=bool)
    outside[: file.probation] = False
    found, gains = [], []
    for first, last in file.windows:
        outside[first : last + 1] = False
        rows = np.arange(max(first, file.probation), last + 1)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        best = np.maximum.accumulate(np.append(-profile.missed, values[rows]))
        found.append(scores[rows])
        gains.append(np.diff(best))
    found.append(scores[outside])
    gains.append(values[outside])
    return np.concatenate(found), np.concatenate(gains)


def _row_values(file: Labelled, profile: Profile) -> Floats:
    """What a detection at each row is worth."""
    rows = np.arange(len(file.values), dtype=np.float64)
    values = np.full(len(rows), -profile.false_alarm)
    for first, last in file.windows:
        after = slice(last + 1, None)
        values[after] = profile.false_alarm * _sigma((rows[after] - last) / (last - first))
    for first, last in file.windows:
        inside = slice(first, last + 1)
        values[inside] = profile.found * _sigma(-(last - rows[inside] + 1) / (last - first + 1)) / -_SIGMA_ONE
    return values


def _sigma(position: Floats) -> Floats:
    return np.where(position > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, 3.0))) - 1.0)


_SIGMA_ONE = float(2.0 / (1.0 + np.exp(5.0)) - 1.0)

Scorer = Callable[[Sequence[Labelled], Mapping[str, Floats], Profile], float]

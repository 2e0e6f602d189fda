"""What detectors for rows of many series have in common: rows in order of time, judged by the rows before them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from ml.detectors.base import Detector, Floats
from ml.detectors.levels import Levels
from tonewatch.errors import ModelError

#: Fewer rows than this say nothing about how many series move together.
LEAST_ROWS = 200
#: Of what kept() gives. A model that was kept by another is not guessed at: it is learned again.
FORMAT = 1


class RowDetector(Detector):
    """A detector that reduces a row to its parts per series, and these to one energy, the mean of their squares.

    floors: per series the smallest difference worth noticing. recent: rows that make a recent level beside the
    trained one (ml/detectors/levels.py), 0: none. Its score is energy / (1 + energy).
    """

    #: How many rows before a row its parts depend on, besides the recent level.
    reach: int = 0

    def __init__(self, names: Sequence[str], floors: Sequence[float], *, recent: int = 0) -> None:
        super().__init__(names)
        if len(floors) != len(self.names):
            raise ModelError(f"{len(floors)} floors for {len(self.names)} series; each needs one")
        self.levels = Levels(floors, recent)
        self.learned: dict[str, Any] = {}
        self.before: Floats = np.empty((0, len(self.names)))

    @abstractmethod
    def learn(self, deviations: Floats) -> None:
        """Learn from deviations of calm rows, (rows, series), in order of time; into `learned`."""

    @abstractmethod
    def parts(self, deviations: Floats) -> Floats:
        """What is strange about each row, per series and signed, (rows, series); the first `reach` rows may be off."""

    def energy(self, deviations: Floats) -> Floats:
        """How strange each row is, (rows,), at least 0 and without an upper limit."""
        return np.asarray(np.mean(self.parts(deviations) ** 2, axis=1))

    def fit(self, rows: Floats) -> Self:
        kept = rows[self.usable(rows)]
        if len(kept) < LEAST_ROWS:
            raise ModelError(f"{len(kept)} usable rows of calm telemetry; at least {LEAST_ROWS} are needed to learn")
        self.levels.fit(kept)
        whole = self.levels.filled(kept)
        self.learn(self.levels.settled(whole, self.levels.plain(whole)))
        self.before = whole[len(whole) - min(len(whole), self.looks_back) :]
        return self

    def score(self, rows: Floats, before: Floats | None = None) -> Floats:
        """Strangeness of each row, (rows,), in [0, 1].

        before: the rows just before, (rows, series); the last ones of the training if not given. Pieces of a multiple
        of 60 rows, each after `looks_back` rows, score as in one go. Raises ModelError: see `refuse_unusable`.
        """
        deviations, start = self._deviations(rows, before)
        energies = self.energy(deviations)[start:] if len(rows) else np.empty(0)
        return energies / (1 + energies)

    def explain(self, row: Floats) -> dict[str, float]:
        distances = self.distances(np.atleast_2d(row))[0]
        present = sorted(np.flatnonzero(~np.isnan(distances)), key=lambda index: -abs(distances[index]))
        return {self.names[index]: float(distances[index]) for index in present}

    def distances(self, rows: Floats, before: Floats | None = None) -> Floats:
        deviations, start = self._deviations(rows, before)
        if len(rows) == 0:
            return np.empty(rows.shape)
        return np.where(np.isfinite(rows), self.parts(deviations)[start:], np.nan)

    @property
    def looks_back(self) -> int:
        """How many rows before a row its score depends on."""
        return self.levels.recent + self.reach

    def kept(self) -> dict[str, Any]:
        """What restored() needs, arrays and plain values."""
        self.refuse_unlearned()
        levels = self.levels
        return {
            "kind": type(self).__name__,
            "format": FORMAT,
            "version": self.version,
            "names": self.names,
            "levels": {"floors": levels.floors, "recent": levels.recent, "median": levels.median}
            | {"mean": levels.mean, "spread": levels.spread},
            "before": self.before,
            "learned": dict(self.learned),
        }

    @classmethod
    def restored(cls, kept: Mapping[str, Any]) -> Self:
        """The detector that gave `kept`. Raises ModelError: another kind, or another version of the format."""
        refuse_foreign(kept, cls.__name__)
        detector = cls(kept["names"], list(kept["levels"]["floors"]), recent=int(kept["levels"]["recent"]))
        for name in ("median", "mean", "spread"):
            setattr(detector.levels, name, np.asarray(kept["levels"][name], dtype=np.float64))
        detector.before = np.asarray(kept["before"], dtype=np.float64)
        detector.learned = dict(kept["learned"])
        detector.version = str(kept["version"])
        return detector

    def refuse_unlearned(self) -> None:
        """Raise ModelError before fit()."""
        if not self.learned:
            raise ModelError("the detector has learned nothing yet; call fit() first")

    def _deviations(self, rows: Floats, before: Floats | None) -> tuple[Floats, int]:
        """Deviations of the rows and of `reach` rows before them, and where the rows begin."""
        self.refuse_unlearned()
        self.refuse_unusable(rows)
        earlier = self.before if before is None else before
        self._check_shape(earlier)
        whole = self.levels.filled(np.concatenate([earlier, rows]))
        start = max(len(earlier) - self.reach, 0)
        return self.levels.settled(whole, self.levels.plain(whole), start), len(earlier) - start


def refuse_foreign(kept: Mapping[str, Any], kind: str) -> None:
    """Raise ModelError unless `kept` is of this kind and format."""
    if kept.get("kind") != kind or kept.get("format") != FORMAT:
        raise ModelError(
            f"a kept {kept.get('kind', 'unknown')} of format {kept.get('format', 'unknown')} is no {kind} of format "
            f"{FORMAT}; learn the model again"
        )

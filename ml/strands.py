"""A row ensemble that judges a component family: one for all its parts, each part's windows by those just before them.

Rows of several parts are laid one after another. Of what each part's score depends on, `looks_back` rows, all lie in
its own strand: live and in batch the same rows are looked at, and the scores are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ml.detectors.base import Floats
from ml.detectors.family import FamilyDetector, Strands
from ml.detectors.rows import RowDetector
from ml.row_ensemble import MEMBER_TAIL, RowEnsemble, Tail
from tonewatch.errors import ModelError

Flags = npt.NDArray[np.bool_]
#: Robust standard deviation of a normal distribution, in median absolute deviations.
_MAD = 1.4826


class StrandDetector(FamilyDetector):
    """The ensemble must not settle (`recent` 0) nor hold on (`steady`): what lasts is told by the debounce."""

    def __init__(self, kind: str, ensemble: RowEnsemble) -> None:
        super().__init__(ensemble.names)
        if ensemble.steady or ensemble.levels.recent:
            raise ModelError("a family's ensemble must judge a row by a few rows before it: recent=0, steady=False")
        self.kind = kind  # type: ignore[misc]  # two kinds differ in their members alone
        self.ensemble = ensemble
        self.looks_back = ensemble.looks_back
        self.centre: Floats = np.zeros(len(self.names))
        self.spread: Floats = ensemble.levels.floors.copy()

    def fit(self, rows: Floats) -> Self:
        return self.teach([Strands(rows[None], self.usable(rows)[None])])

    def teach(self, parts: Sequence[Strands]) -> Self:
        rows = np.vstack([part.values[part.judged] for part in parts])
        self.ensemble.fit(rows)
        whole = np.concatenate([_whole(part.judged, self.looks_back)[part.judged] for part in parts])
        if whole.any():  # else every strand is too short: the seams are all there is
            self.ensemble.tails = self._tails(rows, whole)
        self.centre, self.spread = _robust(rows, self.ensemble.levels.floors)
        return self

    def score(self, rows: Floats) -> Floats:
        """Strangeness of each row, (rows,), of one part's rows in order of time; nothing is known before the first."""
        self.refuse_unusable(rows)
        before = np.full((self.looks_back, len(self.names)), np.nan)
        return self.strangeness(np.concatenate([before, rows])[None])[0] if len(rows) else np.empty(0)

    def strangeness(self, strands: Floats) -> Floats:
        count, length = strands.shape[:2]
        shape = (count, max(length - self.looks_back, 0))
        if 0 in shape:
            return np.full(shape, np.nan)
        rows = strands.reshape(-1, len(self.names))
        surprise = self.ensemble.plain_surprise(rows).reshape(count, length)[:, self.looks_back :]
        usable = self.usable(rows).reshape(count, length)[:, self.looks_back :]
        return np.where(usable, surprise / (1 + surprise), np.nan)

    def explain(self, row: Floats) -> dict[str, float]:
        distances = self.distances(np.atleast_2d(row))[0]
        present = sorted(np.flatnonzero(~np.isnan(distances)), key=lambda index: -abs(distances[index]))
        return {self.names[index]: float(distances[index]) for index in present}

    def distances(self, rows: Floats) -> Floats:
        self.refuse_unusable(rows)
        return np.where(np.isfinite(rows), (rows - self.centre) / self.spread, np.nan)

    def typical(self) -> tuple[Floats, Floats]:
        return self.centre, self.spread

    def kept(self) -> dict[str, Any]:
        """What restored() needs, arrays and plain values."""
        ensemble = self.ensemble.kept()
        return {"ensemble": ensemble, "centre": self.centre, "spread": self.spread}

    @classmethod
    def restored(cls, kind: str, kept: Mapping[str, Any], members: Sequence[type[RowDetector]]) -> Self:
        """The detector that gave `kept`. Raises ModelError: another format, or members of other kinds."""
        detector = cls(kind, RowEnsemble.restored(kept["ensemble"], members))
        detector.centre, detector.spread = kept["centre"], kept["spread"]
        return detector

    def _tails(self, rows: Floats, whole: Flags) -> dict[str, Tail]:
        """How surprising each member's energies are, from rows whose past is their own part's."""
        plain = self.ensemble.levels.plain(self.ensemble.levels.filled(rows))
        return {
            name: Tail.of(member.energy(plain)[whole], MEMBER_TAIL) for name, member in self.ensemble.members.items()
        }


def _whole(judged: Flags, looks_back: int) -> Flags:
    """The rows of which all that they depend on is judged, too, (strands, rows)."""
    whole = judged.copy()
    for back in range(1, looks_back + 1):
        whole[:, :back] = False
        whole[:, back:] &= judged[:, :-back]
    return whole


def _robust(rows: Floats, floors: Floats) -> tuple[Floats, Floats]:
    """Median and robust standard deviation per feature, the latter never below its floor."""
    known = np.where(np.isfinite(rows), rows, np.nan)
    centre, spread = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for column in range(rows.shape[1]):
        values = known[~np.isnan(known[:, column]), column]
        if len(values):
            centre[column] = np.median(values)
            spread[column] = _MAD * np.median(np.abs(values - centre[column]))
    return centre, np.maximum(spread, floors)

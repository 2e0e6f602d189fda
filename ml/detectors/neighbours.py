"""Distance to the nearest calm rows, of which a coreset is kept (Ramaswamy, Rastogi, Shim: SIGMOD 2000)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ml.detectors.base import Floats
from ml.detectors.rows import RowDetector

#: Rows are compared with so many at once: the table of distances stays below 10 MB.
_BATCH = 1000


class NeighboursDetector(RowDetector):
    """Parts are the differences to the third nearest row of the coreset.

    Of the `size` rows drawn, the twentieth that lies farthest from the others is left out: calm rows may hold events.
    """

    nearest: ClassVar[int] = 3
    left_out: ClassVar[float] = 0.05

    def __init__(
        self, names: Sequence[str], floors: Sequence[float], *, recent: int = 0, size: int = 1000, seed: int = 0
    ) -> None:
        super().__init__(names, floors, recent=recent)
        self.size, self.seed = size, seed

    def learn(self, deviations: Floats) -> None:
        chance = np.random.default_rng(self.seed)
        drawn = deviations[chance.permutation(len(deviations))[: self.size]]
        # the row itself is the first of its neighbours
        away = np.mean((drawn - drawn[_ranked(drawn, drawn, self.nearest)]) ** 2, axis=1)
        self.learned = {"coreset": drawn[away <= np.quantile(away, 1 - self.left_out)]}

    def parts(self, deviations: Floats) -> Floats:
        coreset: Floats = self.learned["coreset"]
        return deviations - coreset[_ranked(deviations, coreset, self.nearest - 1)]


def _ranked(rows: Floats, coreset: Floats, rank: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Place in the coreset of the row that is `rank`-nearest, from 0, (rows,)."""
    found = np.empty(len(rows), dtype=np.intp)
    lengths = np.sum(coreset**2, axis=1)
    rank = min(rank, len(coreset) - 1)
    for begin in range(0, len(rows), _BATCH):
        # squared distance without the row's own length, which does not change the order
        squares = lengths - 2 * rows[begin : begin + _BATCH] @ coreset.T
        found[begin : begin + _BATCH] = np.argpartition(squares, rank, axis=1)[:, rank]
    return found

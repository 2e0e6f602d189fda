"""What judges a component family: its parts' windows, each part's in order of time, a tick apart."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from ml.detectors.base import Detector, Floats

#: Shifts that `noticed` tries, in robust standard deviations.
_SHIFTS = np.geomspace(1.0, 1e4, 81)


@dataclass(frozen=True, slots=True, eq=False)
class Strands:
    """Windows of several parts. values: (strands, rows, features), each strand in order of time, a tick apart.

    judged: (strands, rows), which of them would be judged live; the others stand in the past of those.
    """

    values: Floats
    judged: npt.NDArray[np.bool_]


class FamilyDetector(Detector):
    """A detector that one family's parts share.

    kind: which, as in ml/kinds. looks_back: so many rows before a row its score depends on, and on no others.
    """

    kind: ClassVar[str]
    looks_back: int = 0

    @abstractmethod
    def teach(self, parts: Sequence[Strands]) -> Self:
        """Learn from calm strands, those of each part of the time by themselves. Raises ModelError: too few rows."""

    @abstractmethod
    def strangeness(self, strands: Floats) -> Floats:
        """Scores of all rows but the first `looks_back`, (strands, looks_back + rows, features) -> (strands, rows).

        NaN where a row lacks too much; what is missing before a row says nothing.
        """

    @abstractmethod
    def typical(self) -> tuple[Floats, Floats]:
        """A typical row and its robust standard deviations, (features,) each."""

    def noticed(self, threshold: float) -> dict[str, float]:
        """Per feature, the shift in robust standard deviations that alone lifts a typical row above `threshold`.

        Of the worse direction; infinite where not even 10,000 do.
        """
        centre, spread = self.typical()
        found = {}
        for column, name in enumerate(self.names):
            strands = np.tile(centre, (2 * len(_SHIFTS), self.looks_back + 1, 1))
            strands[:, -1, column] += np.concatenate([_SHIFTS, -_SHIFTS]) * spread[column]
            above = self.strangeness(strands).reshape(2, -1) > threshold
            reached = above.all(axis=0)
            found[name] = float(_SHIFTS[reached.argmax()]) if reached.any() else float("inf")
        return found

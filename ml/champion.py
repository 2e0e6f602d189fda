"""Who judges a family: the version of the model that scores, with the tenant's own threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ml.detectors.family import FamilyDetector
from tonewatch.errors import ModelError

#: What a model may raise that does not fit the rows, whoever wrote it.
FAILURES: Final = (ModelError, ValueError, ArithmeticError, LookupError, TypeError)


@dataclass(frozen=True, slots=True)
class Champion:
    """A window is strange if its score is above `threshold`.

    rate: incidents that the calibration expects of all families together in a calm week of the budget.
    """

    family: str
    detector: FamilyDetector
    threshold: float
    rate: float

    @property
    def version(self) -> str:
        """The model's, in the registry."""
        return self.detector.version

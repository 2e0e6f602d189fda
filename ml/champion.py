"""Who judges a family: the version of the model that scores, with the tenant's own threshold."""

from __future__ import annotations

from dataclasses import dataclass

from ml.detectors.family import FamilyDetector


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

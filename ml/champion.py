"""Who judges a family: the version of the model that scores, with the tenant's own threshold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ml.detectors.family import FamilyDetector
from tonewatch.errors import ModelError, ModelFails


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


@dataclass(frozen=True, slots=True)
class Failing:
    """A family's champion that cannot score, in whose place none does. why: in words."""

    family: str
    version: str
    why: str


@contextmanager
def scoring(family: str, version: str) -> Iterator[None]:
    """Around what asks a model for scores: whatever its code raises comes out as ModelFails, which says whose it is.

    Raises ModelError: the machine fails, of which the model can do nothing; the next time it may score.
    """
    try:
        yield
    except (MemoryError, OSError) as error:
        told = f"the model {version} of {family} was not asked: {type(error).__name__}: {error}"
        raise ModelError(told[:300]) from error
    except Exception as error:  # the code of a model and of its libraries may raise anything, and must end nobody else
        told = f"the model {version} of {family} fails: {type(error).__name__}: {error}"
        raise ModelFails(told[:300], family=family, version=version) from error

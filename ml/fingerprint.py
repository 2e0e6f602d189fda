"""What a detector of single series is, as a short name: scores of two that differ in a constant do not compare."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np

from ml import course, episodes, lasting, prior
from ml.detectors import memory, own_scale, straying, stream, usual_day
from ml.ensemble import Ensemble
from tonewatch.records import digest

#: Raised when the arithmetic changes under constants that stay as they are.
ARITHMETIC = 1
LENGTH = 12


def fingerprint(ensemble: Ensemble) -> str:
    """12 hex digits: of its looks, weights and constants, and of how a report is confirmed. Same in any process."""
    looks = [
        (type(look).__name__, look.name, sorted(vars(look).items()), _constants(sys.modules[type(look).__module__]))
        for look in ensemble.looks
    ]
    around = [_constants(module) for module in (memory, stream, episodes, lasting, prior)]
    own = (ensemble.quiet, ensemble.least, ensemble.weights.tolist())
    return digest(ARITHMETIC, looks, around, own)[:LENGTH]


def fingerprint_of_course() -> str:
    """12 hex digits: of the constants of a platform's course. Same in any process."""
    numbers = [_constants(module) for module in (course, own_scale, stream, straying, usual_day)]
    several = [
        (name, np.asarray(value).tolist())
        for name, value in sorted(vars(straying).items())
        if name.isupper() and isinstance(value, tuple | np.ndarray)
    ]
    return digest(ARITHMETIC, numbers, several)[:LENGTH]


def _constants(module: ModuleType) -> list[tuple[str, float]]:
    numbers = (int, float, np.floating)
    return sorted((name, float(value)) for name, value in vars(module).items() if isinstance(value, numbers))

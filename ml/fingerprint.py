"""What an ensemble is, as a short name: scores of two that differ in a look, weight or constant do not compare."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np

from ml import episodes, lasting, prior
from ml.detectors import memory, stream
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


def _constants(module: ModuleType) -> list[tuple[str, float]]:
    numbers = (int, float, np.floating)
    return sorted((name, float(value)) for name, value in vars(module).items() if isinstance(value, numbers))

"""Row ensembles: distance, nearest calm windows, and linear forecasts from the windows just before."""

from __future__ import annotations

from collections.abc import Sequence

from ml.detectors.distance import DistanceDetector
from ml.detectors.family import FamilyDetector
from ml.detectors.neighbours import NeighboursDetector
from ml.detectors.ridge_forecast import RidgeForecastDetector
from ml.detectors.rows import RowDetector
from ml.kinds.base import Kind, Packed
from ml.row_ensemble import RowEnsemble
from ml.strands import StrandDetector
from tonewatch.errors import ModelError

NAME = "row-ensemble"
#: How many windows before a window it is forecast from: all within the last minutes that the watcher holds.
LAGS = (1, 2, 5)


def _make(
    names: Sequence[str],
    floors: Sequence[float],
    seed: int,
    *,
    lags: Sequence[int] = LAGS,
    power: float = 2.0,
    size: int = 1000,
) -> StrandDetector:
    members: dict[str, RowDetector] = {
        "distance": DistanceDetector(names, floors, power=power),
        "neighbours": NeighboursDetector(names, floors, seed=seed, size=size),
        "next": RidgeForecastDetector(names, floors, lags=lags, scaled=True),
    }
    return StrandDetector(NAME, RowEnsemble(names, floors, members=members, steady=False))


def strands(detector: FamilyDetector) -> StrandDetector:
    """The detector, as one of strands. Raises ModelError: it is none."""
    if not isinstance(detector, StrandDetector):
        raise ModelError(f"a {type(detector).__name__} is no ensemble of rows")
    return detector


KIND = Kind(
    name=NAME,
    title="distance, nearest calm windows and linear forecasts as one voice",
    make=_make,
    pack=lambda detector: Packed(strands(detector).kept()),
    unpack=lambda packed: StrandDetector.restored(
        NAME, packed.state, (DistanceDetector, NeighboursDetector, RidgeForecastDetector)
    ),
    params=lambda detector: {
        "members": ",".join(strands(detector).ensemble.members),
        "looks_back": detector.looks_back,
    },
    packages=("numpy", "scikit-learn"),
    # No lag is longer: live nothing older is held.
    space={"lags": (LAGS, (1,), (1, 2, 3, 4, 5)), "power": (2.0, 4.0), "size": (1000, 4000)},
)

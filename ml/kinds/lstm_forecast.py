"""LSTMs: what a small network did not expect of a window, from those just before. Needs TensorFlow (make learning)."""

from __future__ import annotations

from collections.abc import Sequence

from ml.detectors.lstm_forecast import LstmForecastDetector, Pieces
from ml.kinds.base import Kind, Packed
from ml.kinds.row_ensemble import strands
from ml.row_ensemble import RowEnsemble
from ml.strands import StrandDetector

NAME = "lstm-forecast"
#: Ten windows are seen, the last of them two before: within the last minutes that the watcher holds.
CUT = Pieces(ahead=2, warmed=8, forecasts=1)
UNITS, EPOCHS, DRAWN = 16, 6, 8_000


def _make(
    names: Sequence[str], floors: Sequence[float], seed: int, *, units: int = UNITS, epochs: int = EPOCHS
) -> StrandDetector:
    network = LstmForecastDetector(
        names, floors, scaled=True, units=units, epochs=epochs, seed=seed, pieces=CUT, drawn=DRAWN
    )
    return StrandDetector(NAME, RowEnsemble(names, floors, members={"lstm": network}, steady=False))


KIND = Kind(
    name=NAME,
    title="residuals of a small LSTM's forecasts",
    make=_make,
    pack=lambda detector: Packed(strands(detector).kept()),
    unpack=lambda packed: StrandDetector.restored(NAME, packed.state, (LstmForecastDetector,)),
    params=lambda detector: {
        "drawn": DRAWN,
        "ahead": CUT.ahead,
        "looks_back": detector.looks_back,
    },
    packages=("numpy", "tensorflow-cpu"),
    needs="tensorflow",
    space={"units": (UNITS, 8, 32), "epochs": (EPOCHS, 18)},
)

"""What a small LSTM (Hochreiter, Schmidhuber 1997) did not expect, ten rows ahead; one network may serve a family.

TensorFlow is imported where it is used: it takes seconds, and a light profile does without. Rows are cut into pieces
that overlap, so that each row costs about two steps of the network, not one for each row of its past.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ml.detectors.base import Floats
from ml.detectors.levels import CLIP, REFRESHED
from ml.detectors.ridge_forecast import FORECAST_CLIP, NARROWEST
from ml.detectors.rows import RowDetector
from tonewatch.errors import ModelError

#: A row is forecast from rows at least so many before it: an event that has begun is not its own forecast.
AHEAD = 10
#: The network has seen at least so many rows before its first forecast of a piece.
WARMED = 50
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Pieces:
    """How rows are cut. ahead, warmed: as AHEAD and WARMED; forecasts: that each piece gives.

    With one forecast a piece, each depends on exactly `ahead + warmed` rows before its row, wherever the rows begin.
    """

    ahead: int = AHEAD
    warmed: int = WARMED
    forecasts: int = REFRESHED

    @property
    def length(self) -> int:
        """Rows of input of a piece."""
        return self.warmed + self.forecasts


WHOLE_HOURS = Pieces()

Weights = list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]


class LstmForecastDetector(RowDetector):
    """network: weights from `family_network`; without them the detector trains a network of its own.

    scaled: parts in the residuals' own calm spread, as RidgeForecastDetector's.
    """

    def __init__(
        self,
        names: Sequence[str],
        floors: Sequence[float],
        *,
        recent: int = 0,
        network: Weights | None = None,
        scaled: bool = False,
        units: int = 32,
        epochs: int = 12,
        seed: int = 0,
        pieces: Pieces = WHOLE_HOURS,
        drawn: int = 1000,
    ) -> None:
        super().__init__(names, floors, recent=recent)
        self.network, self.scaled = network, scaled
        self.units, self.epochs, self.seed = units, epochs, seed
        self.pieces, self.drawn, self.reach = pieces, drawn, pieces.warmed + pieces.ahead
        self._compiled: Callable[[Any], Any] | None = None

    def learn(self, deviations: Floats) -> None:
        weights = self.network or family_network(
            [deviations], units=self.units, epochs=self.epochs, pieces=self.drawn, seed=self.seed, cut=self.pieces
        )
        self._compiled = None
        cut = (self.pieces.ahead, self.pieces.warmed, self.pieces.forecasts)
        self.learned = {"weights": weights, "spread": np.ones(deviations.shape[1]), "cut": cut}
        if self.scaled:
            self.learned["spread"] = np.maximum(np.std(self.parts(deviations), axis=0), NARROWEST)

    def parts(self, deviations: Floats) -> Floats:
        if self._compiled is None:
            self._compiled = _compiled(self.learned["weights"], self.pieces)
        pieces = _pieces(deviations, self.pieces)[0]
        expected = np.asarray(self._compiled(pieces), dtype=np.float64).reshape(-1, deviations.shape[1])
        parts: Floats = np.clip((deviations - expected[: len(deviations)]) / self.learned["spread"], -CLIP, CLIP)
        return parts

    @classmethod
    def restored(cls, kept: Mapping[str, Any]) -> Self:
        detector = super().restored(kept)
        detector.pieces = Pieces(*kept["learned"].get("cut", (AHEAD, WARMED, REFRESHED)))
        detector.reach = detector.pieces.warmed + detector.pieces.ahead
        return detector


def family_network(
    calm: Sequence[Floats],
    *,
    units: int = 32,
    epochs: int = 12,
    pieces: int = 1000,
    rate: float = 3e-3,
    seed: int = 0,
    cut: Pieces = WHOLE_HOURS,
) -> Weights:
    """Weights of one network for all machines that have these series, from each one's deviations, (rows, series).

    pieces: at most so many, hours by default, of all machines together are learned from, drawn without looking at them.
    The same seed gives the same weights on the same machine. Raises ModelError: other series, or no TensorFlow.
    """
    if len({deviations.shape[1] for deviations in calm}) != 1:
        raise ModelError("a family's machines have the same series")
    tf = _tensorflow()
    known = [_pieces(deviations, cut) for deviations in calm]
    inputs, wanted = (np.concatenate([pair[side] for pair in known]) for side in (0, 1))
    model = _model(inputs.shape[2], units, seed)
    optimizer = tf.keras.optimizers.Adam(rate)
    chance = np.random.default_rng(seed)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(rows: Any, later: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.keras.losses.huber(later, model(rows)[:, cut.warmed :]))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    chosen = chance.permutation(len(inputs))[:pieces]
    for _ in range(epochs):
        order = chance.permutation(chosen)
        for begin in range(0, len(order), _BATCH):
            drawn = order[begin : begin + _BATCH]
            step(tf.constant(inputs[drawn]), tf.constant(wanted[drawn]))
    return [np.asarray(weights) for weights in model.get_weights()]


def _pieces(deviations: Floats, cut: Pieces) -> tuple[Any, Any]:
    """Inputs, (pieces, warmed + forecasts, series), and the rows to forecast, (pieces, forecasts, series)."""
    rows = np.clip(deviations, -FORECAST_CLIP, FORECAST_CLIP).astype(np.float32)
    count, reach = -(-len(rows) // cut.forecasts), cut.warmed + cut.ahead
    padded = np.concatenate(
        [rows[:1].repeat(reach, axis=0), rows, rows[-1:].repeat(count * cut.forecasts - len(rows), axis=0)]
    )
    starts = np.arange(count) * cut.forecasts
    inputs = padded[starts[:, None] + np.arange(cut.length)]
    return inputs, padded[starts[:, None] + np.arange(reach, cut.length + cut.ahead)]


def _compiled(weights: Weights, cut: Pieces) -> Callable[[Any], Any]:
    """Forecasts of pieces in one call: (pieces, warmed + forecasts, series) -> (pieces, forecasts, series)."""
    tf = _tensorflow()
    series = weights[-1].shape[0]
    model = _model(series, weights[1].shape[0], 0)
    model.set_weights(weights)
    shape = tf.TensorSpec([None, cut.length, series], tf.float32)
    compiled: Callable[[Any], Any] = tf.function(lambda rows: model(rows)[:, cut.warmed :], input_signature=[shape])
    return compiled


def _model(series: int, units: int, seed: int) -> Any:
    keras = _tensorflow().keras
    drawn = {
        "kernel_initializer": keras.initializers.GlorotUniform(seed),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=seed),
    }
    return keras.Sequential(
        [
            keras.layers.Input((None, series)),
            keras.layers.LSTM(units, return_sequences=True, **drawn),
            keras.layers.Dense(series, kernel_initializer=keras.initializers.GlorotUniform(seed + 1)),
        ]
    )


def _tensorflow() -> Any:
    try:
        import tensorflow as tf  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise ModelError("an LSTM needs TensorFlow, which the light set-up leaves out: make learning") from error
    return tf

"""Programme loudness after ITU-R BS.1770-4 and EBU R128 (Tech 3341 meter, Tech 3342 range), fed block by block.

Any cutting of the same sound into blocks gives the same figures: filters, windows and gates carry their state.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from feature_store.filters import Cascade, low_pass, oversampled

Array = NDArray[np.float64]

#: What is shown for silence (LUFS, dBTP): finite, so that it can be stored and sent.
FLOOR = -120.0
ABSOLUTE_GATE = -70.0
#: Energies are summed per 10 ms: Tech 3341 case 13 fails with a hop of 50 ms and more.
HOPS_PER_SECOND = 100
MOMENTARY_HOPS = 40
SHORT_TERM_HOPS = 300
#: Gating blocks overlap by 75 % of 400 ms; the range uses the same step.
GATING_STEP = 10
_OVERSAMPLING = 4
_TAPS_PER_PHASE = 24
#: Gated measures keep a histogram in steps of 0.01 LU, so that a week takes no more memory than a minute.
_BIN = 0.01
_HIGHEST = 20.0
_BINS = round((_HIGHEST - ABSOLUTE_GATE) / _BIN)


def lufs(energy: float) -> float:
    """Loudness of a K-weighted, channel-weighted mean square."""
    return max(FLOOR, -0.691 + 10.0 * float(np.log10(energy))) if energy > 0 else FLOOR


@cache
def k_weighting(rate: int) -> Array:
    """The two biquads of BS.1770 as second-order sections for any sample rate.

    The standard prints them for 48 kHz; these are the analogue prototypes behind that table (De Man, 2014).
    """
    return np.vstack([_shelf(rate), _high_pass(rate)])


def _shelf(rate: int) -> Array:
    frequency, gain_db, quality = 1681.974450955533, 3.999843853973347, 0.7071752369554196
    k = np.tan(np.pi * frequency / rate)
    high = 10 ** (gain_db / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / quality + k * k
    b = [(high + band * k / quality + k * k) / a0, 2 * (k * k - high) / a0, (high - band * k / quality + k * k) / a0]
    return np.array([*b, 1.0, 2 * (k * k - 1) / a0, (1 - k / quality + k * k) / a0])


def _high_pass(rate: int) -> Array:
    frequency, quality = 38.13547087602444, 0.5003270373238773
    k = np.tan(np.pi * frequency / rate)
    a0 = 1 + k / quality + k * k
    return np.array([1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / a0, (1 - k / quality + k * k) / a0])


def channel_weights(channels: int) -> Array:
    """BS.1770's weights for 1 to 5 channels in the order L, R, C, Ls, Rs; six are taken as 5.1 with the LFE fourth."""
    if channels == 6:
        return np.array([1.0, 1.0, 1.0, 0.0, 1.41, 1.41])
    return np.array([1.0, 1.0, 1.0, 1.41, 1.41, *[1.0] * max(0, channels - 5)][:channels])


class _Gate:
    """A histogram of loudness values and their energies above the absolute gate."""

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS, dtype=np.int64)
        self.energies = np.zeros(_BINS)

    def add(self, energies: Array) -> None:
        loudness = _loudness(energies)
        heard = loudness > ABSOLUTE_GATE
        places = np.minimum(((loudness[heard] - ABSOLUTE_GATE) / _BIN).astype(np.int64), _BINS - 1)
        np.add.at(self.counts, places, 1)
        np.add.at(self.energies, places, energies[heard])

    def above(self, relative: float) -> slice:
        """The bins that pass the second gate, `relative` LU below the mean of what passed the first."""
        total = int(self.counts.sum())
        if not total:
            return slice(_BINS, _BINS)
        threshold = lufs(float(self.energies.sum()) / total) + relative
        return slice(max(0, int(np.ceil((threshold - ABSOLUTE_GATE) / _BIN))), _BINS)


class LoudnessMeter:
    """An EBU meter: momentary, short-term, integrated, range and, if asked for, true peak.

    >>> import numpy as np
    >>> meter = LoudnessMeter(48000, 2)
    >>> tone = 10 ** (-23 / 20) * np.sin(2 * np.pi * 1000 * np.arange(48000 * 4) / 48000)
    >>> meter.push(np.column_stack([tone, tone]))
    >>> round(meter.integrated, 1), round(meter.momentary, 1), round(meter.short_term, 1)
    (-23.0, -23.0, -23.0)
    """

    def __init__(self, rate: int, channels: int, *, weights: Sequence[float] | None = None, true_peak: bool = False):
        self.rate, self.channels = rate, channels
        self._weights = np.asarray(weights, dtype=np.float64) if weights is not None else channel_weights(channels)
        self._filter = Cascade(k_weighting(rate), channels)
        self._rest = np.zeros(0)  # weighted squares that do not fill a hop yet
        self._samples = 0  # in whole hops so far
        self._hops = 0
        self._recent = np.zeros(0)  # energies of the last hops, at most SHORT_TERM_HOPS - 1
        self._programme, self._range = _Gate(), _Gate()
        self._peak = _TruePeak(channels) if true_peak else None
        self.momentary = self.short_term = self.max_momentary = self.max_short_term = FLOOR
        self.latest = FLOOR  # mean energy of the momentary values of the last block: one figure for a segment

    def push(self, samples: NDArray[np.floating]) -> None:
        """The next samples, shape (frames, channels), full scale 1.0."""
        if not len(samples):
            return
        block = np.asarray(samples, dtype=np.float64)
        if self._peak is not None:
            self._peak.push(block)
        weighted = self._filter.push(block)
        self._add_hops(self._hop_energies(np.square(weighted) @ self._weights))

    @property
    def seconds(self) -> float:
        """How much sound was measured."""
        return (self._samples + len(self._rest)) / self.rate

    @property
    def integrated(self) -> float:
        """Programme loudness in LUFS, gated at -70 LUFS and at 10 LU below the ungated mean."""
        gate = self._programme
        passed = gate.above(-10.0)
        count = int(gate.counts[passed].sum())
        return lufs(float(gate.energies[passed].sum()) / count) if count else FLOOR

    @property
    def range(self) -> float:
        """Loudness range in LU (Tech 3342): 10th to 95th percentile of the short-term values that pass -20 LU."""
        gate = self._range
        counts = np.where(np.arange(_BINS) >= gate.above(-20.0).start, gate.counts, 0)
        total = int(counts.sum())
        if total < 2:
            return 0.0
        places = np.searchsorted(np.cumsum(counts), np.round(np.array([0.10, 0.95]) * (total - 1)) + 1)
        return float(places[1] - places[0]) * _BIN

    @property
    def true_peak(self) -> float | None:
        """Highest true peak so far in dBTP; None when it was not asked for."""
        return None if self._peak is None else self._peak.dbtp

    def _hop_energies(self, squares: Array) -> Array:
        """Mean squares of the 10-ms hops that are complete now; where one ends follows from the sample count alone."""
        squares = np.concatenate([self._rest, squares])
        have = self._samples + len(squares)
        last = have * HOPS_PER_SECOND // self.rate
        ends = -(-np.arange(self._hops + 1, last + 1) * self.rate // HOPS_PER_SECOND)
        ends = ends[ends <= have]
        if not len(ends):
            self._rest = squares
            return np.zeros(0)
        starts = np.concatenate([[self._samples], ends[:-1]])
        sums = np.add.reduceat(squares[: ends[-1] - self._samples], starts - self._samples)
        self._rest = squares[ends[-1] - self._samples :]
        self._samples, self._hops = int(ends[-1]), self._hops + len(ends)
        return np.asarray(sums / (ends - starts), dtype=np.float64)

    def _add_hops(self, energies: Array) -> None:
        if not len(energies):
            return
        first = self._hops - len(energies)  # number of hops before these
        known = np.concatenate([self._recent, energies])
        momentary, short_term = _sliding_mean(known, MOMENTARY_HOPS), _sliding_mean(known, SHORT_TERM_HOPS)
        momentary, short_term = momentary[-len(energies) :], short_term[-len(energies) :]
        self._recent = known[-(SHORT_TERM_HOPS - 1) :]
        if len(momentary):
            self.momentary, self.latest = lufs(float(momentary[-1])), lufs(float(momentary.mean()))
            self.max_momentary = max(self.max_momentary, lufs(float(momentary.max())))
        if len(short_term):
            self.short_term = lufs(float(short_term[-1]))
            self.max_short_term = max(self.max_short_term, lufs(float(short_term.max())))
        self._programme.add(_each_step(momentary, first + len(energies)))
        self._range.add(_each_step(short_term, first + len(energies)))


def _each_step(values: Array, hops: int) -> Array:
    """Of the values whose last ends with hop number `hops`, those that end on a gating step."""
    ends = np.arange(hops - len(values) + 1, hops + 1)
    return np.asarray(values[ends % GATING_STEP == 0], dtype=np.float64)


def _sliding_mean(values: Array, width: int) -> Array:
    """Means of `width` neighbours, none when there are fewer; summed directly, so that quiet keeps no rest of loud."""
    if len(values) < width:
        return np.zeros(0)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(values, width).mean(axis=1), dtype=np.float64)


def _loudness(energies: Array) -> Array:
    return np.asarray(-0.691 + 10.0 * np.log10(np.maximum(energies, 1e-30)), dtype=np.float64)


class _TruePeak:
    """The highest absolute value of the sound oversampled four times (BS.1770-4 annex 2)."""

    def __init__(self, channels: int) -> None:
        length = _OVERSAMPLING * _TAPS_PER_PHASE
        self._taps = low_pass(length, 1.0 / _OVERSAMPLING, beta=6.0) * _OVERSAMPLING
        self._tail = np.zeros((_TAPS_PER_PHASE, channels))
        self._highest = 0.0

    def push(self, block: Array) -> None:
        known = np.concatenate([self._tail, block])
        whole = oversampled(self._taps, known, _OVERSAMPLING)
        if whole.size:
            self._highest = max(self._highest, float(np.abs(whole).max()), float(np.abs(block).max()))
        self._tail = known[-_TAPS_PER_PHASE:]

    @property
    def dbtp(self) -> float:
        return max(FLOOR, 20.0 * float(np.log10(self._highest))) if self._highest > 0 else FLOOR

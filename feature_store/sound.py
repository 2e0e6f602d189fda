"""What can be told of sound without a reference: silence, clipping, balance, correlation. Pure, on PCM.

Samples are arrays of shape (frames, channels), full scale 1.0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.floating]

SILENCE_DBFS = -60.0
#: A step in the time stamps up to this long (seconds) is an encoder's rounding, not missing sound.
TIME_TOLERANCE = 0.25
CLIP_LEVEL = 0.999
CLIP_RUN = 4
#: Balance is not told of a pair below this energy (-80 dBFS): it would be that of the noise.
_INAUDIBLE = 1e-8
_WIDEST_DB = 96.0


class SilenceMeter:
    """For how long there has been no sound, by the sound's own time stamps and to the sample.

    Silence: no channel reaches `threshold_dbfs` (peak). The run goes on over blocks that follow one another;
    over a part that was not heard for `bridge_s` seconds or less it goes on too, if both sides are silent.
    """

    def __init__(self, threshold_dbfs: float = SILENCE_DBFS, bridge_s: float = TIME_TOLERANCE) -> None:
        self._threshold = 10 ** (threshold_dbfs / 20)
        self._bridge_s = bridge_s
        self._ended: float | None = None
        self.since: float | None = None  # time stamp at which the present run began
        self.longest = 0.0  # seconds

    @property
    def seconds(self) -> float:
        """Length of the present run; 0 while there is sound."""
        return 0.0 if self.since is None or self._ended is None else self._ended - self.since

    def push(self, started: float, samples: Samples, rate: int) -> None:
        """The sound from time stamp `started` (seconds) on."""
        if not len(samples):
            return
        if self._ended is None or not -TIME_TOLERANCE <= started - self._ended <= max(self._bridge_s, TIME_TOLERANCE):
            self.since = None
        begun = started if self.since is None else self.since
        loud = np.flatnonzero(_any_channel(samples, self._threshold))
        self._ended = started + len(samples) / rate
        if not len(loud):
            self.since = begun
            self.longest = max(self.longest, self._ended - begun)
            return
        inner = float(np.diff(loud).max() - 1) / rate if len(loud) > 1 else 0.0
        lead = started + float(loud[0]) / rate - begun
        self.since = None if loud[-1] == len(samples) - 1 else started + float(loud[-1] + 1) / rate
        self.longest = max(self.longest, lead, inner, self.seconds)


def _any_channel(samples: Samples, level: float) -> NDArray[np.bool_]:
    """Where at least one channel reaches `level`; channel by channel, which is three times faster than along axis 1."""
    reached = np.zeros(len(samples), dtype=np.bool_)
    for channel in range(samples.shape[1]):
        reached |= np.abs(samples[:, channel]) >= level
    return reached


class ClippingMeter:
    """Counts flat tops: runs of at least four neighbouring samples of one channel at full scale, over blocks too."""

    def __init__(self) -> None:
        self.runs = 0
        self._open: NDArray[np.int64] | None = None  # per channel: length of the run that reaches the block's end

    def push(self, samples: Samples) -> int:
        """Count the runs that reach four samples in this block, and return how many did."""
        if not len(samples):
            return 0
        if self._open is None or len(self._open) != samples.shape[1]:
            self._open = np.zeros(samples.shape[1], dtype=np.int64)
        full = np.abs(samples) >= CLIP_LEVEL
        found = 0
        for channel in range(samples.shape[1]):
            runs, self._open[channel] = _runs(full[:, channel], int(self._open[channel]))
            found += runs
        self.runs += found
        return found


def _runs(full: NDArray[np.bool_], carried: int) -> tuple[int, int]:
    """How many runs became long enough here, and the length of the one still open; `carried`: the one open before."""
    if not full.any():
        return 0, 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], full, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    lengths = ends - starts
    counted_before = starts[0] == 0 and carried >= CLIP_RUN
    if starts[0] == 0:
        lengths[0] += carried
    still_open = int(lengths[-1]) if ends[-1] == len(full) else 0
    return int((lengths >= CLIP_RUN).sum()) - int(counted_before), still_open


def balance_db(samples: Samples) -> float | None:
    """Energy of the left over the right channel in dB; None without a pair or without sound."""
    if samples.ndim != 2 or samples.shape[1] < 2 or not len(samples):
        return None
    left, right, _ = _energies(samples)
    if max(left, right) < _INAUDIBLE:
        return None
    smallest = max(left, right) * 10 ** (-_WIDEST_DB / 10)
    return float(10 * np.log10(max(left, smallest) / max(right, smallest)))


def correlation(samples: Samples) -> float | None:
    """Correlation of left and right, -1 (inverted) to 1 (mono); None without a pair or without sound in both."""
    if samples.ndim != 2 or samples.shape[1] < 2 or not len(samples):
        return None
    left, right, cross = _energies(samples)
    if left * right < _INAUDIBLE**2:
        return None
    return max(-1.0, min(1.0, cross / float(np.sqrt(left * right))))


def _energies(samples: Samples) -> tuple[float, float, float]:
    """Mean squares of left and right, and the mean of their product."""
    pair = np.ascontiguousarray(samples[:, :2], dtype=np.float64)
    products = pair.T @ pair / len(pair)
    return float(products[0, 0]), float(products[1, 1]), float(products[0, 1])

"""Digital filters that carry their state from block to block, on NumPy alone: a light install does without SciPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Samples that are filtered by one product of matrices; the state goes on from one such stretch to the next.
_STRETCH = 128


class Cascade:
    """Second-order sections one after the other, each b0, b1, b2, 1, a1, a2.

    The cascade is a linear system with two state variables a section. Over a stretch its output is a matrix times the
    input plus a matrix times the state (block state-space filtering: Burrus, IEEE Trans. Audio Electroacoust. 20(4),
    1972), so that a second of sound takes some 400 steps instead of 48,000.
    """

    def __init__(self, sections: Array, channels: int) -> None:
        width = 2 * len(sections)
        # Column 0 answers to an impulse, the others to a unit of one state variable each.
        outputs = np.zeros((_STRETCH, 1 + width))
        states = np.zeros((_STRETCH + 1, width, 1 + width))
        states[0, :, 1:] = np.eye(width)
        for step in range(_STRETCH):
            signal = np.zeros(1 + width)
            signal[0] = step == 0
            outputs[step], states[step + 1] = _step(sections, signal, states[step])
        lags = np.subtract.outer(np.arange(_STRETCH), np.arange(_STRETCH))
        self._forced = np.where(lags >= 0, outputs[np.maximum(lags, 0), 0], 0.0)  # (out, in)
        self._free = outputs[:, 1:]
        self._states = states
        self._state = np.zeros((width, channels))

    def push(self, block: Array) -> Array:
        """The next samples, (frames, channels), filtered."""
        whole = len(block) - len(block) % _STRETCH
        return np.concatenate([self._whole(block[:whole]), self._part(block[whole:])])

    def _whole(self, block: Array) -> Array:
        """Whole stretches: what each leaves and gives by itself at once, the state from one to the next."""
        channels, count = block.shape[1], len(block) // _STRETCH
        stretches = block.reshape(count, _STRETCH, channels).transpose(1, 0, 2)
        columns = stretches.reshape(_STRETCH, count * channels)
        left = (self._states[_STRETCH:0:-1, :, 0].T @ columns).reshape(len(self._state), count, channels)
        onward, before = self._states[_STRETCH, :, 1:], np.empty_like(left)
        for number in range(count):
            before[:, number] = self._state
            self._state = onward @ self._state + left[:, number]
        filtered = self._forced @ columns + self._free @ before.reshape(len(before), count * channels)
        return filtered.reshape(_STRETCH, count, channels).transpose(1, 0, 2).reshape(len(block), channels)

    def _part(self, block: Array) -> Array:
        """Less than a stretch."""
        count = len(block)
        filtered = self._forced[:count, :count] @ block + self._free[:count] @ self._state
        # What a sample leaves in the state depends on how long ago it was.
        left = self._states[count:0:-1, :, 0]
        self._state = self._states[count, :, 1:] @ self._state + left.T @ block
        return np.asarray(filtered)


def _step(sections: Array, signal: Array, state: Array) -> tuple[Array, Array]:
    """One sample through all sections, transposed direct form II. state: (2 per section, columns)."""
    after = np.empty_like(state)
    for number, (b0, b1, b2, _, a1, a2) in enumerate(sections):
        first, second = 2 * number, 2 * number + 1
        output = b0 * signal + state[first]
        after[first] = b1 * signal - a1 * output + state[second]
        after[second] = b2 * signal - a2 * output
        signal = output
    return signal, after


def low_pass(length: int, cutoff: float, beta: float) -> Array:
    """Taps of a linear-phase low-pass by the window method (Kaiser), cutoff as a share of half the sampling rate.

    The gain at 0 Hz is 1.
    """
    places = np.arange(length) - (length - 1) / 2
    taps = cutoff * np.sinc(cutoff * places) * np.kaiser(length, beta)
    return np.asarray(taps / taps.sum(), dtype=np.float64)


def oversampled(taps: Array, block: Array, times: int) -> Array:
    """The block at `times` its rate, without what needs samples from before it.

    taps: of the interpolating filter, a multiple of `times`; block: (frames, channels). Gives, phase by phase,
    (times, frames - taps per phase, channels).
    """
    history = len(taps) // times
    return np.array(
        [
            [np.convolve(channel, taps[phase::times])[history : len(block)] for channel in block.T]
            for phase in range(times)
        ]
    ).transpose(0, 2, 1)

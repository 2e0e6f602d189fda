"""The synthetic programme: items of music-like, speech-like and ambience material, made on the spot.

Any stretch can be rendered without those before it, and the same seed gives the same samples: so a primary and a backup
source play the same programme, and a source that is started again goes on where the programme is by the clock.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from soundstage.plan import RATE

Samples = npt.NDArray[np.float32]
ITEM_S = 20
TABLE = 2048
FADE = RATE // 50
QUIET_DBFS = -47.0
QUIET_FADE = RATE
_A4 = 440.0
_FORMANTS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))  # a i u e o


class Item(Protocol):
    """Something that is on air for ITEM_S seconds."""

    def render(self, start: int, count: int) -> Samples:
        """`count` stereo samples from `start` (counted within the item), shape (count, 2)."""
        ...


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng(list(key))


def _wavetable(amplitudes: npt.NDArray[np.floating]) -> Samples:
    """One period of a tone with the given amplitude per harmonic, peak 1."""
    phase = 2 * np.pi * np.arange(TABLE) / TABLE
    wave = sum(a * np.sin((k + 1) * phase + k * k * 0.7) for k, a in enumerate(amplitudes))
    return np.asarray(wave / np.max(np.abs(wave)), np.float32)


@lru_cache
def _vowels() -> Samples:
    harmonics = 130.0 * np.arange(1, 46)
    tables = []
    for formants in _FORMANTS:
        gain = sum(1 / (1 + ((harmonics - f) / (60 + 0.06 * f)) ** 2) / (i + 1) for i, f in enumerate(formants))
        tables.append(_wavetable(np.asarray(gain) / np.sqrt(np.arange(1, 46))))
    return np.stack(tables)


@lru_cache
def _noise(number: int) -> Samples:
    """A seamless loop of pinkish noise, RMS 1; the lengths share no factor, so that two together do not repeat."""
    length = (2**18, 5**8, 3**11)[number]
    spectrum = np.fft.rfft(_rng(77, number).standard_normal(length))
    spectrum /= np.maximum(np.arange(spectrum.size) / spectrum.size, 0.002) ** (0.5 if number < 2 else 0.0)
    loop = np.fft.irfft(spectrum, length)
    return (loop / np.std(loop)).astype(np.float32)


def _noise_at(number: int, start: int, count: int) -> Samples:
    loop = _noise(number)
    return loop[(start + np.arange(count)) % loop.size]


def _look_up(table: Samples, cycles: npt.NDArray[np.float64]) -> Samples:
    return np.asarray(table[(cycles * TABLE).astype(np.int64) & (TABLE - 1)], np.float32)


class Music:
    """Four chords under a melody, with a hat on every half beat."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._step = round(RATE * 60 / rng.uniform(88, 126) / 2)
        steps = ITEM_S * RATE // self._step + 1
        root = rng.integers(-14, -6)
        chords = rng.permutation(np.array([[0, 4, 7], [5, 9, 12], [7, 11, 14], [9, 12, 16]])) + root
        bars = np.arange(steps) // 8 % 4
        scale = np.array([0, 2, 4, 7, 9, 12, 14, 16]) + root + 12
        notes = [chords[bars, 0] - 12, chords[bars, 1], chords[bars, 2], scale[rng.integers(0, 8, steps)]]
        self._frequencies = [_A4 * 2.0 ** (np.asarray(note) / 12) for note in notes]
        self._tables = [_wavetable(1.0 / np.arange(1, 12) ** power) for power in (1.1, 1.6, 1.6, 1.3)]
        self._noise_offset = int(rng.integers(0, 400_000))

    def render(self, start: int, count: int) -> Samples:
        at = start + np.arange(count)
        step, within = at // self._step, at % self._step
        attack = np.minimum(within / 240, 1.0)
        decay = (attack * np.exp(within * (-4.0 / self._step))).astype(np.float32)
        out = np.zeros((count, 2), np.float32)
        for voice, (left, right, level) in enumerate(((1, 1, 0.42), (1, 0.5, 0.18), (0.5, 1, 0.18), (0.9, 0.8, 0.30))):
            tone = _look_up(self._tables[voice], self._frequencies[voice][step] * within / RATE)
            envelope = decay if voice in (0, 3) else np.float32(0.4) + np.float32(0.6) * decay
            tone *= envelope * np.minimum((self._step - within) / 240, 1.0).astype(np.float32) * np.float32(level)
            out[:, 0] += tone * np.float32(left)
            out[:, 1] += tone * np.float32(right)
        hat = np.exp(within * (-1 / 1_200)).astype(np.float32) * np.float32(0.03)
        out += (_noise_at(2, start + self._noise_offset, count) * hat)[:, None]
        return out


class Speech:
    """Syllables with a falling melody, in phrases with short pauses, in a quiet room."""

    def __init__(self, rng: np.random.Generator) -> None:
        lengths: list[int] = []
        voiced: list[float] = []
        while sum(lengths) < ITEM_S * RATE:
            phrase = int(rng.integers(6, 12))
            lengths += [int(n) for n in rng.uniform(0.14, 0.26, phrase) * RATE] + [int(rng.uniform(0.18, 0.38) * RATE)]
            voiced += [1.0] * phrase + [0.0]
        self._starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self._lengths = np.array(lengths)
        self._voiced = np.array(voiced, np.float32)
        base = rng.uniform(95, 210)
        self._from = base * rng.uniform(0.9, 1.3, len(lengths))
        self._to = self._from * rng.uniform(0.8, 1.05, len(lengths))
        self._vowel = rng.integers(0, len(_FORMANTS), len(lengths))
        self._hiss = rng.choice([0.0, 0.0, 0.12, 0.2], len(lengths)).astype(np.float32) * self._voiced
        self._noise_offset = int(rng.integers(0, 400_000))

    def render(self, start: int, count: int) -> Samples:
        at = start + np.arange(count)
        syllable = np.searchsorted(self._starts, at, side="right") - 1
        length = self._lengths[syllable]
        within = at - self._starts[syllable]
        x = within / length
        seconds = within / RATE
        rise = (self._to - self._from)[syllable] / (2 * length / RATE)
        cycles = self._from[syllable] * seconds + rise * seconds * seconds
        table = (cycles * TABLE).astype(np.int64) & (TABLE - 1)
        envelope = np.sqrt(np.sin(np.pi * np.clip(x * 1.04 - 0.02, 0, 1))).astype(np.float32)
        voice = _vowels()[self._vowel[syllable], table] * envelope * self._voiced[syllable] * np.float32(0.30)
        hiss = _noise_at(2, start + self._noise_offset, count) * self._hiss[syllable]
        voice += hiss * np.clip(1 - x * 4, 0, 1).astype(np.float32)
        room = np.float32(0.002)
        left = voice + _noise_at(0, start + self._noise_offset, count) * room
        return np.stack([left, voice + _noise_at(1, start, count) * room], axis=1)


class Ambience:
    """A slow swell of wind in two decorrelated channels, with a chirp now and then."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._offset = int(rng.integers(0, 400_000))
        self._swell = rng.uniform(0.05, 0.15)
        self._chirp_every = int(rng.uniform(1.5, 3.5) * RATE)
        self._chirp_from = rng.uniform(1_800, 3_200)

    def render(self, start: int, count: int) -> Samples:
        at = start + np.arange(count)
        swell = (0.085 + 0.03 * np.sin(2 * np.pi * self._swell * at / RATE)).astype(np.float32)
        left = _noise_at(0, start + self._offset, count) * swell
        right = _noise_at(1, start + self._offset, count) * swell
        within = at % self._chirp_every
        seconds = within / RATE
        envelope = np.sin(np.pi * np.clip(seconds / 0.25, 0, 1)).astype(np.float32) * np.float32(0.05)
        chirp = np.sin(2 * np.pi * (self._chirp_from * seconds + 1_500 * seconds**2)).astype(np.float32) * envelope
        return np.stack([left + chirp, right + chirp * np.float32(0.6)], axis=1)


class Quiet:
    """A passage of music at QUIET_DBFS instead of the programme, from sample `begin` to sample `end`."""

    def __init__(self, rng: np.random.Generator, begin: int, end: int) -> None:
        self._begin, self._end = begin, end
        self._music = Music(rng)
        power = float(np.mean(np.square(self._music.render(0, 4 * RATE))))
        self._gain = np.float32(10 ** (QUIET_DBFS / 20) / np.sqrt(power))

    def over(self, samples: Samples, start: int) -> Samples:
        """The programme's `samples` from sample `start`, with the passage faded over them where it is due."""
        at = start + np.arange(len(samples))
        inside = np.minimum(at - self._begin, self._end - at)
        if inside.max() <= 0:
            return samples
        share = np.clip(inside / QUIET_FADE, 0.0, 1.0).astype(np.float32)[:, None]
        # Within the item, which knows its notes for ITEM_S seconds only.
        music = self._music.render((start - self._begin) % (ITEM_S * RATE - len(samples)), len(samples))
        return np.asarray(samples * (1 - share) + music * self._gain * share, np.float32)


class Programme:
    """An endless programme, given by its seed alone."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._slot = -1
        for number in range(3):  # made now, since making them on air would hold the event loop up
            _noise(number)
        self._item: Item = Ambience(_rng(seed))
        self._quiet: Quiet | None = None

    def quieten(self, begin: int, end: int) -> None:
        """Play a quiet passage of music between two samples of the programme."""
        self._quiet = Quiet(_rng(self._seed, 31), begin, end)

    def kind(self, slot: int) -> str:
        """What is on air in the given slot of ITEM_S seconds: "Music", "Speech" or "Ambience"."""
        return type(self._make(slot)).__name__

    def _make(self, slot: int) -> Item:
        rng = _rng(self._seed, slot)
        draw = rng.random()
        return Music(rng) if draw < 0.45 else Speech(rng) if draw < 0.8 else Ambience(rng)

    def _render_within(self, slot: int, start: int, count: int) -> Samples:
        if slot != self._slot:
            self._slot, self._item = slot, self._make(slot)
        samples = self._item.render(start, count)
        edge = np.minimum(start + np.arange(count), ITEM_S * RATE - 1 - start - np.arange(count))
        fade = np.clip(edge / FADE, 0.0, 1.0).astype(np.float32)
        return samples * fade[:, None]

    def render(self, start: int, count: int) -> Samples:
        """`count` stereo samples from sample `start` of the programme; float32 within [-1, 1], shape (count, 2)."""
        pieces, first = [], start
        while count > 0:
            slot, within = divmod(start, ITEM_S * RATE)
            piece = min(count, ITEM_S * RATE - within)
            pieces.append(self._render_within(slot, within, piece))
            start, count = start + piece, count - piece
        samples = np.clip(np.concatenate(pieces), -1.0, 1.0)
        return self._quiet.over(samples, first) if self._quiet else samples

"""What a series is known to do: a bounded memory of distinct numbers, and how far a new one lies from the nearest.

Strange is what never was, not what is rare: a spike every night is known after the first. So nothing is forgotten but
what was not seen for longest when the memory is full. Distances are in units of the series' own spread, on an axis
that is linear within it and logarithmic far outside, so that one outlier neither blinds the memory nor fills it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ml.detectors.stream import Array, Flags, StreamState

Singles = npt.NDArray[np.float32]
#: Numbers that are kept of each look at a series; _below() counts eight at a time, and at most 255.
KNOWN = 64
#: So many units of distance make up the spread; a number this near to a known one is the known one.
UNITS, SAME = 8.0, 0.5
#: The spread is what lies between two edges. An edge goes this share of the way to what lies beyond it: one outlier
#: hardly moves it; with each number it comes back by this share of its way to the centre, which moves as slowly.
OUTWARD, INWARD = 0.1, 0.0005
#: No spread is narrower than this share of the series' level: below, differences are rounding.
NARROWEST = 1e-4
#: ... nor than this: what was always 0 has no spread at all.
TINY = np.float32(1e-12)


def begin(series: int, looks: int) -> dict[str, Array]:
    """The memory of so many looks at so many series. known: in order, infinite where there is none."""
    return {
        "known": np.full((series, looks, KNOWN), np.inf, np.float32),
        "used": np.full((series, looks, KNOWN), -1, np.int32),
        "centre": np.zeros((series, looks), np.float32),
        "low": np.zeros((series, looks), np.float32),
        "high": np.zeros((series, looks), np.float32),
        "seen": np.zeros((series, looks), np.int32),
    }


def _spread(arrays: Mapping[str, Array]) -> Singles:
    """How far apart the edges of each look's usual range are, (series, looks), in the series' unit."""
    narrowest = NARROWEST * np.abs(arrays["centre"][:, :1]) + TINY
    wide: Singles = np.maximum(arrays["high"] - arrays["low"], narrowest)
    return wide


def novelty(state: StreamState, numbers: Singles) -> tuple[Singles, Singles]:
    """Distance to the nearest known number, and that number: (series, looks) each, NaN where `numbers` is.

    Learns the numbers, in place. With nothing known yet the distance is 0, and nothing is nearest.
    """
    arrays = state.arrays
    _start(arrays, numbers)
    wide = _spread(arrays)
    below = _below(arrays["known"], numbers)
    places = np.arange(numbers.size).reshape(numbers.shape) * KNOWN + below
    flat = arrays["known"].reshape(-1, copy=False)
    lower = np.where(below > 0, flat[places - (below > 0)], -np.inf)
    upper = np.where(below < KNOWN, flat[places - (below == KNOWN)], np.inf)
    here = _axis(arrays, wide, numbers)
    down, up = here - _axis(arrays, wide, lower), _axis(arrays, wide, upper) - here
    closer = down <= up
    distance, nearest = np.where(closer, down, up), np.where(closer, lower, upper)
    came, first = np.isfinite(numbers), np.isinf(distance)
    distance[first], nearest[first] = 0.0, np.nan
    new = came & ((distance > SAME) | first)
    met = came & ~new
    arrays["used"].reshape(-1, copy=False)[(places - closer)[met]] = arrays["seen"][met]
    if new.any():
        _keep(arrays, numbers, new)
    arrays["seen"][...] += came
    _move(arrays, wide, numbers, came)
    return distance, nearest


def _below(known: Singles, numbers: Singles) -> npt.NDArray[np.int64]:
    """How many of the known numbers, which are in order, are not above: (series, looks)."""
    under = known <= numbers[:, :, None]
    # the flags as bytes, eight to a word: words are added, then the bytes of the sum by one multiplication
    words = under.view(np.uint64).sum(axis=2, dtype=np.uint64)
    counted: npt.NDArray[np.int64] = ((words * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.int64)
    return counted


def _axis(arrays: Mapping[str, Array], wide: Singles, numbers: Singles) -> Singles:
    placed: Singles = np.arcsinh((numbers - arrays["centre"]) / wide) * np.float32(UNITS)
    return placed


def _keep(arrays: Mapping[str, Array], numbers: Singles, new: Flags) -> None:
    """Put what is new in the place of what was not met for longest, and all in order again."""
    known, used = arrays["known"][new], arrays["used"][new]
    rows, oldest = np.arange(len(known)), used.argmin(axis=1)
    known[rows, oldest], used[rows, oldest] = numbers[new], arrays["seen"][new]
    order = known.argsort(axis=1)
    arrays["known"][new] = np.take_along_axis(known, order, axis=1)
    arrays["used"][new] = np.take_along_axis(used, order, axis=1)


def _start(arrays: Mapping[str, Array], numbers: Singles) -> None:
    """The first number is the centre, and both edges."""
    first = (arrays["seen"] == 0) & np.isfinite(numbers)
    if first.any():
        for name in ("centre", "low", "high"):
            np.copyto(arrays[name], numbers, where=first)


def _move(arrays: Mapping[str, Array], wide: Singles, numbers: Singles, came: Flags) -> None:
    """Edges and centre follow the numbers; in the beginning as a mean does, and soon slowly."""
    centre, low, high = arrays["centre"], arrays["low"], arrays["high"]
    share = np.float32(1.0) / arrays["seen"].clip(1).astype(np.float32)
    outward, inward = np.maximum(share, np.float32(OUTWARD)), np.float32(INWARD)
    moved = np.maximum(share, inward) * (np.clip(numbers, low - wide, high + wide) - centre)
    over, under = np.maximum(numbers - high, 0), np.maximum(low - numbers, 0)
    raised = np.where(over > 0, outward * over, -inward * (high - centre))
    lowered = np.where(under > 0, -outward * under, inward * (centre - low))
    np.add(high, raised, out=high, where=came)
    np.add(low, lowered, out=low, where=came)
    np.add(centre, moved, out=centre, where=came)

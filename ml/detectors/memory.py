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
#: Numbers that are kept of each look at a series, and numbers that its spread is told from.
KNOWN, SAMPLED = 64, 64
#: The spread is the distance of these quantiles; this many units of distance make it up.
LOW, HIGH, UNITS = 0.02, 0.98, 8.0
#: A number this near to a known one is the known one.
SAME = 0.5
#: No spread is narrower than this share of the number itself: below, differences are rounding.
NARROWEST = 1e-4
#: Once the sample is full, every so many'th number takes the place of another; so often the spread is told anew.
EVERY, ANEW = 4, 8
#: ... nor than this: what was always 0 has no spread at all.
TINY = np.float32(1e-12)


def begin(series: int, looks: int) -> dict[str, Array]:
    """The memory of so many looks at so many series."""
    return {
        "known": np.full((series, looks, KNOWN), np.nan, np.float32),
        "used": np.full((series, looks, KNOWN), -1, np.int32),
        "sample": np.full((series, looks, SAMPLED), np.inf, np.float32),
        "centre": np.zeros((series, looks), np.float32),
        "spread": np.full((series, looks), TINY, np.float32),
        "seen": np.zeros((series, looks), np.int32),
    }


def novelty(state: StreamState, numbers: Singles) -> tuple[Singles, Singles]:
    """Distance to the nearest known number, and that number: (series, looks) each, NaN where `numbers` is.

    Learns the numbers, in place. With nothing known yet the distance is 0, and nothing is nearest.
    """
    arrays = state.arrays
    apart = numbers[:, :, None] - arrays["known"]
    below = np.where(apart >= 0, apart, np.inf)
    above = np.where(apart < 0, -apart, np.inf)
    under, over = below.argmin(axis=2), above.argmin(axis=2)
    lower, upper = numbers - _at(below, under), numbers + _at(above, over)
    here = _axis(arrays, numbers)
    down, up = here - _axis(arrays, lower), _axis(arrays, upper) - here
    closer = down <= up
    distance, nearest = np.where(closer, down, up), np.where(closer, lower, upper)
    came, first = np.isfinite(numbers), np.isinf(distance)
    distance[first], nearest[first] = 0.0, np.nan
    _learn(arrays, numbers, came & ((distance > SAME) | first), came, np.where(closer, under, over))
    return distance, nearest


def _at(values: Singles, places: npt.NDArray[np.intp]) -> Singles:
    found: Singles = np.take_along_axis(values, places[:, :, None], axis=2)[:, :, 0]
    return found


def _axis(arrays: Mapping[str, Array], numbers: Singles) -> Singles:
    placed: Singles = np.arcsinh((numbers - arrays["centre"]) / arrays["spread"]) * np.float32(UNITS)
    return placed


def _learn(
    arrays: Mapping[str, Array], numbers: Singles, new: Flags, came: Flags, places: npt.NDArray[np.intp]
) -> None:
    """Keep what is new in the place of what was not met for longest, and when the others were met."""
    seen, used = arrays["seen"], arrays["used"]
    if new.any():
        rows, looks = np.nonzero(new)
        oldest = used[rows, looks].argmin(axis=1)
        arrays["known"][rows, looks, oldest] = numbers[rows, looks]
        places[rows, looks] = oldest
    rows, looks = np.nonzero(came)
    used[rows, looks, places[rows, looks]] = seen[rows, looks]
    _sample(arrays, numbers, came)
    seen += came


def _sample(arrays: Mapping[str, Array], numbers: Singles, came: Flags) -> None:
    """Take some of the numbers into the sample, and tell centre and spread anew where it is time."""
    seen = arrays["seen"]
    young = seen < SAMPLED
    rows, looks = np.nonzero(came & (young | (seen % EVERY == 0)))
    met = seen[rows, looks]
    # without memory of its own, a hash of how many were seen picks the place as evenly as chance would
    places = np.where(met < SAMPLED, met, ((met // EVERY).astype(np.uint32) * np.uint32(2654435761)) >> np.uint32(26))
    arrays["sample"][rows, looks, places] = numbers[rows, looks]
    rows, looks = np.nonzero(came & (young | (seen % ANEW == 0)))
    if not len(rows):
        return
    ordered = np.sort(arrays["sample"][rows, looks], axis=1)
    last = np.minimum(seen[rows, looks], SAMPLED - 1)
    low, middle, high = (
        ordered[np.arange(len(rows)), np.rint(share * last).astype(np.intp)] for share in (LOW, 0.5, HIGH)
    )
    arrays["centre"][rows, looks] = middle
    narrowest = NARROWEST * np.abs(arrays["centre"][rows, 0])
    arrays["spread"][rows, looks] = np.maximum(np.maximum(high - low, narrowest), TINY)

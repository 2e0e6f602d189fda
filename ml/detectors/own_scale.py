"""The axis on which a series is followed: logarithmic where it never falls below zero, as it comes where it does.

A latency or an audience moves by shares of itself, a loudness by steps. What a series is, and how small a part of it
is no more than its own trembling, its first day tells.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ml.detectors.stream import Array, Flags, Floats, Round

#: So long a series is only watched, and longer if nothing moved in it.
WATCHED_S = 86_400.0
#: Readings without which nothing is settled.
LEAST = 100
#: What is added before the logarithm: a usual step, but no less than this share of the usual size.
SMALLEST = 1e-3


def begin(series: int) -> dict[str, Array]:
    """What is kept of so many series. offset: NaN while they are only watched."""
    return {
        "since": np.full(series, np.nan),
        "negative": np.zeros(series, np.bool_),
        "readings": np.zeros(series, np.int32),
        "step": np.zeros(series, np.float32),
        "size": np.zeros(series, np.float32),
        "offset": np.full(series, np.nan, np.float32),
    }


def place(arrays: Mapping[str, Array], now: Round) -> Floats:
    """Where each series' value lies on its axis, (series,); NaN: missing, or only watched as yet. Learns in place."""
    watched = np.isnan(arrays["offset"])
    if watched.any():
        _watch(arrays, now, watched & ~np.isnan(now.value))
    with np.errstate(invalid="ignore"):
        logarithm = np.log(np.maximum(now.value, 0.0) + arrays["offset"])
    return np.where(arrays["negative"], now.value + 0.0 * arrays["offset"], logarithm)


def value(arrays: Mapping[str, Array], placed: Floats) -> Floats:
    """The value, in the series' unit, of places on the axis."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(arrays["negative"], placed, np.exp(placed) - arrays["offset"])


def _watch(arrays: Mapping[str, Array], now: Round, came: Flags) -> None:
    since = arrays["since"]
    np.copyto(since, now.time, where=came & np.isnan(since))
    arrays["readings"] += came
    share = 1.0 / np.maximum(arrays["readings"], 1)
    step = np.abs(now.value - now.before)
    for name, one in (("step", step), ("size", np.abs(now.value))):
        moved = arrays[name] + share * (one - arrays[name])
        np.copyto(arrays[name], moved, where=came & ~np.isnan(one), casting="same_kind")
    arrays["negative"] |= came & (now.value < 0)
    known = came & (now.time - since >= WATCHED_S) & (arrays["readings"] >= LEAST) & (arrays["step"] > 0)
    offset = np.maximum(arrays["step"], SMALLEST * arrays["size"])
    np.copyto(arrays["offset"], offset, where=known, casting="same_kind")

"""How far a series strays from what is expected of it: over minutes and hours, in how it trembles, in standing still.

Each look is a figure that rises as the series strays. How high it rises on a usual day, and how much that differs from
day to day, is learned of each series and look: what counts is by how many such differences today is above. So a series
that leaps every day must leap farther, and one that never does need not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ml.detectors.stream import Array, Flags, Floats

#: Means over so many seconds.
MEANS_S = (240.0, 900.0, 1_800.0, 14_400.0)
TREMBLES_S = 1_800.0
LOOKS = ("minutes", "quarter", "half-hour", "hours", "tremble", "still")
#: Beyond so many spreads a reading says no more; nor one that trembles so many times the usual.
FARTHEST, SHAKEN = 8.0, 6.0
#: The spread follows over this time, and no reading counts for more than so many of it once so many are known.
SPREAD_S, BOUNDED, KNOWN = 600_000.0, 4.0, 300
#: From the mean size of what is left to a normal's standard deviation.
TO_SD = 1.25
#: A level that has gone elsewhere is followed over this time, up to so many spreads. After a change that is known of it
#: is told anew within minutes, up to the same bound: what a release breaks must be seen.
LEVEL_S, FORGIVEN = 172_800.0, 2.0
#: Below this nothing is left to be judged; and a series that moves in fewer of its readings stands still by itself.
NOTHING, MOVING = 1e-7, 0.02
#: Days of which the usual height is the mean; readings that make a day.
DAYS, DAY = 28, 100
#: How far days differ is told by those seen and by so many that differ by this share of the height: nobody knows it
#: after a week. Height and difference are at least those.
BEFORE, DIFFER = 5, np.array([0.1, 0.1, 0.1, 0.1, 0.05, 0.1])
LOWEST, CLOSEST = np.array([0.5, 0.5, 0.5, 0.5, 1.0, 0.7]), np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.15])
#: A day's height counts up to so many differences above the usual one.
HIGHEST = 4.0
#: Days before anything is said.
LEARNED = 4


@dataclass(frozen=True, slots=True)
class Left:
    """What a round leaves: all (series,). away: from what is expected, on the series' axis, NaN: not judged; joined:
    the reading follows another; same: ... and tells the same; pause: seconds between readings; day: its number.
    """

    away: Floats
    joined: Flags
    same: Flags
    pause: Floats
    day: Array


def begin(series: int) -> dict[str, Array]:
    """What is kept of so many series."""
    looks = (series, len(LOOKS))
    return {
        "spread": np.full(series, np.nan, np.float32),
        "shake": np.full(series, np.nan, np.float32),
        "judged": np.zeros(series, np.int32),
        "moving": np.zeros(series, np.float32),
        "left": np.full(series, np.nan, np.float32),
        "level": np.zeros(series, np.float32),
        "settled": np.full(series, 2**30, np.int32),
        "looks": np.zeros(looks, np.float32),
        "top": np.zeros(looks, np.float32),
        "usual": np.zeros(looks, np.float32),
        "differ": np.zeros(looks, np.float32),
        "days": np.zeros(series, np.int16),
        "today": np.full(series, -1, np.int32),
        "of today": np.zeros(series, np.int32),
    }


def changed(arrays: Mapping[str, Array], rows: Array) -> None:
    """These series' levels may be elsewhere from now on."""
    arrays["settled"][rows] = 0


def strays(arrays: Mapping[str, Array], now: Left) -> Floats:
    """By how many usual differences each look is above a usual day's height, (series, looks); NaN: not judged."""
    came = ~np.isnan(now.away)
    _day(arrays, came & (now.day != arrays["today"]), now.day)
    _spread(arrays, now, came)
    moves = moving(arrays)
    _looks(arrays, now, came, _level(arrays, now, came))
    judged = came & moves
    heights = np.abs(arrays["looks"])
    np.maximum(arrays["top"], heights, out=arrays["top"], where=judged[:, None])
    arrays["of today"] += judged
    able = judged & (arrays["days"] >= LEARNED)
    usual, differ = _scale(arrays)
    return np.where(able[:, None], (heights - usual) / differ, np.nan)


def moving(arrays: Mapping[str, Array]) -> Flags:
    """Which series move by themselves, (series,): of the others nothing is expected, and they say nothing of others."""
    return np.asarray((arrays["moving"] >= MOVING) & (arrays["spread"] > NOTHING))


def spread(arrays: Mapping[str, Array]) -> Floats:
    """How far each series' readings usually lie from what is expected, (series,); 0: not known, or it does not move."""
    return np.where(moving(arrays), arrays["spread"], 0.0).astype(np.float64)


def level(arrays: Mapping[str, Array]) -> Array:
    """How far each series' level has gone from its days' profile, (series,)."""
    return arrays["level"]


def _scale(arrays: Mapping[str, Array]) -> tuple[Floats, Floats]:
    """A usual day's height and how far days differ, (series, looks) each."""
    usual = np.maximum(arrays["usual"], LOWEST)
    days = np.minimum(arrays["days"], DAYS)[:, None]
    differ = (days * arrays["differ"] + BEFORE * DIFFER * usual) / (days + BEFORE)
    return usual, np.maximum(differ, CLOSEST)


def _day(arrays: Mapping[str, Array], begun: Flags, day: Array) -> None:
    """A day that is over goes into what is usual; one with few readings does not."""
    if not begun.any():
        return
    whole = begun & (arrays["of today"] >= DAY)
    days = arrays["days"][:, None]
    usual, differ = arrays["usual"], arrays["differ"]
    top = np.where(days >= 3, np.minimum(arrays["top"], usual + HIGHEST * differ), arrays["top"])
    off = np.abs(top - usual) - differ
    spread = np.where(days >= 1, differ + off / np.clip(days, 1, DAYS), differ)
    np.copyto(differ, spread, where=whole[:, None], casting="same_kind")
    np.copyto(usual, usual + (top - usual) / np.minimum(days + 1, DAYS), where=whole[:, None], casting="same_kind")
    arrays["days"] += whole
    arrays["top"][begun], arrays["of today"][begun] = 0.0, 0
    np.copyto(arrays["today"], day, where=begun, casting="same_kind")


def _spread(arrays: Mapping[str, Array], now: Left, came: Flags) -> None:
    """How far readings usually lie from what is expected, and from the one before; and whether the series moves."""
    arrays["judged"] += came
    share = np.maximum(1.0 / np.maximum(arrays["judged"], 1), now.pause / SPREAD_S)
    known = arrays["judged"] > KNOWN
    for name, size, scale in (("spread", np.abs(now.away), TO_SD), ("shake", np.abs(now.away - arrays["left"]), 1.0)):
        before = arrays[name].astype(np.float64)
        bounded = np.where(known & ~np.isnan(before), np.minimum(size, BOUNDED * before), size)
        after = np.where(np.isnan(before), size, before + share * (scale * bounded - before))
        np.copyto(arrays[name], after, where=~np.isnan(size), casting="same_kind")
    share = np.maximum(1.0 / np.maximum(arrays["judged"], 1), now.pause / SPREAD_S)
    arrays["moving"] += np.where(came & now.joined, share * (~now.same - arrays["moving"]), 0.0).astype(np.float32)


def _level(arrays: Mapping[str, Array], now: Left, came: Flags) -> Floats:
    """How far each lies from where it should, in spreads, when its level is allowed for."""
    spread = np.where(arrays["spread"] > NOTHING, arrays["spread"], np.inf).astype(np.float64)
    arrays["settled"] += came
    share = np.maximum(1.0 / np.maximum(arrays["settled"], 1), now.pause / LEVEL_S)
    off = np.clip((now.away - arrays["level"]) / spread, -FORGIVEN, FORGIVEN)
    bound = np.where(np.isfinite(spread), FORGIVEN * spread, 0.0)
    moved = np.clip(arrays["level"] + share * off * np.where(np.isfinite(spread), spread, 0.0), -bound, bound)
    np.copyto(arrays["level"], moved, where=came, casting="same_kind")
    return np.clip((now.away - arrays["level"]) / spread, -FARTHEST, FARTHEST)


def _looks(arrays: Mapping[str, Array], now: Left, came: Flags, strays: Floats) -> None:
    looks = arrays["looks"]
    for place, seconds in enumerate(MEANS_S):
        share = np.minimum(now.pause / seconds, 1.0)
        looks[:, place] += np.where(came, share * (strays - looks[:, place]), 0.0)
    shake = np.where(arrays["shake"] > NOTHING, arrays["shake"], np.inf)
    trembles = np.minimum(np.abs(now.away - arrays["left"]) / shake, SHAKEN)
    share = np.minimum(now.pause / TREMBLES_S, 1.0)
    looks[:, 4] += np.where(came & ~np.isnan(trembles), share * (trembles - looks[:, 4]), 0.0)
    again = np.log1p(np.expm1(looks[:, 5]) + 1.0)
    looks[:, 5] = np.where(came, np.where(now.same, again, 0.0), looks[:, 5])
    np.copyto(arrays["left"], now.away, casting="same_kind")

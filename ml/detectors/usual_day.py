"""What a platform's series do at this time of such a day: two profiles of each, and what all of them do together.

Every series has a course of its own for working days and for free ones. Which of the two a day follows, the platform
tells itself: a holiday is one on which the series that follow the audience go as on a Sunday. What is left and common
to them, more listeners than ever or fewer, is taken out of each by the share it takes in the day: a fault of a few
cannot move what most of them tell, since each is heard only up to a bound.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ml.detectors.stream import Array, Flags, Floats

Places = npt.NDArray[np.int64]
DAY_S = 86_400.0
#: Times of day that are told apart; between their middles the profile is straight.
TIMES = 96
#: A time of day's expectation follows with this share once it is known; and how often
#: it is met before what comes is held against the spread; more than so many spreads at once are not believed.
FOLLOWS, MET, BELIEVED = 0.1, 3, 3.0
#: The calendar's word on what kind of day it is weighs as much as so many squared spreads; what the series tell of it
#: is forgotten over this time.
CALENDAR, TOLD_S = 200.0, 3_000.0
#: Days like one another at least so much take part in the platform's day; a common movement is small unless the series
#: tell otherwise: so much they must weigh together.
ALIKE, STILL = 0.7, 36.0
#: A series is heard up to so many spreads on what all do together, in so many rounds.
HEARD, ROUNDS = 2.0, 3
#: Those with the clearest days say what the platform's is.
CLEAREST = 10


def begin(series: int, platforms: Places) -> dict[str, Array]:
    """What is kept of so many series. platforms: (series,), which of them are seen together."""
    return {
        "platform": np.asarray(platforms, np.int32).copy(),
        "profile": np.full((series, 2, TIMES), np.nan, np.float32),
        "met": np.zeros((series, 2, TIMES), np.uint8),
        "time of day": np.full(series, -1, np.int16),
        "kind": np.zeros(series, np.int8),
        "sum": np.zeros(series),
        "count": np.zeros(series, np.int16),
        "day": np.full(series, -1, np.int32),
        "share": np.zeros(series, np.float32),
        "common": np.zeros(series, np.float32),
        "freer": np.zeros(series, np.float32),
        "sure": np.zeros(series, np.float32),
        "free": np.zeros(series, np.float32),
    }


def expected(arrays: Mapping[str, Array], times: Floats, placed: Floats, spread: Floats, pause: Floats) -> Floats:
    """Where each series should lie on its axis now, (series,); NaN: not known. Learns from where it does, in place.

    times: epoch seconds; placed: NaN where there is nothing; spread: how far readings usually lie from this, 0: not
    known, or the series does not move; pause: seconds between readings.
    """
    came = ~np.isnan(placed)
    clock = np.where(came, times, 0.0)
    day, second = np.divmod(clock, DAY_S)
    now, today = second / DAY_S * TIMES, day.astype(np.int64)
    # 1970 began on a Thursday. Where nothing came the day is what it was: some series are read more rarely than others.
    weekend = np.where(came, (today + 3) % 7 >= 5, arrays["kind"]).astype(np.int8)
    _new_day(arrays, came & (today != arrays["day"]), today, spread)
    _new_time(arrays, came, now.astype(np.int64), weekend, spread)
    work, free = _profiles(arrays, now)
    weight = np.where(came & (spread > 0) & (arrays["share"] != 0), 1.0 / np.maximum(spread, 1e-12) ** 2, 0.0)
    kind = _kind(arrays, placed - work, free - work, weight, (weekend, pause))
    like = np.where(kind <= 0, work, np.where(kind >= 1, free, work + kind * (free - work)))
    known = np.where(np.isnan(placed), np.nan, like)
    together = arrays["share"] * _common(arrays, placed - known, weight, spread)
    arrays["sum"] += np.where(came, placed - together, 0.0)
    arrays["count"] += came
    return np.asarray(known + together)


def _new_day(arrays: Mapping[str, Array], begun: Flags, today: Places, spread: Floats) -> None:
    """With each day what share each series takes in the platform's day is told anew."""
    if not begun.any():
        return
    np.copyto(arrays["day"], today, where=begun, casting="same_kind")
    for platform in np.unique(arrays["platform"][begun]):
        rows = np.flatnonzero(arrays["platform"] == platform)
        arrays["share"][rows] = _shares(arrays["profile"][rows, 0].astype(np.float64), spread[rows])


def _shares(profiles: Floats, spread: Floats) -> Floats:
    """How much of the platform's working day each of these takes up, (series,); 0: it has no such day."""
    whole = np.isfinite(profiles).all(axis=1) & (spread > 0)
    if not whole.any():
        return np.zeros(len(profiles))
    around = np.where(whole[:, None], profiles - profiles.mean(axis=1, keepdims=True), 0.0)
    moves = around.std(axis=1)
    clear = np.where(whole, moves / np.where(spread > 0, spread, np.inf), 0.0)
    best = np.argsort(-clear, kind="stable")[:CLEAREST]
    best = best[clear[best] > 1.0]
    if not len(best):
        return np.zeros(len(profiles))
    shapes = around[best] / moves[best, None]
    shapes *= np.where(shapes @ shapes[0] < 0, -1.0, 1.0)[:, None]
    day = np.median(shapes, axis=0)
    size = float(day @ day)
    share = around @ day / max(size, 1e-12)
    alike = (around @ day) ** 2 / np.maximum((around**2).sum(axis=1) * size, 1e-24)
    return np.where(whole & (alike > ALIKE) & (clear > 1.0), share, 0.0)


def _new_time(arrays: Mapping[str, Array], came: Flags, time: Places, weekend: Array, spread: Floats) -> None:
    """What the time of day that is over told goes into the profile of the kind of day that it was."""
    over = np.flatnonzero(came & (time != arrays["time of day"]))
    if not len(over):
        return
    kind, told = arrays["kind"][over], arrays["count"][over]
    # a holiday must not teach what working days are like
    fits = (told > 0) & (np.abs(arrays["free"][over] - kind) < 0.5)
    some, kind = over[fits], kind[fits]
    before = arrays["time of day"][some]
    mean = arrays["sum"][some] / told[fits]
    profile, met = arrays["profile"][some, kind, before].astype(np.float64), arrays["met"][some, kind, before]
    limit = np.where((met >= MET) & (spread[some] > 0), BELIEVED * spread[some], np.inf)
    moved = np.clip(mean - profile, -limit, limit) * np.maximum(1.0 / (met + 1.0), FOLLOWS)
    arrays["profile"][some, kind, before] = np.where(np.isnan(profile), mean, profile + moved)
    arrays["met"][some, kind, before] = np.minimum(met, 254) + 1
    arrays["sum"][over], arrays["count"][over] = 0.0, 0
    arrays["time of day"][over], arrays["kind"][over] = time[over], weekend[over]


def _profiles(arrays: Mapping[str, Array], now: Floats) -> tuple[Floats, Floats]:
    """What is expected at this time of a working day, and of a free one."""
    middle = now - 0.5
    before = np.floor(middle)
    later = middle - before
    first = before.astype(np.int64) % TIMES
    rows, second = np.arange(len(now)), (first + 1) % TIMES
    profile = arrays["profile"]
    work, free = ((1.0 - later) * profile[rows, kind, first] + later * profile[rows, kind, second] for kind in (0, 1))
    return work, free


def _kind(
    arrays: Mapping[str, Array], away: Floats, apart: Floats, weight: Floats, calendar: tuple[Array, Floats]
) -> Floats:
    """How much of a free day this one is, 0 to 1, by the calendar and by what all series of a platform do.

    away: from the working day's expectation; apart: how far the free day's lies from it.
    """
    weekend, pause = calendar
    heard = ~np.isnan(away) & ~np.isnan(apart) & (weight > 0)
    apart, weight = np.where(heard, apart, 0.0), np.where(heard, weight, 0.0)
    said = arrays["free"] * apart
    bound = BELIEVED / np.sqrt(np.where(weight > 0, weight, 1.0))
    bounded = said + np.clip(np.where(heard, away, 0.0) - said, -bound, bound)
    kept = np.exp(-np.nan_to_num(pause) / TOLD_S)
    freer = kept * arrays["freer"] + _summed(arrays, weight * apart * bounded)
    sure = kept * arrays["sure"] + _summed(arrays, weight * apart**2)
    free = np.clip((freer + CALENDAR * weekend) / (sure + CALENDAR), 0.0, 1.0)
    for name, one in (("freer", freer), ("sure", sure), ("free", free)):
        arrays[name][...] = one
    return np.asarray(free)


def _common(arrays: Mapping[str, Array], away: Floats, weight: Floats, spread: Floats) -> Floats:
    """How far all of a platform lie from what is expected, in shares of its day."""
    share, common = arrays["share"].astype(np.float64), arrays["common"].astype(np.float64)
    heard = ~np.isnan(away) & (weight > 0)
    if not heard.any():
        return common
    weight, away = np.where(heard, weight, 0.0), np.where(heard, away, 0.0)
    bound = np.where(heard, HEARD * spread, 0.0)
    whole = _summed(arrays, weight * share**2) + STILL
    for _ in range(ROUNDS):
        left = np.clip(away - share * common, -bound, bound)
        common = common + _summed(arrays, weight * share * left) / whole
    arrays["common"][...] = common
    return common


def _summed(arrays: Mapping[str, Array], values: Floats) -> Floats:
    """Over each platform, told to each of its series."""
    return np.asarray(np.bincount(arrays["platform"], values)[arrays["platform"]])

"""Made validations, many side by side: what champion and challenger find, page and cost, as unlike dice as life is.

Eight tenants of unequal size. An anomaly is injected per tenant and hour, incidents come in bursts (1 to 9 bursts a
week, one to several incidents each). What is hard is hard for both (a state of the tenant that lasts for hours, and the
incident itself); besides, each detector has luck of its own that lasts for two hours, so that neighbouring incidents
are won or lost together. Base recall about 0.6. Calm tenant-days have half a page a week each, half of them in common,
with noisy days. All arrays have the replicates first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

Floats = npt.NDArray[np.float64]
HOURS, DAY = 6, 24
BURSTS_PER_WEEK = np.array([1.0, 1.0, 2.0, 2.0, 3.0, 4.0, 6.0, 9.0])
#: Per hour; of all kinds together at most so many.
INJECTED, MOST_AT_ONCE = 1, 4
BASE = 0.6
#: Standard deviations in log odds, and hours that they last.
TENANT, STATE, STATE_H, LUCK, LUCK_H, INCIDENT = 0.5, 0.8, 6.0, 0.6, 2.0, 1.0
PAGES_PER_WEEK, COMMON, CALM_DAYS = 0.5, 0.5, 0.9
#: Days that an alarm stands for in the mean, and the share of a tenant's anomalies that fall into its part.
STANDING_DAYS, PART = 5.0, 0.25


@dataclass(frozen=True, slots=True)
class World:
    """How the challenger differs. odds: added to its log odds; pages: times as many of its own; slow: times as long.

    loud: times as many pages of the champion's own; standing: alarms a week that stand for days in a part of a tenant,
    of either its own; behind: the champion stands in one all the time.
    """

    odds: float = 0.0
    pages: float = 1.0
    slow: float = 1.0
    tenants: int = 8
    days: int = 28
    luck_h: float = LUCK_H
    loud: float = 1.0
    standing: float = 0.0
    behind: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """items: (replicates, hours, tenants, at once), +1, 0, -1 or NaN; days: (replicates, days, tenants), pages more,
    NaN: not calm; ratios: (replicates, hours, tenants), seconds of the challenger per second of the champion.
    """

    items: Floats
    days: Floats
    ratios: Floats


def odds_for(effect: float) -> float:
    """What must be added to the log odds so that the recall rises by `effect`."""
    spread = math.sqrt(TENANT**2 + STATE**2 + LUCK**2 + INCIDENT**2)
    around = BASE_ODDS + spread * np.linspace(-5, 5, 2001)
    weights = np.exp(-(np.linspace(-5, 5, 2001) ** 2) / 2)
    weights /= weights.sum()
    low, high = -6.0, 6.0
    before = float(weights @ _share(around))
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if float(weights @ _share(around + middle)) - before < effect else (low, middle)
    return low


def stream(world: World, replicates: int, chance: np.random.Generator) -> Stream:
    """So many validations of the same world."""
    shape = (replicates, world.days * DAY, world.tenants)
    sizes = BURSTS_PER_WEEK[-world.tenants :]
    state = TENANT * chance.normal(size=(replicates, 1, world.tenants)) + STATE * _lasting(shape, STATE_H, chance)
    champion = BASE_ODDS + state + LUCK * _lasting(shape, world.luck_h, chance)
    challenger = BASE_ODDS + world.odds + state + LUCK * _lasting(shape, world.luck_h, chance)
    count = np.full(shape, INJECTED, np.int64)
    bursts = chance.random(shape) < sizes / (7 * DAY)
    count += np.where(bursts, 1 + chance.poisson(1.0, shape), 0)
    items = np.full((*shape, MOST_AT_ONCE), np.nan)
    stands = [_standing(world, shape, chance) for _ in ("challenger", "champion")]
    stands[1] |= world.behind
    for number in range(MOST_AT_ONCE):
        there = np.nonzero(count > number)
        hard = INCIDENT * chance.normal(size=len(there[0]))
        found = [chance.random(len(hard)) < _share(each[there] + hard) for each in (challenger, champion)]
        if world.standing or world.behind:
            inside = chance.random((2, len(hard))) < PART
            found = [one & ~(into & stood[there]) for one, into, stood in zip(found, inside, stands, strict=True)]
        items[..., number][there] = found[0].astype(float) - found[1]
    days = _days(world, replicates, chance)
    for more, stood in zip((1.0, -1.0), stands, strict=True):
        days += more * stood.reshape(replicates, world.days, DAY, world.tenants).any(axis=2)
    return Stream(items, days, _ratios(world, shape, chance))


def _standing(world: World, shape: tuple[int, ...], chance: np.random.Generator) -> npt.NDArray[np.bool_]:
    """The hours in which an alarm stands."""
    if not world.standing:
        return np.zeros(shape, np.bool_)
    begins = chance.random(shape) < world.standing / (7 * DAY)
    lasts = np.where(begins, np.ceil(chance.exponential(STANDING_DAYS * DAY, shape)), 0.0)
    until = np.maximum.accumulate(np.where(begins, np.arange(shape[1])[None, :, None] + lasts, 0.0), axis=1)
    return np.asarray(until > np.arange(shape[1])[None, :, None])


def _share(odds: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-odds)))


BASE_ODDS = math.log(BASE / (1 - BASE)) * math.sqrt(1 + math.pi * (TENANT**2 + STATE**2 + LUCK**2 + INCIDENT**2) / 8)


def _lasting(shape: tuple[int, ...], hours: float, chance: np.random.Generator) -> Floats:
    """A state along axis 1 that forgets itself in so many hours, with spread 1."""
    keeps = math.exp(-1.0 / hours)
    new = chance.normal(size=shape)
    new[:, 0] /= math.sqrt(1 - keeps**2)
    return np.asarray(lfilter([math.sqrt(1 - keeps**2)], [1.0, -keeps], new, axis=1))


def _days(world: World, replicates: int, chance: np.random.Generator) -> Floats:
    shape = (replicates, world.days, world.tenants)
    noisy = PAGES_PER_WEEK / 7 * chance.gamma(0.7, 1 / 0.7, shape)
    own = [chance.poisson(noisy * (1 - COMMON) * each) for each in (world.pages, world.loud)]
    more = (own[0] - own[1]).astype(np.float64)
    more[chance.random(shape) > CALM_DAYS] = np.nan
    return more


def _ratios(world: World, shape: tuple[int, ...], chance: np.random.Generator) -> Floats:
    logs = 0.15 * _lasting(shape, 3.0, chance) + 0.2 * chance.standard_t(3, shape)
    return np.asarray(world.slow * np.exp(logs))

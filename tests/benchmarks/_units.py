"""Made units of the split form: incidents that a policy mends, whose arms the product's own hash gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from ml.ab_split import Arm, arm, balanced
from tests.benchmarks._streams import BURSTS_PER_WEEK
from tests.benchmarks._verdicts import Units

Floats = npt.NDArray[np.float64]
PER_WEEK = 10.0
SECRET = b"the secret of this benchmark"
#: Log odds of being served well, of a page, of being slow; and how much a tenant's state, which lasts, moves the first.
SERVED, PAGED, SLOW, STATE, LASTS = 1.0, -1.5, -1.5, 1.0, 0.9


def units(
    replicates: int, weeks: int, odds: float, chance: np.random.Generator, *, tenants: int = 8, even: bool = False
) -> Units:
    """So many validations; odds: what the challenger adds to the log odds of being served well; even: balanced arms."""
    count = int(PER_WEEK * tenants * weeks)
    weights = BURSTS_PER_WEEK[-tenants:] / BURSTS_PER_WEEK[-tenants:].sum()
    owners = chance.choice(tenants, count, p=weights)
    challenger = _arms(replicates, owners, even)
    state = np.empty((replicates, count))
    for tenant in range(tenants):
        of = np.flatnonzero(owners == tenant)
        new = chance.normal(size=(replicates, len(of)))
        state[:, of] = lfilter([np.sqrt(1 - LASTS**2)], [1.0, -LASTS], new, axis=1)
    served = _thrown(SERVED + STATE * state + odds * challenger, chance)
    paged = _thrown(PAGED - STATE * state, chance)
    slow = _thrown(SLOW - STATE * state, chance)
    return Units(served, paged, slow, challenger, owners)


def _arms(replicates: int, owners: npt.NDArray[np.int64], even: bool) -> npt.NDArray[np.bool_]:
    given = np.empty((replicates, len(owners)), bool)
    for replicate in range(replicates):
        for tenant in np.unique(owners):
            of = np.flatnonzero(owners == tenant)
            given[replicate, of] = _of_tenant(f"plan-{replicate}", f"tenant-{tenant}", of.tolist(), even)
    return given


def _of_tenant(plan: str, tenant: str, numbers: Sequence[int], even: bool) -> list[bool]:
    names = [f"unit-{number}" for number in numbers]
    if even:
        arms = balanced(SECRET, plan, tenant, names)
        return [arms[name] is Arm.CHALLENGER for name in names]
    return [arm(SECRET, plan, tenant, name) is Arm.CHALLENGER for name in names]


def _thrown(odds: Floats, chance: np.random.Generator) -> Floats:
    return (chance.random(odds.shape) < 1.0 / (1.0 + np.exp(-odds))).astype(np.float64)


def odds_for(effect: float) -> float:
    """What must be added to the log odds so that `effect` more of the units are served well."""
    around = np.linspace(-5, 5, 2001)
    weights = np.exp(-(around**2) / 2)
    weights /= weights.sum()
    low, high = -6.0, 6.0
    for _ in range(40):
        middle = (low + high) / 2
        gained = weights @ (1 / (1 + np.exp(-SERVED - around - middle)) - 1 / (1 + np.exp(-SERVED - around)))
        low, high = (middle, high) if gained < effect else (low, middle)
    return low

"""Arms: the split validation, for policies that act on people or platforms and cannot both act on the same one.

A keyed hash of the unit throws the coin, in each tenant apart: the same unit has the same arm on every machine, and who
does not know the key cannot choose his. Where the units are known beforehand, `balanced` gives each tenant as many of
one arm as of the other. Twice the signed distance of an outcome from what the tenant's earlier units had is expected to
be the effect, whatever else went on (the coin is fair and knows nothing), so the inference is that of the paired form
(Howard et al., Annals of Statistics 49, 2021, section 4: average effects under randomization).
Guards: units with which somebody was woken, units that took too long, and no tenant is served worse.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from ml.ab_plan import Guard, Guarded, Judged, Plan, Proof, Tally, conclude
from ml.ab_test import FAIRNESS, effect_of, fairness, scaled
from ml.betting import Floats
from tonewatch.errors import ModelError

PAGED, SLOW = "paged", "slow"
#: Shares of the units, and of what a tenant is served.
GUARDS = (
    Guard(PAGED, 0.1, Proof.LIKELY, least=40),
    Guard(SLOW, 0.1, Proof.LIKELY, least=40),
    Guard(FAIRNESS, 0.3, Proof.HARMLESS),
)
#: A secret shorter than this can be tried out.
LEAST_SECRET = 16
#: What is expected of a tenant's first unit.
UNKNOWN = 0.5
#: Signed distances lie within twice the range of the outcomes.
RANGE = 2.0


class Arm(StrEnum):
    """Which policy a unit gets."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


@dataclass(frozen=True, slots=True, order=True)
class Unit:
    """One unit that got its arm at `time`, and what came of it: its id is what was assigned.

    outcome: 0 to 1, more is better; paged: somebody was woken; seconds: how long it took. Raises ModelError: an outcome
    beyond 0 to 1, or seconds below 0 or no number.
    """

    time: datetime
    id: str
    tenant: str
    arm: Arm
    outcome: float
    paged: bool = False
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.outcome <= 1.0 or not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise ModelError(f"the unit {self.id} has outcome {self.outcome} (0 to 1) after {self.seconds} s (from 0)")


def arm(secret: bytes, plan: str, tenant: str, unit: str) -> Arm:
    """The unit's arm in the validation `plan`: a fair coin, thrown once for good. Raises ModelError: a short secret."""
    return Arm.CHALLENGER if _number(secret, plan, tenant, unit) & 1 else Arm.CHAMPION


def balanced(secret: bytes, plan: str, tenant: str, units: Sequence[str]) -> dict[str, Arm]:
    """Arms for the units that a tenant has: of each two that the hash makes neighbours one gets either.

    Each unit's arm alone is a fair coin; the arms of a tenant differ in number by one at most. Raises ModelError: a
    short secret, or a unit named twice.
    """
    if len(set(units)) != len(units):
        raise ModelError(f"{plan}: a unit of {tenant} is named twice; name each once")
    ordered = sorted(units, key=lambda unit: (_number(secret, plan, tenant, unit) >> 1, unit))
    given: dict[str, Arm] = {}
    for place in range(0, len(ordered), 2):
        first = arm(secret, plan, tenant, ordered[place])
        given[ordered[place]] = first
        for other in ordered[place + 1 : place + 2]:
            given[other] = Arm.CHAMPION if first is Arm.CHALLENGER else Arm.CHALLENGER
    return given


def _number(secret: bytes, plan: str, tenant: str, unit: str) -> int:
    if len(secret) < LEAST_SECRET:
        raise ModelError(f"{plan}: the secret has {len(secret)} bytes; at least {LEAST_SECRET} are needed")
    parts = [part.encode() for part in (plan, tenant, unit)]
    content = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return int.from_bytes(hashlib.blake2b(content, key=secret[:64], digest_size=8).digest(), "big")


def differences(values: Floats, challenger: npt.NDArray[np.bool_], tenants: npt.NDArray[np.int64]) -> Floats:
    """Half the estimate of the effect that each unit gives, within [-1, 1], in the order of the units.

    values: (..., units) in [0, 1]; challenger: whether it has that arm, the same shape; tenants: (units,) numbers.
    Shape: that of `values`. Each is measured from the mean of its tenant's earlier units: no arm of its own is in that.
    """
    found = np.empty(np.shape(values))
    for tenant in np.unique(tenants):
        of = np.flatnonzero(tenants == tenant)
        some = np.asarray(values)[..., of]
        before = np.cumsum(some, axis=-1) - some
        expected = (before + UNKNOWN) / (np.arange(len(of)) + 1.0)
        found[..., of] = np.where(challenger[..., of], 1.0, -1.0) * (some - expected)
    return found


def judge_split(plan: Plan, units: Sequence[Unit], until: datetime, *, slow_s: float) -> Judged:
    """The answer at `until`, from the units in any order; slow_s: what takes longer is slow.

    An id counts once: of several by that name the earliest. Raises ModelError: a unit that does not belong to the plan,
    or a guard that is not known here.
    """
    tally = Tally()
    kept = [unit for unit in sorted(units) if tally.take(plan, unit, until)]
    arms = np.array([unit.arm is Arm.CHALLENGER for unit in kept], bool)
    owners = np.array([plan.tenants.index(unit.tenant) for unit in kept], np.int64)
    served = differences(np.array([unit.outcome for unit in kept], np.float64), arms, owners)
    harms = {PAGED: [unit.paged for unit in kept], SLOW: [unit.seconds > slow_s for unit in kept]}
    guards: list[Guarded] = []
    for guard in plan.guards:
        if guard.name == FAIRNESS:
            # Its interval is that of half the effect, and so is what it tolerates.
            half = Guard(guard.name, guard.tolerance / RANGE, guard.proof)
            told = fairness(plan, half, [unit.tenant for unit in kept], served)
            guards.append(Guarded(guard, told.state, scaled(told.seen, RANGE), told.about))
        elif guard.name in harms:
            more = differences(np.array(harms[guard.name], np.float64), arms, owners)
            guards.append(guard.judged(scaled(effect_of(more, plan.alpha_of_guard), RANGE)))
        else:
            raise ModelError(f"{plan.name}: no guard {guard.name}; there are {PAGED}, {SLOW} and {FAIRNESS}")
    effect = scaled(effect_of(served, plan.alpha_of_effect), RANGE)
    return conclude(plan, until, effect, guards, (), tally.ignored)

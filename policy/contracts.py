"""Telemetry contracts: what a sample must be before any rule or model sees it. Pure and vectorised where it counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter

from policy.conditions import Condition
from tonewatch.records import FindingKind, Sample

#: A clock may run ahead of ours by this much; a sample may arrive this late.
AHEAD = timedelta(seconds=5)
LATE = timedelta(hours=1)
_VALUE, _TIME = attrgetter("value"), attrgetter("time")


@dataclass(frozen=True, slots=True)
class Checked:
    """Samples that keep the contract, and how many broke which clause, by (entity, clause)."""

    samples: list[Sample]
    broken: Counter[tuple[str, str]]


#: Clauses that tell of a fault of the source; a NaN is legitimate in Prometheus ("no observation") and only left out.
REPORTED = {
    "future": "its clock runs ahead of ours by more than 5 s",
    "past": "its samples are more than an hour old",
    "infinite": "it sends infinite values",
}


def check(samples: Sequence[Sample], now: datetime) -> Checked:
    """Keep the samples that can be used at `now`; count the others by clause: nan, infinite, future, past."""
    kept: list[Sample] = []
    broken: Counter[tuple[str, str]] = Counter()
    if _all_keep(samples, now):
        return Checked(list(samples), broken)
    for sample in samples:
        clause = _broken_clause(sample, now)
        if clause is None:
            kept.append(sample)
        else:
            broken[sample.series.entity, clause] += 1
    return Checked(kept, broken)


def _all_keep(samples: Sequence[Sample], now: datetime) -> bool:
    """Whether nothing is wrong with any, as is the rule: told by all values at once and the few times there are."""
    if not all(map(math.isfinite, map(_VALUE, samples))):
        return False
    times = set(map(_TIME, samples))
    return not times or (max(times) <= now + AHEAD and min(times) >= now - LATE)


def _broken_clause(sample: Sample, now: datetime) -> str | None:
    if math.isnan(sample.value):
        return "nan"
    if math.isinf(sample.value):
        return "infinite"
    if sample.time > now + AHEAD:
        return "future"
    if sample.time < now - LATE:
        return "past"
    return None


def conditions(checked: Checked, window: tuple[datetime, datetime]) -> list[Condition]:
    """One condition of kind `data` per entity and broken clause that tells of a fault, since the window's beginning."""
    return [
        Condition(
            entity=entity,
            symptom=f"contract-{clause}",
            detector=f"contract:{clause}",
            kind=FindingKind.DATA,
            since=window[0],
            met=window[1],
            summary=f"{entity} breaks the telemetry contract: {REPORTED[clause]}",
            expected="finite values with the time of now",
            actual=f"{count} samples refused",
        )
        for (entity, clause), count in sorted(checked.broken.items())
        if clause in REPORTED
    ]

"""Conditions: what is wrong for as long as it lasts, and the one Finding that tells of it.

A condition keeps the moment it began and the moment its criterion was met, both in event time, so that the Finding
made of it is the same in every tick and after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from policy.readings import Readings
from tonewatch.records import Finding, FindingKind
from tonewatch.settings import Profile


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong for as long as it lasts."""

    entity: str
    symptom: str
    detector: str
    kind: FindingKind
    since: datetime
    met: datetime
    summary: str
    expected: str
    actual: str
    score: float = 1.0
    rate: float | None = None
    features: tuple[tuple[str, float], ...] = ()
    model_version: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return (self.entity, self.detector)

    def finding(self, tenant: str) -> Finding:
        """The Finding that reports this condition: one, however long it lasts."""
        return Finding(
            tenant=tenant,
            entity=self.entity,
            detector=self.detector,
            kind=self.kind,
            started=self.since,
            ended=self.met,
            summary=self.summary,
            symptom=self.symptom,
            expected=self.expected,
            actual=self.actual,
            score=self.score,
            rate=self.rate,
            features=dict(self.features),
            model_version=self.model_version,
        )


Conditions = Mapping[tuple[str, str], Condition]
#: The conditions that hold now, by the last minutes' readings and as the tenant's profile has it.
Rule = Callable[[Readings, datetime, Profile], Iterator[Condition]]


def carried_on(before: Conditions, found: Iterable[Condition]) -> dict[tuple[str, str], Condition]:
    """What was found, by key; the continuation of a condition that held before keeps its beginning and its words."""
    held: dict[tuple[str, str], Condition] = {}
    for condition in found:
        earlier = before.get(condition.key)
        if earlier is not None:
            condition = replace(
                condition, since=earlier.since, met=earlier.met, symptom=earlier.symptom, summary=earlier.summary
            )
        held[condition.key] = condition
    return held

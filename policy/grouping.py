"""Which findings belong to one incident: together in time and related by topology. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tonewatch.records import Finding, FindingKind
from tonewatch.topology import Topology

#: Kinds that may open an incident. Bad data is no fault of the platform, and a starved host is our own.
OPENING = frozenset({FindingKind.RULE, FindingKind.SIGNAL, FindingKind.SECURITY})
#: A finding joins what began at most this long after it.
REACH = timedelta(seconds=60)
#: Symptoms of a part that has changed its state.
STATE_CHANGES = frozenset({"scrape-refused", "scrape-timeout"})
#: A cause is not later than its effect, but may be seen this much later.
CAUSE_SEEN_LATER = timedelta(seconds=15)


@dataclass(slots=True)
class Group:
    """An incident in the making, or one that is active: `incident` is None until it has an id."""

    incident: str | None
    root: str
    onset: datetime
    findings: list[Finding] = field(default_factory=list)


def group(
    findings: Sequence[Finding], active: Sequence[Group], topology: Topology, lasting: Collection[str] = ()
) -> list[Group]:
    """Place every finding that belongs somewhere; the groups that received one are returned.

    A finding joins the first group whose root it is related to; else it founds a group, whose root moves
    upstream when an earlier stage is found to be involved. An anomaly alone founds one only if it has lasted:
    `lasting` holds the ids of those that have.
    """
    groups = list(active)
    touched: list[Group] = []
    for finding in sorted(findings, key=_order):
        if finding.kind not in OPENING:
            continue
        # Of several that it may belong to, the one that began last: an old incident does not take a new one's signs.
        home = max((g for g in groups if _belongs(finding, g, topology)), key=lambda g: g.onset, default=None)
        if home is None:
            if finding.kind is FindingKind.SIGNAL and finding.id not in lasting:
                continue
            home = Group(None, finding.entity, finding.started)
            groups.append(home)
        home.findings.append(finding)
        home.onset = min(home.onset, finding.started)
        if home.incident is None and topology.reaches(finding.entity, home.root):
            home.root = finding.entity
        if home not in touched:
            touched.append(home)
    return touched


def _order(finding: Finding) -> tuple[bool, bool, datetime, str, str]:
    """Changes of state first, then rules, then anomalies: each joins the incident that an earlier one opens."""
    changed = finding.symptom in STATE_CHANGES
    return (not changed, finding.kind is FindingKind.SIGNAL, finding.started, finding.entity, finding.detector)


def _belongs(finding: Finding, group: Group, topology: Topology) -> bool:
    if finding.ended < group.onset - REACH:
        return False
    if finding.entity == group.root:
        return True
    # No part dies of another's silence: a change of state is a cause of its own, never somebody's consequence.
    if topology.reaches(group.root, finding.entity) and finding.symptom not in STATE_CHANGES:
        return True
    return topology.reaches(finding.entity, group.root) and finding.started <= group.onset + CAUSE_SEEN_LATER

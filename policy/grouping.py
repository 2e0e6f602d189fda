"""Which findings belong to one incident: together in time and related by topology. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tonewatch.records import Change, Finding, FindingKind
from tonewatch.topology import Topology

#: Kinds that may open an incident. Bad data is no fault of the platform, and a starved host is our own.
OPENING = frozenset({FindingKind.RULE, FindingKind.SIGNAL, FindingKind.SECURITY})
#: A finding joins what began at most this long after it.
REACH = timedelta(seconds=60)
#: Symptoms of a part that has changed its state itself: it is told apart from what it does to others.
STATE_CHANGES = frozenset({"scrape-refused", "scrape-timeout", "source-silent", "path-slow"})
#: Symptoms that a part may have because something upstream of it has changed its state.
CONSEQUENCES = frozenset(
    {"playlist-stale", "playlist-unreachable", "playlist-broken", "silence", "listeners-starved", "upstream-errors"}
    | {"stream-away", "mount-gone", "stream-frozen", "stream-undecodable"}
)
#: Changes that can break something by themselves, and how long after one what breaks is held against it.
BREAKING = frozenset({"release", "configuration", "flag"})
BLAMED = timedelta(minutes=10)
MAINTENANCE = "maintenance"
#: What announced work did may be felt so long after its end.
AFTER_WORK = timedelta(seconds=15)
#: Consequences that begin within this time of each other, with something upstream in common, are one thing.
TOGETHER = timedelta(seconds=15)
#: A cause is not later than its effect, but may be seen this much later.
CAUSE_SEEN_LATER = timedelta(seconds=15)


@dataclass(slots=True)
class Group:
    """An incident in the making, or one that is active: `incident` is None until it has an id."""

    incident: str | None
    root: str
    onset: datetime
    findings: list[Finding] = field(default_factory=list)
    #: When a remedy of its root was done whose effect is being verified: what dies behind it now may have died of that.
    acted: datetime | None = None
    #: Whether its root is known to have changed its state; of others only consequences are known yet.
    changed: bool = False


def explained(
    finding: Finding, changes: Sequence[Change], topology: Topology, now: datetime, held: bool
) -> Change | None:
    """The announced work that explains the finding, or None.

    Work on a part explains what that part and those behind it show meanwhile, but no change of state of another part,
    no silent source, no broken playlist, and nothing that still holds at `now` (`held`) when the work is over.
    """
    if finding.symptom in {"source-silent", "playlist-broken"}:
        return None
    for change in changes:
        elsewhere = finding.entity != change.entity
        if change.kind != MAINTENANCE or (elsewhere and finding.symptom in STATE_CHANGES):
            continue
        if elsewhere and not topology.reaches(change.entity, finding.entity):
            continue
        until = change.ended + AFTER_WORK if change.ended else now
        outlasts = held and now > until
        if not outlasts and change.started - CAUSE_SEEN_LATER <= finding.ended and finding.started <= until:
            return change
    return None


def group(
    findings: Sequence[Finding],
    active: Sequence[Group],
    topology: Topology,
    lasting: Collection[str] = (),
    changes: Sequence[Change] = (),
) -> list[Group]:
    """Place every finding that belongs somewhere; the groups that received one are returned.

    A finding joins the last group whose root it is related to; else one that shares something upstream with it; else it
    founds a group, whose root is what was released or reconfigured upstream of it just before (`changes`), or itself,
    and moves upstream when an earlier stage is found to be involved. An anomaly alone founds one only if it has
    lasted: `lasting` holds the ids of those that have.
    """
    groups = list(active)
    touched: list[Group] = []
    for finding in sorted(findings, key=_order):
        if finding.kind not in OPENING:
            continue
        # Of several that it may belong to, the one that began last: an old incident does not take a new one's signs.
        blamed = _blamed(finding, changes, topology)
        homes = [g for g in groups if _belongs(finding, g, topology) and not _outdated(g, blamed)]
        home = max(homes, key=lambda g: g.onset, default=None)
        if home is None:
            if finding.kind is FindingKind.SIGNAL and finding.id not in lasting:
                continue
            home = max((g for g in groups if _shares(finding, g, topology)), key=lambda g: g.onset, default=None)
        if home is None:
            home = Group(None, blamed.entity if blamed else finding.entity, finding.started)
            groups.append(home)
        home.findings.append(finding)
        home.onset = min(home.onset, finding.started)
        if home.incident is None and topology.reaches(finding.entity, home.root):
            home.root = finding.entity
            home.changed = home.changed or finding.symptom in STATE_CHANGES
        if home not in touched:
            touched.append(home)
    return touched


def _order(finding: Finding) -> tuple[bool, bool, datetime, str, str]:
    """Changes of state first, then rules, then anomalies: each joins the incident that an earlier one opens."""
    changed = finding.symptom in STATE_CHANGES
    return (not changed, finding.kind is FindingKind.SIGNAL, finding.started, finding.entity, finding.detector)


def _outdated(group: Group, blamed: Change | None) -> bool:
    """Whether what is blamed was changed only after the group began, so that it tells of another thing."""
    return blamed is not None and group.root != blamed.entity and group.onset + CAUSE_SEEN_LATER < blamed.started


def _blamed(finding: Finding, changes: Sequence[Change], topology: Topology) -> Change | None:
    """What was changed last before the finding, upstream of it; None for a change of state, which is its own."""
    if finding.symptom in STATE_CHANGES or finding.kind is FindingKind.SIGNAL:
        return None
    blamed = [
        change
        for change in changes
        if change.kind in BREAKING
        and change.started - CAUSE_SEEN_LATER <= finding.started <= change.started + BLAMED
        and topology.reaches(change.entity, finding.entity)
    ]
    return max(blamed, key=lambda change: change.started, default=None)


def _shares(finding: Finding, group: Group, topology: Topology) -> bool:
    """Whether both are consequences that began together of something that feeds both."""
    if group.changed or finding.symptom not in CONSEQUENCES or abs(finding.started - group.onset) > TOGETHER:
        return False
    return any(
        topology.reaches(entity, finding.entity) and topology.reaches(entity, group.root)
        for entity in topology.entities
    )


def _belongs(finding: Finding, group: Group, topology: Topology) -> bool:
    if finding.ended < group.onset - REACH:
        return False
    if finding.entity == group.root:
        return True
    if group.acted is not None and finding.started >= group.acted and topology.reaches(group.root, finding.entity):
        return True
    # No part dies of another's silence: a change of state is a cause of its own, never somebody's consequence.
    if topology.reaches(group.root, finding.entity) and finding.symptom not in STATE_CHANGES:
        return True
    return topology.reaches(finding.entity, group.root) and finding.started <= group.onset + CAUSE_SEEN_LATER

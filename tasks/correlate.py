"""Step 5a: findings join an active incident or open a new one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from policy.grouping import Group, group
from tonewatch.records import Cause, CauseKind, Change, Finding, Incident, IncidentState, digest
from tonewatch.topology import Topology
from warehouse import actions, incidents
from warehouse.database import Connection

#: A mended incident still takes in what its fault left behind for this long, so that an echo opens no incident.
ECHO = timedelta(seconds=45)


@dataclass(frozen=True, slots=True)
class Correlated:
    """What a round of correlation changed."""

    opened: list[Incident]
    joined: list[Incident]


async def correlate(
    tenant: str,
    db: Connection,
    findings: Sequence[Finding],
    topology: Topology,
    now: datetime,
    lasting: Collection[str] = (),
    changes: Sequence[Change] = (),
) -> Correlated:
    """Place `findings`, write incidents and their findings, and say which were opened or grew.

    `lasting`: ids of anomalies that have lasted long enough to open an incident by themselves. `changes`: what was
    released, reconfigured or announced lately.
    """
    if not findings:
        return Correlated([], [])
    active = {incident.id: incident for incident in await incidents.active(tenant, db)}
    groups = [await _group(tenant, db, incident) for incident in active.values()]
    opened: list[Incident] = []
    joined: list[Incident] = []
    for grown in group(findings, groups, topology, lasting, changes):
        incident = active.get(grown.incident) if grown.incident else None
        if incident is None:
            incident = _open(tenant, grown, now)
            opened.append(incident)
        else:
            entities = tuple(dict.fromkeys((*incident.entities, *(f.entity for f in grown.findings))))
            incident = replace(incident, entities=entities, onset=min(incident.onset, grown.onset))
            joined.append(incident)
        await incidents.save(tenant, db, incident)
        await incidents.attach(tenant, db, incident.id, [finding.id for finding in grown.findings])
    return Correlated(opened, joined)


async def _group(tenant: str, db: Connection, incident: Incident) -> Group:
    causes: list[Cause] = await incidents.causes(tenant, db, incident.id)
    if not causes:
        return Group(incident.id, incident.entities[0], incident.onset)
    known = causes[0].kind is not CauseKind.UNKNOWN
    acted = None
    if incident.state in {IncidentState.ACTING, IncidentState.VERIFYING}:
        done = await actions.of_incident(tenant, db, incident.id)
        acted = max((action.finished for action in done if action.finished), default=None)
    return Group(incident.id, causes[0].entity, incident.onset, changed=known, acted=acted)


def _open(tenant: str, grown: Group, now: datetime) -> Incident:
    first = grown.findings[0]
    others = sorted({finding.entity for finding in grown.findings} - {grown.root})
    return Incident(
        id=digest(tenant, "incident", grown.root, first.id)[:12],
        tenant=tenant,
        state=IncidentState.OPEN,
        onset=grown.onset,
        opened=now,
        title=next((f.summary for f in grown.findings if f.entity == grown.root), first.summary),
        entities=(grown.root, *others),
    )

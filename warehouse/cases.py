"""An incident's whole story as it is kept: what `tonewatch incidents show` and `GET /v1/incidents/{id}` tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tonewatch.errors import UnknownIncident
from tonewatch.records import Action, Approval, Cause, Finding, Incident, Label, Notice, Verdict
from warehouse import actions, approvals, findings, incidents, labels, notices, tenants, verdicts
from warehouse.database import Warehouse


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that is kept of one incident."""

    incident: Incident
    findings: Sequence[Finding]
    causes: Sequence[Cause]
    actions: Sequence[Action]
    approvals: Sequence[Approval]
    verdicts: Sequence[Verdict]
    notices: Sequence[Notice]
    labels: Sequence[Label]
    story: Sequence[incidents.StoryLine]


async def read_case(tenant: str, warehouse: Warehouse, incident_id: str) -> Case:
    """Read it as it is now. Raises UnknownTenant, UnknownIncident, WarehouseAway."""
    async with warehouse.as_tenant(tenant) as db:
        await tenants.get(tenant, db)
        incident = await incidents.get(tenant, db, incident_id)
        if incident is None:
            raise UnknownIncident(f"tenant {tenant} has no incident {incident_id!r}: see `tonewatch incidents list`")
        done = await actions.of_incident(tenant, db, incident_id)
        return Case(
            incident,
            await findings.of_incident(tenant, db, incident_id),
            await incidents.causes(tenant, db, incident_id),
            done,
            [approval for action in done for approval in await approvals.of_action(tenant, db, action.key)],
            await verdicts.of_incident(tenant, db, incident_id),
            await notices.of_incident(tenant, db, incident_id),
            await labels.of_incident(tenant, db, incident_id),
            await incidents.story(tenant, db, incident_id),
        )

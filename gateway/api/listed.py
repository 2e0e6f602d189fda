"""What was seen, done and written down, over all incidents: GET /v1/findings, /v1/actions and /v1/audit."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway.api.answers import told
from gateway.api.asked import (
    ENTITY,
    NUMBERED,
    PAGED,
    Parameter,
    and_one,
    one_of,
    page_of,
    paged,
    parameters,
    read,
    words,
)
from gateway.api.description import answers, success
from gateway.api.door import Door
from gateway.api.examples import ACTION, AUDIT, FINDING
from gateway.api.incidents import PAGE, action, finding
from tonewatch.records import Action, ActionState, FindingKind
from warehouse import actions, audit, findings, verdicts
from warehouse.database import Warehouse
from warehouse.pages import Place

KIND: Final = Parameter(
    "kind",
    "Of this kind alone",
    one_of(FindingKind),
    {"type": "string", "enum": [kind.value for kind in FindingKind]},
    default="",
)
STATE: Final = Parameter(
    "state",
    "In this state alone",
    one_of(ActionState),
    {"type": "string", "enum": [state.value for state in ActionState]},
    default="",
)
SUBJECT: Final = Parameter("subject", "On this alone: an incident's id, a key's, a setting's", words, default="")
SEEN, DONE, WRITTEN = (ENTITY, KIND, *PAGED), (ENTITY, STATE, *PAGED), (SUBJECT, *NUMBERED)


def router(door: Door, warehouse: Warehouse) -> APIRouter:
    """Lists findings, actions, and lines of the audit."""
    routes = APIRouter(tags=["ask"])

    @routes.get(
        "/v1/findings",
        summary="Findings, the newest first",
        openapi_extra=parameters(*SEEN),
        responses=answers(
            400,
            401,
            429,
            503,
            _200=success(PAGE, {"findings": [FINDING | {"incident": "5f0c1d"}], "next": None}),
        ),
    )
    async def seen(request: Request) -> Response:
        """What detectors and rules saw, by the end of its window; `incident` is null while it belongs to none."""
        tenant = await door.admit(request, "viewer")
        asked = read(request, SEEN)
        page = page_of(asked)
        async with warehouse.as_tenant(tenant) as db:
            found = await findings.newest(tenant, db, and_one(page), asked["entity"], asked["kind"])
            shown, following = paged(found, page, lambda each: (each.ended, each.id))
            placed = await findings.placed(tenant, db, [each.id for each in shown])
        lines = [finding(each) | {"incident": placed.get(each.id)} for each in shown]
        return told({"findings": lines, "next": following})

    @routes.get(
        "/v1/actions",
        summary="Actions, the newest first",
        openapi_extra=parameters(*DONE),
        responses=answers(400, 401, 429, 503, _200=success(PAGE, {"actions": [ACTION], "next": None})),
    )
    async def done(request: Request) -> Response:
        """What was done or refused, by the time at which it was intended, with each guard's answer and the verdict."""
        tenant = await door.admit(request, "viewer")
        asked = read(request, DONE)
        page = page_of(asked)
        async with warehouse.as_tenant(tenant) as db:
            found = await actions.newest(tenant, db, and_one(page), asked["entity"], asked["state"])
            shown, following = paged(found, page, _intended)
            said = await verdicts.of_actions(tenant, db, [each.key for each in shown])
        lines = [action(each, [verdict for verdict in said if verdict.action == each.key]) for each in shown]
        return told({"actions": lines, "next": following})

    @routes.get(
        "/v1/audit",
        summary="The audit, the newest line first",
        openapi_extra=parameters(*WRITTEN),
        responses=answers(400, 401, 429, 503, _200=success(PAGE, {"audit": [AUDIT], "next": None})),
    )
    async def written(request: Request) -> Response:
        """Who did what to what, when and why. Needs a key of role `auditor`."""
        tenant = await door.admit(request, "auditor")
        asked = read(request, WRITTEN)
        page = page_of(asked)
        async with warehouse.as_tenant(tenant) as db:
            found = await audit.newest(tenant, db, and_one(page), asked["subject"])
        shown, following = paged(found, page, lambda each: (each.time, str(each.seq)))
        return told({"audit": shown, "next": following})

    return routes


def _intended(each: Action) -> Place:
    assert each.intended is not None  # noqa: S101 - tells mypy what the list is ordered by
    return each.intended, each.key

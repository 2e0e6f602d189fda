"""Incidents, and what stands behind one: GET /v1/incidents and /v1/incidents/{incident}."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway.api.answers import told
from gateway.api.asked import ENTITY, PAGED, Parameter, and_one, page_of, paged, parameters, read, words
from gateway.api.description import answers, success
from gateway.api.door import Door
from gateway.api.examples import CASE, GLANCE
from tonewatch.errors import UnknownIncident
from tonewatch.records import Action, Cause, Finding, IncidentState, Notice, Verdict
from warehouse import overview
from warehouse.cases import Case, read_case
from warehouse.database import Warehouse
from warehouse.rows import row

_STATES: Final = ("all", "active", *(state.value for state in IncidentState))


def _states(value: str) -> list[IncidentState]:
    if value not in _STATES:
        raise ValueError(f"must be one of {', '.join(_STATES)}")
    return [] if value == "all" else overview.states_of([value])


STATE: Final = Parameter(
    "state",
    "`active`: all that are not closed",
    _states,
    {"type": "string", "enum": list(_STATES), "default": "all"},
    default=[],
)
ASKED: Final = (STATE, ENTITY, *PAGED)
PAGE: Final = "A page; `next` asks for the next one"


def router(door: Door, warehouse: Warehouse) -> APIRouter:
    """Tells of incidents."""
    routes = APIRouter(tags=["ask"])

    @routes.get(
        "/v1/incidents",
        summary="Incidents, the newest first",
        openapi_extra=parameters(*ASKED),
        responses=answers(
            400,
            401,
            429,
            503,
            _200=success(PAGE, {"incidents": [GLANCE], "next": None}),
        ),
    )
    async def incidents(request: Request) -> Response:
        """By the time at which they were opened. What opens meanwhile moves no page."""
        tenant = await door.admit(request, "viewer")
        asked = read(request, ASKED)
        page = page_of(asked)
        async with warehouse.as_tenant(tenant) as db:
            found = await overview.newest(tenant, db, and_one(page), asked["state"], asked["entity"])
        shown, following = paged(found, page, lambda each: (each.opened, each.id))
        return told({"incidents": shown, "next": following})

    @routes.get(
        "/v1/incidents/{incident}",
        summary="The whole story of an incident",
        openapi_extra=parameters(path="incident"),
        responses=answers(400, 401, 404, 429, 503, _200=success("As it is now", CASE)),
    )
    async def incident(request: Request) -> Response:
        """Causes by rank, findings, actions with each guard's answer, verdicts, notices, and what people did."""
        tenant = await door.admit(request, "viewer")
        read(request, ())
        return told(document(await read_case(tenant, warehouse, named(request))))

    return routes


def named(request: Request) -> str:
    """The incident's id in the address. Raises UnknownIncident: no incident has such an id."""
    try:
        return words(request.path_params["incident"])
    except ValueError:
        raise UnknownIncident("no incident has such an id") from None


def document(case: Case) -> dict[str, Any]:
    """The case as it is told; what belongs to an action stands with it."""
    return {
        "incident": _without(case.incident, "tenant"),
        "causes": [cause(each) for each in case.causes],
        "findings": [finding(each) for each in case.findings],
        "actions": [
            action(each, [verdict for verdict in case.verdicts if verdict.action == each.key])
            | {"approvals": [row(yes) for yes in case.approvals if yes.action == each.key]}
            for each in case.actions
        ],
        "notices": [_notice(each) for each in case.notices],
        "people": [row(each) for each in case.labels],
        "story": [row(each) for each in case.story],
    }


def cause(each: Cause) -> dict[str, Any]:
    """A cause with its name, `entity:kind`."""
    return {"name": each.name} | _without(each, "incident")


def finding(each: Finding) -> dict[str, Any]:
    """A finding with its id."""
    return {"id": each.id} | _without(each, "tenant")


def action(each: Action, verdicts: list[Verdict]) -> dict[str, Any]:
    """An action with its key and the verdict on it."""
    said = [_without(verdict, "action", "incident") for verdict in verdicts]
    return {"key": each.key} | row(each) | {"verdict": said[-1] if said else None}


def _notice(each: Notice) -> dict[str, Any]:
    """What became of it; the text itself is for whom it was sent to."""
    return {"id": each.id} | _without(each, "tenant", "incident", "body", "html", "next_attempt", "receipt")


def _without(record: Any, *names: str) -> dict[str, Any]:
    return {name: value for name, value in row(record).items() if name not in names}

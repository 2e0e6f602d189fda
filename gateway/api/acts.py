"""What people say to an incident: POST /v1/incidents/{incident}/acts."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from gateway.api.answers import refused, told
from gateway.api.asked import parameters
from gateway.api.description import answers, success, takes
from gateway.api.door import JSON_TYPES, Door
from gateway.api.incidents import named
from gateway.api.people import Caller
from gateway.documents import read_json
from tonewatch.acts import VERDICTS
from tonewatch.clock import Clock
from tonewatch.errors import SettingsError
from tonewatch.records import ActKind
from warehouse.acts import Wish, check, do
from warehouse.database import Warehouse

MOST_BYTES: Final = 8 * 1024
_LONGEST: Final = 1000
_TEXT: Final = {"type": "string", "maxLength": _LONGEST}
ACT: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["act"],
    "properties": {
        "act": {"enum": [kind.value for kind in ActKind]},
        "action": _TEXT | {"description": "Of `approve` and `veto`: the key of the action that is meant, and no other"},
        "reason": _TEXT,
        "verdict": {"enum": list(VERDICTS), "description": "Of `close`: what it was"},
        "cause": _TEXT | {"description": "Of `close`: the true cause, entity:kind"},
    },
}
EXAMPLE: Final = {"act": "approve", "action": "77d0", "reason": "it may be restarted"}
DONE: Final = {
    "incident": "5f0c1d",
    "told": ["ann said yes to restart of component:packager (attempt 1), once, until 12:15:00 UTC"],
    "approval": {
        "id": "b3a1",
        "action": "77d0",
        "requester": "tonewatch",
        "approver": "ann",
        "reason": "it may be restarted",
        "approved": "2026-01-31T12:00:00+00:00",
        "expires": "2026-01-31T12:15:00+00:00",
        "used": None,
    },
}
#: Which keys besides `act` and `reason` each act takes.
_FURTHER: Final = {
    ActKind.ACK: frozenset[str](),
    ActKind.APPROVE: frozenset({"action"}),
    ActKind.VETO: frozenset({"action"}),
    ActKind.CLOSE: frozenset({"verdict", "cause"}),
    ActKind.REAL: frozenset[str](),
    ActKind.FALSE: frozenset[str](),
    ActKind.NOT_THE_CAUSE: frozenset[str](),
}


def router(door: Door, warehouse: Warehouse, clock: Clock) -> APIRouter:
    """Takes acts of people."""
    routes = APIRouter(tags=["act"])

    @routes.post(
        "/v1/incidents/{incident}/acts",
        summary="Acknowledge, approve, veto, judge or close",
        openapi_extra=takes("application/json", ACT, EXAMPLE) | parameters(path="incident"),
        responses=answers(
            400, 401, 403, 404, 408, 409, 413, 415, 429, 503, _200=success("It is done, and committed", DONE)
        ),
    )
    async def act(request: Request) -> Response:
        """As `tonewatch incidents` does it, in the name of the key's holder. Needs the role `operator`, for `approve`
        `approver`. The same act a second time is 409, so that sending it again does no harm.
        """
        caller = await door.caller(request, "operator")
        incident = named(request)
        wish = _wish(await door.body(request, JSON_TYPES, most=MOST_BYTES), incident, caller)
        if wish.kind is ActKind.APPROVE and "approver" not in caller.may:
            raise refused(403, "approve needs a key of role approver")
        done = await do(caller.tenant, warehouse, wish, clock.now())
        return told({"incident": done.incident, "told": done.told, "approval": done.approval})

    return routes


def _wish(body: bytes, incident: str, caller: Caller) -> Wish:
    """What `body` asks for.

    Raises PayloadError: no JSON; HTTPException 400: no such act, or a key or value that does not belong to it.
    """
    asked = read_json(body)
    if not isinstance(asked, dict) or asked.get("act") not in list(ActKind):
        raise refused(400, f'the body must be {{"act": ...}}; acts are {", ".join(ActKind)}')
    kind = ActKind(asked.pop("act"))
    known = {"reason", *_FURTHER[kind]}
    if unknown := sorted(asked.keys() - known):
        raise refused(400, f"{kind} takes no {unknown[0][:40]!r}; it takes {', '.join(sorted(known))}")
    for name, value in asked.items():
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise refused(400, f"{name} must be a text of at most {_LONGEST} characters")
    wish = Wish(kind, incident, caller.who, **_as_given(asked))
    try:
        check(wish)
    except SettingsError as error:
        raise refused(400, str(error)) from error
    return wish


def _as_given(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value}

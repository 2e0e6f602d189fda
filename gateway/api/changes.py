"""What the platform's owner announces: POST /v1/changes."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from gateway.api.description import answers, success, takes
from gateway.api.door import JSON_TYPES, Door

CHANGE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "kind", "entity", "started", "author", "summary"],
    "properties": {
        "id": {"type": "string"},
        "kind": {"enum": ["release", "configuration", "maintenance", "flag"]},
        "entity": {"type": "string"},
        "started": {"type": "string", "format": "date-time"},
        "ended": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
        "author": {"type": "string"},
        "summary": {"type": "string"},
    },
}
EXAMPLE = {
    "id": "deploy-4711",
    "kind": "release",
    "entity": "component:packager",
    "started": "2026-01-31T12:00:00+00:00",
    "ended": None,
    "author": "ci",
    "summary": "packager 2.4: shorter window",
}

log = structlog.get_logger("gateway")


def router(door: Door) -> APIRouter:
    """Takes releases, configurations, maintenance windows and flags."""
    routes = APIRouter(tags=["in"])

    @routes.post(
        "/v1/changes",
        summary="Releases, configurations and maintenance",
        openapi_extra=takes(
            "application/json", {"anyOf": [CHANGE, {"type": "array", "items": CHANGE, "maxItems": 100}]}, EXAMPLE
        ),
        responses=answers(400, 401, 408, 413, 415, 429, 503, _200=success("All are committed", {"accepted": 1})),
    )
    async def changes(request: Request) -> Response:
        """One change or a list; all are taken, or none. A known id is told anew."""
        tenant = await door.admit(request, "changes")
        taken = await door.take_changes(tenant, await door.body(request, JSON_TYPES))
        if not taken.refused:
            return JSONResponse({"accepted": taken.accepted})
        log.warning("changes refused", tenant=tenant, changes=len(taken.refused))
        refused = [{"change": number, "reason": reason} for number, reason in taken.refused]
        return JSONResponse({"accepted": 0, "refused": refused}, status_code=400)

    return routes

"""Who asked for, logged in to or played what: POST /v1/events."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from gateway import events as told
from gateway.api.description import answers, success, takes
from gateway.api.door import AHEAD, BEHIND, JSON_TYPES, Door, Limits
from tonewatch.clock import Clock
from warehouse import events
from warehouse.database import Warehouse

#: One object per line.
LINES: Final = "application/x-ndjson"


def _kind(kind: str, required: list[str], **own: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "string"}
    common = {"id": text, "time": {"type": "string", "format": "date-time"}, "subject": text, "address": text}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "kind", "time", *required],
        "properties": {"kind": {"const": kind}, **common, **own},
    }


EVENT = {
    "oneOf": [
        _kind(
            "access",
            ["path", "status"],
            path={"type": "string"},
            status={"type": "integer"},
            bytes={"type": "integer"},
            method={"type": "string"},
            agent={"type": "string"},
        ),
        _kind("auth", ["outcome"], outcome={"enum": ["success", "failure"]}, method={"type": "string"}),
        _kind("play", ["seconds"], seconds={"type": "number"}, track={"type": "string"}, channel={"type": "string"}),
    ]
}
EXAMPLE = [
    {
        "id": "edge-1/4711",
        "kind": "access",
        "time": "2026-01-31T12:00:00Z",
        "address": "192.0.2.7",
        "method": "GET",
        "path": "/ch1/live.m3u8",
        "status": 200,
        "bytes": 1812,
        "agent": "player/1.2",
    },
    {
        "id": "accounts/98",
        "kind": "auth",
        "time": "2026-01-31T12:00:01Z",
        "subject": "user-17",
        "address": "192.0.2.7",
        "outcome": "failure",
        "method": "password",
    },
    {
        "id": "plays/3",
        "kind": "play",
        "time": "2026-01-31T12:03:00Z",
        "subject": "user-17",
        "track": "t-9",
        "channel": "channel:ch1",
        "seconds": 187.5,
    },
]

log = structlog.get_logger("gateway")


def router(door: Door, warehouse: Warehouse, limits: Limits, clock: Clock) -> APIRouter:
    """Takes events of access, log-in and play."""
    routes = APIRouter(tags=["in"])
    described = takes("application/json", {"anyOf": [EVENT, {"type": "array", "items": EVENT}]}, EXAMPLE)
    described["requestBody"]["content"][LINES] = {"schema": EVENT, "example": EXAMPLE[0]}

    @routes.post(
        "/v1/events",
        summary="Events of access, log-in and play",
        openapi_extra=described,
        responses=answers(
            400,
            401,
            408,
            413,
            415,
            429,
            503,
            _200=success("The good events are committed", {"accepted": 3, "refused": []}),
        ),
    )
    async def happened(request: Request) -> Response:
        """One object, an array, or an object per line. The good ones are kept, the others named; an id is kept once."""
        tenant = await door.admit(request, "events")
        body = await door.body(request, JSON_TYPES | {LINES}, most=limits.document_bytes)
        now = clock.now()
        lines = request.headers.get("content-type", "").lower().startswith(LINES)
        hide = partial(door.hide, tenant)
        found, faults = told.read(body, (now - BEHIND, now + AHEAD), limits.events, hide, lines=lines)
        if found:
            async with warehouse.as_tenant(tenant) as db:
                await events.save(tenant, db, found, now)
        if faults:
            reasons = sorted({reason for _, reason in faults})
            log.warning("events refused", tenant=tenant, events=len(faults), reasons=reasons[:5])
        named = [{"event": number, "reason": reason} for number, reason in faults]
        return JSONResponse({"accepted": len(found), "refused": named}, status_code=200 if found else 400)

    return routes

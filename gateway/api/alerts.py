"""What the user's own Alertmanager tells: POST /v1/alerts."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from gateway import alerts as told
from gateway.api.description import answers, success, takes
from gateway.api.door import JSON_TYPES, Door, Limits
from tonewatch.clock import Clock
from warehouse import alerts
from warehouse.database import Warehouse

LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
MESSAGE = {
    "type": "object",
    "required": ["version", "alerts"],
    "properties": {
        "version": {"const": told.VERSION},
        "truncatedAlerts": {"type": "integer"},
        "alerts": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["status", "labels", "startsAt"],
                "properties": {
                    "status": {"enum": ["firing", "resolved"]},
                    "labels": LABELS,
                    "startsAt": {"type": "string", "format": "date-time"},
                    "endsAt": {"type": "string", "format": "date-time"},
                },
            },
        },
    },
}
EXAMPLE = {
    "version": "4",
    "status": "firing",
    "receiver": "tonewatch",
    "groupKey": '{}:{alertname="TargetDown"}',
    "truncatedAlerts": 0,
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "TargetDown", "job": "edges", "instance": "edge-7:9100", "severity": "page"},
            "annotations": {},
            "startsAt": "2026-01-31T12:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": "b5d4045c3f466fa9",
        }
    ],
}

log = structlog.get_logger("gateway")


def router(door: Door, warehouse: Warehouse, limits: Limits, clock: Clock) -> APIRouter:
    """Takes an Alertmanager's notifications."""
    routes = APIRouter(tags=["in"])

    @routes.post(
        "/v1/alerts",
        summary="An Alertmanager's webhook",
        openapi_extra=takes("application/json", MESSAGE, EXAMPLE),
        responses=answers(
            400, 401, 408, 413, 415, 429, 503, _200=success("All are committed", {"accepted": 1, "truncated": 0})
        ),
    )
    async def notified(request: Request) -> Response:
        """Format version 4. An alert fires until it is told resolved; what is good is kept, 400 names what is not."""
        tenant = await door.admit(request, "alerts")
        body = await door.body(request, JSON_TYPES, most=limits.document_bytes)
        now = clock.now()
        message = told.read(body, now, limits.alerts)
        faults = list(message.refused)
        if message.alerts:
            async with warehouse.as_tenant(tenant) as db:
                left_out = await alerts.save(tenant, db, message.alerts, now, limits.alerts)
            faults += [(0, f"{limits.alerts} alerts fire already, and no more are taken") for _ in left_out]
        if message.truncated:
            log.warning("an alertmanager leaves alerts out", tenant=tenant, alerts=message.truncated)
        accepted = len(message.alerts) - (len(faults) - len(message.refused))
        if not faults:
            return JSONResponse({"accepted": accepted, "truncated": message.truncated})
        log.warning("alerts refused", tenant=tenant, alerts=len(faults), reasons=sorted({why for _, why in faults})[:5])
        named = [{"alert": number, "reason": reason} for number, reason in faults[:100]]
        # What is good is kept; 400 makes the Alertmanager say so in its log and its metrics.
        return JSONResponse({"accepted": accepted, "truncated": message.truncated, "refused": named}, status_code=400)

    return routes

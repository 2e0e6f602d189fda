"""Players' beacons: POST /v1/cmcd."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from gateway.api.description import answers, success, takes
from gateway.api.door import Door
from gateway.api.instruments import Instruments

EXAMPLE = 'bl=4200,br=128,bsd=0,cdn="edge-1",cid="ch1",e=t,ltc=6100,sid="6e2f",sn=7,sta=p,ts=1790000000123,v=2'

log = structlog.get_logger("gateway")


def router(door: Door, instruments: Instruments) -> APIRouter:
    """Takes CMCD, one line per report."""
    routes = APIRouter(tags=["in"])

    @routes.post(
        "/v1/cmcd",
        summary="Players' reports",
        openapi_extra=takes("application/cmcd", {"type": "string"}, EXAMPLE),
        responses=answers(
            400,
            401,
            408,
            413,
            415,
            429,
            503,
            _200=success("The good lines are committed", {"accepted": 1, "refused": []}),
        ),
    )
    async def cmcd(request: Request) -> Response:
        """CTA-5004 in event mode, one string per line. The lines that are good are kept, the others named."""
        tenant = await door.admit(request, "beacons")
        taken = await door.take(tenant, await door.body(request))
        instruments.lines.labels("accepted").inc(taken.accepted)
        instruments.lines.labels("refused").inc(len(taken.refused))
        if taken.refused:
            reasons = sorted({reason for _, reason in taken.refused})
            log.warning("beacon lines refused", tenant=tenant, lines=len(taken.refused), reasons=reasons[:5])
        refused = [{"line": number, "reason": reason} for number, reason in taken.refused]
        content = {"accepted": taken.accepted, "refused": refused}
        return JSONResponse(content, status_code=200 if taken.accepted else 400)

    return routes

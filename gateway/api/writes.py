"""What a Prometheus pushes: POST /api/v1/write."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from gateway.api.answers import refused
from gateway.api.description import answers, success, takes
from gateway.api.door import Door, Limits
from gateway.api.instruments import Instruments
from gateway.api.intake import WRITE_TYPES, Intake
from gateway.remote_write import Format

log = structlog.get_logger("gateway")


def router(door: Door, intake: Intake, limits: Limits, instruments: Instruments) -> APIRouter:
    """Takes Prometheus' remote write, 1.0 and 2.0."""
    routes = APIRouter(tags=["in"])

    @routes.post(
        "/api/v1/write",  # where Prometheus' own receiver has it
        summary="Prometheus' remote write",
        status_code=204,
        openapi_extra=takes("application/x-protobuf", {"type": "string", "format": "binary"}),
        responses=answers(400, 401, 408, 413, 415, 429, 503, _204=success("The samples are committed")),
    )
    async def write(request: Request) -> Response:
        """Snappy-compressed protobuf by its specification. What is good is kept; 400 names what is not."""
        tenant = await door.admit(request, "metrics")
        form = _form(request.headers.get("content-type", ""))
        body = await door.body(request, WRITE_TYPES, encoding="snappy", most=limits.write_bytes)
        received = await intake.take(tenant, body, form)
        left_out = sum(received.refused.values())
        for what, samples in (("kept", received.kept), ("void", received.void), ("refused", left_out)):
            instruments.samples.labels(what).inc(samples)
        headers = {
            "x-prometheus-remote-write-samples-written": str(received.kept + received.void),
            "x-prometheus-remote-write-histograms-written": "0",
            "x-prometheus-remote-write-exemplars-written": "0",
        }
        if not received.refused:
            return Response(status_code=204, headers=headers)
        reasons = dict(sorted(received.refused.items(), key=lambda each: -each[1])[:10])
        log.warning("samples refused", tenant=tenant, reasons=reasons)
        # What is good is kept; 400 makes the sender say so in its log, and not send the rest again and again.
        told = {"error": "some samples were refused, the others are kept", "refused": reasons}
        return JSONResponse(told, status_code=400, headers=headers)

    return routes


def _form(content_type: str) -> Format:
    """Raises HTTPException 415: a message that is neither of the two."""
    parameters = [part.partition("=") for part in content_type.split(";")[1:]]
    told = next((value.strip().strip('"') for name, _, value in parameters if name.strip().lower() == "proto"), "")
    try:
        return Format(told) if told else Format.V1
    except ValueError:
        raise refused(415, f"proto must be {' or '.join(Format)}") from None

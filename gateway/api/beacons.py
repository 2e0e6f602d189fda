"""Players' beacons: POST /v1/cmcd in event mode; GET and POST with CMCD in the query or the headers in request mode."""

from __future__ import annotations

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from gateway import cmcd
from gateway.api.answers import refused
from gateway.api.description import KEYED, answers, success, takes
from gateway.api.door import Door, Taken
from gateway.api.instruments import Instruments
from tonewatch.errors import PayloadError

EXAMPLE = 'bl=4200,br=128,bsd=0,cdn="edge-1",cid="ch1",e=t,ltc=6100,sid="6e2f",sn=7,sta=p,ts=1790000000123,v=2'
REQUEST_EXAMPLE = 'bl=4200,br=128,cid="ch1",mtp=2500,ot=a,sf=h,sid="6e2f",st=l'
GOOD = success("The good lines are committed", {"accepted": 1, "refused": []})
PARAMETERS = [
    {"name": "CMCD", "in": "query", "schema": {"type": "string"}, "example": REQUEST_EXAMPLE},
    *({"name": name, "in": "header", "schema": {"type": "string"}} for name in map(str.title, cmcd.HEADERS)),
    {
        "name": "X-Request-Id",
        "in": "header",
        "schema": {"type": "string"},
        "description": "Makes a repeat of a report without `sn` harmless",
    },
]

log = structlog.get_logger("gateway")


def router(door: Door, instruments: Instruments) -> APIRouter:
    """Takes CMCD in all three of its modes."""
    routes = APIRouter(tags=["in"])

    @routes.post(
        "/v1/cmcd",
        summary="Players' reports, or one that a request carries",
        openapi_extra={
            **takes("application/cmcd", {"type": "string"}, EXAMPLE, needed=False),
            "parameters": PARAMETERS,
        },
        responses=answers(400, 401, 408, 413, 415, 429, 503, _200=GOOD),
    )
    async def reports(request: Request) -> Response:
        """CTA-5004 in event mode, one string per line. The lines that are good are kept, the others named."""
        tenant = await door.admit(request, "beacons")
        text = _carried(request)
        if text is None:
            return _answer(tenant, await door.take(tenant, await door.body(request)))
        if await door.body(request):
            raise refused(400, "CMCD is in the request and there is a body: send it in one of them")
        return await one(tenant, text, request)

    @routes.get(
        "/v1/cmcd",
        summary="A report that a request carries",
        openapi_extra={**KEYED, "parameters": PARAMETERS},
        responses=answers(400, 401, 429, 503, _200=GOOD),
    )
    async def report(request: Request) -> Response:
        """CTA-5004 in request mode: `?CMCD=` percent-encoded, or the four headers, as a CDN or an origin gets it."""
        tenant = await door.admit(request, "beacons")
        text = _carried(request)
        if text is None:
            raise refused(400, "no CMCD: neither in the query nor in the headers")
        return await one(tenant, text, request)

    async def one(tenant: str, text: str, request: Request) -> Response:
        try:
            await door.take_request(tenant, text, request.headers.get("x-request-id", ""))
        except PayloadError as error:
            return _answer(tenant, Taken(0, [(1, str(error))]))
        return _answer(tenant, Taken(1, []))

    def _answer(tenant: str, taken: Taken) -> Response:
        instruments.lines.labels("accepted").inc(taken.accepted)
        instruments.lines.labels("refused").inc(len(taken.refused))
        if taken.refused:
            reasons = sorted({reason for _, reason in taken.refused})
            log.warning("beacon lines refused", tenant=tenant, lines=len(taken.refused), reasons=reasons[:5])
        told = [{"line": number, "reason": reason} for number, reason in taken.refused]
        content = {"accepted": taken.accepted, "refused": told}
        return JSONResponse(content, status_code=200 if taken.accepted else 400)

    return routes


def _carried(request: Request) -> str | None:
    """The CMCD that the request itself carries. Raises PayloadError: not ASCII; HTTPException 400: in two places."""
    told = {name: ",".join(request.headers.getlist(name)) for name in cmcd.HEADERS if name in request.headers}
    query, headers = cmcd.of_query(request.scope["query_string"]), cmcd.of_headers(told)
    if query is not None and headers is not None:
        raise refused(400, "CMCD is in the query and in the headers: send it in one of them")
    return query if query is not None else headers

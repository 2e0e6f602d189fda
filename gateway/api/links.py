"""Answers to a notice by one of its links: GET /v1/links/{token} shows what it would do, POST does it.

Mail programs follow links by themselves to look at them, so that a GET changes nothing.
"""

from __future__ import annotations

from html import escape
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from gateway.api.answers import refused
from gateway.api.asked import Parameter
from gateway.api.description import MEANINGS, Responses, answers
from gateway.links import MODELS, Link, Signer
from tonewatch.clock import Clock
from tonewatch.errors import ActRefused, PayloadError, UnknownIncident, UnknownTenant
from tonewatch.records import Action, ActKind
from warehouse import answers as answers_to_models
from warehouse.acts import Outlook, Wish, do, outlook
from warehouse.answers import Answer
from warehouse.cache import Cache
from warehouse.database import Warehouse
from warehouse.promotions import Promotion

#: Of one tenant's links in ten seconds: people click, and their mail programs before them.
REQUESTS, PER_S = 200, 10
REASON: Final = "by a link in a notice"
_HEADERS: Final = {
    # The address is the right to act: it goes to nobody, and nobody puts this page into another or keeps it.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-robots-tag": "noindex",
}
_STYLE: Final = "body{font:16px/1.5 sans-serif;max-width:36em;margin:3em auto;padding:0 1em}button{font:inherit}"
_BUTTONS: Final = {
    ActKind.ACK: "Acknowledge",
    ActKind.APPROVE: "Approve",
    ActKind.VETO: "Veto",
    ActKind.REAL: "It was real",
    ActKind.FALSE: "It was a false alarm",
    ActKind.NOT_THE_CAUSE: "That is not the cause",
}
#: Of a model that waits to be champion.
_OF_MODELS: Final = {ActKind.APPROVE: "Promote it", ActKind.VETO: "Reject it"}
_GONE: Final = "This link can not be used"


def router(signer: Signer, warehouse: Warehouse, cache: Cache, clock: Clock) -> APIRouter:
    """Lets those who got a notice answer it."""
    routes = APIRouter(tags=["act"])
    path = "/v1/links/{token}"
    described = {"parameters": [Parameter("token", "As it stands in the notice", str).described("path")]}

    async def wanted(request: Request) -> Link:
        link = signer.read(request.path_params["token"])
        if not await cache.allow(link.tenant, "links", REQUESTS, PER_S):
            raise refused(429, "too many requests for this tenant", retry_after=str(PER_S))
        if link.expires <= clock.now():
            raise ActRefused(f"it was good until {link.expires:%Y-%m-%d %H:%M} UTC")
        return link

    @routes.get(
        path,
        summary="What a link of a notice would do",
        response_class=HTMLResponse,
        openapi_extra=described,
        responses=_answers("A page"),
    )
    async def show(request: Request) -> Response:
        """A page with one button. Changes nothing."""
        try:
            link = await wanted(request)
            if link.incident.startswith(MODELS):
                model = await answers_to_models.outlook(link.tenant, warehouse, _answer(link), clock.now(), link.id)
                return _page(200, _asked(link, model), _about_model(link, model), button=_OF_MODELS[link.act])
            seen = await outlook(link.tenant, warehouse, _wish(link), clock.now(), link.id)
            if seen.refusal:
                raise ActRefused(seen.refusal)
        except _REFUSALS as error:
            return _refused(error)
        return _page(200, _what(link, seen.action), _about(link, seen), button=_BUTTONS[link.act])

    @routes.post(
        path,
        summary="Do what a link of a notice says",
        response_class=HTMLResponse,
        openapi_extra=described,
        responses=_answers("Done"),
    )
    async def use(request: Request) -> Response:
        """Once, in the name of whom the notice went to, by the rules of every other way to act."""
        try:
            link = await wanted(request)
            if link.incident.startswith(MODELS):
                said = await answers_to_models.answer(link.tenant, warehouse, _answer(link), clock.now(), link.id)
                return _page(200, "Done", [said.told])
            done = await do(link.tenant, warehouse, _wish(link), clock.now(), link.id)
        except _REFUSALS as error:
            return _refused(error)
        return _page(200, "Done", done.told)

    return routes


#: What a person is told as a page. The warehouse away is told as everywhere.
_REFUSALS: Final = (PayloadError, ActRefused, UnknownIncident, UnknownTenant)


def _wish(link: Link) -> Wish:
    return Wish(link.act, link.incident, link.who, REASON, action=link.action)


def _answer(link: Link) -> Answer:
    return Answer(link.incident.removeprefix(MODELS), link.act is ActKind.APPROVE, link.who, REASON)


def _asked(link: Link, model: Promotion) -> str:
    return f"{_OF_MODELS[link.act]}? {model.family}, version {model.version}"


def _about_model(link: Link, model: Promotion) -> list[str]:
    follows = {
        ActKind.APPROVE: f"It takes the place of {model.before} within the hour, and is taken back if a guard breaks.",
        ActKind.VETO: f"{model.before} stays champion, and this version is not offered again.",
    }
    return [
        f"{model.family} of {link.tenant}: {model.reason}",
        follows[link.act],
        f"It will be kept as said by {link.who}.",
    ]


def _what(link: Link, action: Action | None) -> str:
    if link.act not in {ActKind.APPROVE, ActKind.VETO}:
        return "Acknowledge the incident?" if link.act is ActKind.ACK else f"{_BUTTONS[link.act]}?"
    if action is None:
        return "Acknowledge the incident?"
    return f"{_BUTTONS[link.act]} {action.runbook} of {action.target}?"


def _about(link: Link, seen: Outlook) -> list[str]:
    follows = {
        ActKind.ACK: "Nobody further is called. Tonewatch goes on with what it does.",
        ActKind.APPROVE: "One yes to this one action, for a short time. Every other guard is asked again.",
        ActKind.VETO: "It is not done, whatever was approved before or after.",
        ActKind.REAL: "The models learn from it. You can change your mind: the last word counts.",
        ActKind.FALSE: "The models learn from it. You can change your mind: the last word counts.",
        ActKind.NOT_THE_CAUSE: "It is kept with the incident. What Tonewatch does, a veto stops.",
    }
    return [
        f"{seen.incident.title} ({seen.incident.severity}, {seen.incident.state})",
        f"Incident {link.incident} of {link.tenant}",
        follows[link.act],
        f"It will be kept as said by {link.who}.",
    ]


def _refused(error: Exception) -> Response:
    if isinstance(error, ActRefused):
        return _page(
            409,
            _GONE,
            [str(error), "`tonewatch incidents show` has the whole story, of a model `tonewatch models list`."],
        )
    return _page(404, _GONE, ["It is none of ours, or a part of it is missing. Copy it as a whole from the notice."])


def _page(status: int, heading: str, lines: tuple[str, ...] | list[str], button: str = "") -> Response:
    told = "".join(f"<p>{escape(line)}</p>" for line in lines)
    form = f'<form method="post"><button>{escape(button)}</button></form>' if button else ""
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Tonewatch</title><style>{_STYLE}</style><body><h1>{escape(heading)}</h1>{told}{form}</body></html>"
    )
    return HTMLResponse(page, status_code=status, headers=_HEADERS)


def _answers(done: str) -> Responses:
    html = {"text/html": {"schema": {"type": "string"}}}
    pages: Responses = {status: {"description": MEANINGS[status], "content": html} for status in (404, 409)}
    return answers(429, 503, _200={"description": done, "content": html}) | pages

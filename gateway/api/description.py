"""What /openapi.json says of routes that read their bodies themselves: body, answers, who may come in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

#: What each status means, whatever the route.
MEANINGS: Final = {
    400: "Nothing of it, or not all of it, was taken; the answer says why",
    401: "No API key, a wrong one, one that has ended, or one for something else",
    403: "The key's role may not do this",
    404: "There is no such thing, or it is another tenant's",
    408: "The body did not arrive in time",
    409: "It can not be done any more; the answer says why",
    413: "Too much in one request",
    415: "Another content type or encoding is needed",
    422: "A parameter has no meaning here",
    429: "Too many requests of this tenant; wait for Retry-After",
    503: "Nothing was kept: the warehouse is away; come again after Retry-After",
}
_PROBLEM: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "What was wrong, and what to do"}},
}
Responses = dict[int | str, dict[str, Any]]


def answers(*statuses: int, **described: Mapping[str, Any]) -> Responses:
    """The answers of a route: `statuses` of the usual shape, and others as `_200=...`."""
    usual: Responses = {
        status: {"description": MEANINGS[status], "content": {"application/json": {"schema": _PROBLEM}}}
        for status in statuses
    }
    return usual | {int(name.removeprefix("_")): dict(answer) for name, answer in described.items()}


def success(description: str, example: Any = None, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An answer in JSON, or without a body when neither example nor schema is given."""
    if example is None and schema is None:
        return {"description": description}
    content: dict[str, Any] = {"schema": dict(schema or {"type": "object"})}
    if example is not None:
        content["example"] = example
    return {"description": description, "content": {"application/json": content}}


def takes(media_type: str, schema: Mapping[str, Any], example: Any = None, *, needed: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route with a body."""
    content: dict[str, Any] = {"schema": dict(schema)}
    if example is not None:
        content["example"] = example
    return {"requestBody": {"required": needed, "content": {media_type: content}}, **KEYED}


#: `openapi_extra` of a route for holders of a key.
KEYED: Final[dict[str, Any]] = {"security": [{"key": []}, {"person": []}]}


def describe(app: FastAPI) -> None:
    """Let /openapi.json name the keys, too."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            told = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            told.setdefault("components", {})["securitySchemes"] = {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key: `tonewatch keys add`"},
                "person": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A token of the tenant's identity provider, with a header Tonewatch-Tenant",
                },
            }
            app.openapi_schema = told
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]

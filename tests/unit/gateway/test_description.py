"""/openapi.json: what it says of the routes, and that docs/openapi.json is the same."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.api.app import create_app
from warehouse.cache import Cache
from warehouse.database import Warehouse

COPY = Path(__file__).parents[3] / "docs" / "openapi.json"
#: Without a key, on purpose.
OPEN = {"/health", "/ready", "/metrics", "/v1/links/{token}"}


@pytest.fixture(scope="module")
def app() -> Any:
    return create_app(Warehouse("postgresql://nobody@127.0.0.1:1/nothing"), Cache(None), b"k" * 32)


@pytest.fixture(scope="module")
def told(app: Any) -> dict[str, Any]:
    document: dict[str, Any] = app.openapi()
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_route_says_what_it_is_who_may_come_in_and_how_it_answers(told: dict[str, Any]) -> None:
    for path, method, operation in operations(told):
        where = f"{method} {path}"
        assert operation.get("summary"), where
        assert operation.get("tags"), where
        assert bool(operation.get("security")) == (path not in OPEN), where
        assert any(status.startswith("2") for status in operation["responses"]), where
        if path not in OPEN:
            assert {"401", "429", "503"} <= set(operation["responses"]), where


def test_every_body_and_every_answer_in_json_has_an_example(told: dict[str, Any]) -> None:
    for path, method, operation in operations(told):
        contents = list(operation.get("requestBody", {}).get("content", {}).items())
        contents += [each for status, answer in operation["responses"].items() if status.startswith("2")
                     for each in answer.get("content", {}).items()]  # fmt: skip
        for media_type, content in contents:
            if media_type.endswith("json") and path != "/v1/live":
                assert "example" in content or "examples" in content, f"{method} {path} {media_type}"


def test_routes_that_are_for_strangers_say_no_422_of_the_framework(told: dict[str, Any]) -> None:
    for path, method, operation in operations(told):
        schema = operation["responses"].get("422", {}).get("content", {}).get("application/json", {}).get("schema", {})
        assert "HTTPValidationError" not in str(schema), f"{method} {path}: answers have one shape"


async def test_the_description_is_served(app: Any, told: dict[str, Any]) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        answer = await client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == told


def test_the_copy_in_the_docs_is_this_description(told: dict[str, Any]) -> None:
    text = json.dumps(told, indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_DOCS"):
        COPY.write_text(text, encoding="utf-8")
    assert COPY.read_text(encoding="utf-8") == text, "make snapshot writes it anew"

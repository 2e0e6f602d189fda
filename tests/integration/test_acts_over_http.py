"""Acknowledging, approving, vetoing and closing over HTTP: by roles, once, by the rules of the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.api.app import create_app
from tests.conftest import new_tenant
from tests.integration.test_acts import PROPOSED, START, kept, open_incident
from tonewatch.clock import ManualClock
from warehouse import approvals, audit, keys
from warehouse.cache import Cache
from warehouse.database import Warehouse

PATH = "/v1/incidents/i1/acts"


@pytest.fixture
async def door(warehouse: Warehouse) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(warehouse, Cache(None), b"k" * 32, clock=ManualClock(START))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        yield client


async def act(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str, what: Any, who: str = "ann", scope: str = "approver"
) -> httpx.Response:
    """Say it with a new key of that person and role."""
    async with warehouse.as_tenant(tenant) as db:
        key = await keys.create(tenant, db, purpose=who, scopes=[scope], now=START)
    body = {"content": what} if isinstance(what, bytes) else {"json": what}
    return await door.post(PATH, headers={"authorization": f"Bearer {key}", "content-type": "application/json"}, **body)


async def test_a_yes_is_an_approval_by_the_key_s_holder(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    await open_incident(warehouse, tenant)
    answer = await act(door, warehouse, tenant, {"act": "approve", "reason": "go on", "action": PROPOSED.key})
    assert answer.status_code == 200
    assert (answer.json()["approval"]["approver"], answer.json()["incident"]) == ("ann", "i1")
    async with warehouse.as_tenant(tenant) as db:
        (yes,) = await approvals.holding(tenant, db, PROPOSED.key, START)
        (line,) = await audit.read(tenant, db, 5)
    assert (yes.approver, yes.reason) == ("ann", "go on")
    assert (line.who, line.what, line.subject) == ("ann", "incident.approve", "i1")


@pytest.mark.parametrize(
    ("scope", "what", "status"),
    [
        ("viewer", {"act": "ack"}, 401),
        ("auditor", {"act": "ack"}, 401),
        ("beacons", {"act": "ack"}, 401),
        ("operator", {"act": "approve"}, 403),
        ("operator", {"act": "ack"}, 200),
        ("operator", {"act": "veto"}, 200),
        ("admin", {"act": "approve"}, 200),
    ],
)
async def test_each_act_needs_its_role(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str, scope: str, what: dict[str, str], status: int
) -> None:
    await open_incident(warehouse, tenant)
    answer = await act(door, warehouse, tenant, what, scope=scope)
    assert answer.status_code == status
    assert bool(await kept(warehouse, tenant)) == (status == 200)


@pytest.mark.parametrize("what", [{"act": "ack"}, {"act": "veto"}, {"act": "close", "verdict": "real"}])
async def test_the_same_act_again_is_a_conflict_that_changes_nothing(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str, what: dict[str, str]
) -> None:
    await open_incident(warehouse, tenant)
    answers = await asyncio.gather(*(act(door, warehouse, tenant, what, who) for who in ("ann", "ben", "cleo")))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    before = await kept(warehouse, tenant)
    again = await act(door, warehouse, tenant, what)
    assert (again.status_code, again.json().keys()) == (409, {"error"})
    assert await kept(warehouse, tenant) == before


async def test_who_asked_cannot_approve_here_either(door: httpx.AsyncClient, warehouse: Warehouse, tenant: str) -> None:
    await open_incident(warehouse, tenant, proposed=[replace(PROPOSED, parameters={"requested_by": "ann"})])
    answer = await act(door, warehouse, tenant, {"act": "approve"})
    assert (answer.status_code, "who asks cannot approve" in answer.text) == (409, True)
    assert (await act(door, warehouse, tenant, {"act": "approve"}, "ben")).status_code == 200


async def test_a_yes_to_an_action_that_was_overtaken_is_none_to_the_next(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    await open_incident(warehouse, tenant, proposed=[PROPOSED, replace(PROPOSED, attempt=2)])
    answer = await act(door, warehouse, tenant, {"act": "approve", "action": PROPOSED.key})
    assert (answer.status_code, "does not wait for an answer" in answer.text) == (409, True)
    assert await kept(warehouse, tenant) == []


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (b"{", "no JSON"),
        (b"[]", "acts are ack"),
        ({"act": ["ack"]}, "acts are ack"),
        ({"act": "explode"}, "acts are ack"),
        ({"act": "ack", "verdict": "real"}, "takes no 'verdict'"),
        ({"act": "ack", "reason": 7}, "must be a text"),
        ({"act": "ack", "reason": "x" * 1001}, "must be a text"),
        ({"act": "close"}, "is no verdict"),
        ({"act": "close", "verdict": "real", "cause": "hang"}, "is no cause"),
    ],
)
async def test_what_is_no_act_is_refused_and_leaves_nothing(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str, what: Any, said: str
) -> None:
    await open_incident(warehouse, tenant)
    answer = await act(door, warehouse, tenant, what)
    assert (answer.status_code, answer.json().keys()) == (400, {"error"})
    assert said in answer.json()["error"]
    assert await kept(warehouse, tenant) == []


async def test_another_tenant_s_incident_is_as_unknown_as_any(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    await open_incident(warehouse, tenant)
    answer = await act(door, warehouse, await new_tenant(warehouse), {"act": "ack"})
    assert answer.status_code == 404
    assert await kept(warehouse, tenant) == []

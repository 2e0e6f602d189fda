"""Alerts, events, reports in requests and inventories at the door: committed, each once, each tenant's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from console.keyring import SCOPES
from gateway import cmcd
from gateway.api.app import create_app
from gateway.api.door import Limits
from tasks.collect import Collector
from tests.conftest import new_tenant
from tonewatch.clock import SYSTEM
from tonewatch.records import Alert, EventKind
from tonewatch.settings import load_profile
from warehouse import alerts, entities, events, keys, sessions
from warehouse.cache import Cache
from warehouse.database import Warehouse

LIMITS = Limits(document_bytes=64 * 1024, alerts=20, events=20)
PERSON, ADDRESS = "alice@example.com", "192.0.2.77"
LABELS = {"alertname": "Slow", "job": "edge"}


@pytest.fixture
async def door(warehouse: Warehouse, tenant: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key of the tenant for everything, before a gateway in this process."""
    async with warehouse.as_tenant(tenant) as db:
        key = await keys.create(tenant, db, purpose="test", scopes=SCOPES, now=SYSTEM.now())
    app = create_app(warehouse, Cache(None), b"k" * 32, limits=LIMITS)
    headers = {"authorization": f"Bearer {key}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers) as client:
        yield client


def notification(*told: dict[str, Any], **further: Any) -> dict[str, Any]:
    return {"version": "4", "truncatedAlerts": 0, "alerts": list(told)} | further


def alert(status: str = "firing", **labels: str) -> dict[str, Any]:
    times = {"startsAt": (SYSTEM.now() - timedelta(seconds=60)).isoformat(), "endsAt": "0001-01-01T00:00:00Z"}
    return {"status": status, "labels": LABELS | labels} | times


async def firing(warehouse: Warehouse, tenant: str) -> list[Alert]:
    async with warehouse.as_tenant(tenant) as db:
        return await alerts.firing_at(tenant, db, SYSTEM.now())


async def test_alerts_are_committed_when_they_are_answered_and_end_when_they_are_resolved(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    for _ in range(2):
        answer = await door.post("/v1/alerts", json=notification(alert(), alert(job="origin"), truncatedAlerts=3))
        assert (answer.status_code, answer.json()) == (200, {"accepted": 2, "truncated": 3})
    assert len(await firing(warehouse, tenant)) == 2
    assert (await door.post("/v1/alerts", json=notification(alert("resolved")))).status_code == 200
    assert [dict(each.labels)["job"] for each in await firing(warehouse, tenant)] == ["origin"]


async def test_the_good_alerts_are_kept_and_the_others_named(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    answer = await door.post("/v1/alerts", json=notification(alert() | {"labels": {}}, alert()))
    assert answer.status_code == 400
    assert answer.json() == {
        "accepted": 1,
        "truncated": 0,
        "refused": [{"alert": 1, "reason": "an alert without labels"}],
    }
    assert len(await firing(warehouse, tenant)) == 1


async def test_more_alerts_than_may_fire_are_refused_with_the_reason(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    many = [alert(disk=str(number)) for number in range(LIMITS.alerts)]
    assert (await door.post("/v1/alerts", json=notification(*many))).status_code == 200
    answer = await door.post("/v1/alerts", json=notification(many[0], alert(disk="another")))
    assert (answer.status_code, answer.json()["accepted"]) == (400, 1)
    assert answer.json()["refused"][0]["reason"] == "20 alerts fire already, and no more are taken"
    assert len(await firing(warehouse, tenant)) == LIMITS.alerts


def event(id_: str = "e", **further: Any) -> dict[str, Any]:
    told = {"id": id_, "kind": "auth", "time": SYSTEM.now().isoformat(), "outcome": "failure"}
    return told | {"subject": PERSON, "address": ADDRESS} | further


async def kept(warehouse: Warehouse, tenant: str) -> list[Any]:
    now = SYSTEM.now()
    async with warehouse.as_tenant(tenant) as db:
        return list(await events.read(tenant, db, now - timedelta(hours=1), now + timedelta(hours=1)))


async def test_events_are_kept_once_and_the_faulty_ones_named(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    body = [event("a"), event("b", kind="play"), event("a", outcome="success")]
    for _ in range(2):
        answer = await door.post("/v1/events", json=body)
        assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
        assert [each["event"] for each in answer.json()["refused"]] == [2]
    (found,) = await kept(warehouse, tenant)
    assert (found.id, found.kind, found.outcome) == ("a", EventKind.AUTH, "failure")
    lines = "\n".join(json.dumps(event(id_)) for id_ in "cd")
    answer = await door.post("/v1/events", content=lines, headers={"content-type": "application/x-ndjson"})
    assert answer.json() == {"accepted": 2, "refused": []}
    assert len(await kept(warehouse, tenant)) == 3
    assert (await door.post("/v1/events", json=event("f", kind="x"))).status_code == 400


async def test_who_it_was_is_in_no_row_no_log_and_no_answer(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    bad = [event("y", subject=[PERSON]), event("z", address=PERSON), event("w", **{PERSON: ADDRESS}), PERSON]
    with capture_logs() as logs:
        answer = await door.post("/v1/events", json=[event("x"), *bad])
    assert (answer.json()["accepted"], len(answer.json()["refused"])) == (1, 4)
    async with warehouse.as_tenant(tenant) as db:
        rows = (await db.execute(text("select to_jsonb(e)::text from event e"))).scalars().all()
    assert logs
    assert len(rows) == 1
    for told in (answer.text, str(logs), *rows):
        assert PERSON not in told
        assert ADDRESS not in told


async def test_a_person_is_the_same_in_all_events_and_another_for_another_tenant(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    await door.post("/v1/events", json=[event("a"), event("b"), event("c", subject="bob", address="192.0.2.78")])
    first, second, third = await kept(warehouse, tenant)
    assert (first.subject, first.address) == (second.subject, second.address)
    assert len({first.subject, first.address, third.subject, third.address}) == 4
    other = await new_tenant(warehouse)
    async with warehouse.as_tenant(other) as db:
        key = await keys.create(other, db, purpose="test", scopes=["events"], now=SYSTEM.now())
    await door.post("/v1/events", json=event(), headers={"authorization": f"Bearer {key}"})
    assert (await kept(warehouse, other))[0].subject != first.subject


REPORT = 'bl=4200,br=128,cid="ch1",ot=a,sid="6e2f",st=l'


async def reports(warehouse: Warehouse, tenant: str) -> list[Any]:
    now = SYSTEM.now()
    async with warehouse.as_tenant(tenant) as db:
        return list(await sessions.between(tenant, db, now - timedelta(hours=1), now + timedelta(hours=1)))


async def test_a_report_in_query_or_headers_is_committed_with_the_time_of_its_arrival(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    before = SYSTEM.now()
    for method in ("GET", "POST"):
        answer = await door.request(method, f"/v1/cmcd?CMCD={quote(REPORT)}")
        assert (answer.status_code, answer.json()) == (200, {"accepted": 1, "refused": []})
    headers = {"CMCD-Object": "br=128,ot=a", "CMCD-Session": 'cid="ch1",sid="6e2f",st=l', "CMCD-Request": "bl=4200"}
    assert (await door.get("/v1/cmcd", headers=headers)).status_code == 200
    found = await reports(warehouse, tenant)
    assert len(found) == 3
    assert {(each.channel, each.buffer_ms, each.bitrate_kbps, each.event) for each in found} == {
        ("channel:ch1", 4200, 128, cmcd.REQUEST)
    }
    assert all(before <= each.time <= SYSTEM.now() for each in found)
    assert "6e2f" not in {each.session for each in found}


async def test_a_report_with_a_request_id_or_a_sequence_is_kept_once(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    for _ in range(2):
        await door.get(f"/v1/cmcd?CMCD={quote(REPORT)}", headers={"x-request-id": "r-1"})
        await door.get(f"/v1/cmcd?CMCD={quote(REPORT + ',sn=5')}")
    assert len(await reports(warehouse, tenant)) == 2


@pytest.mark.parametrize(
    ("query", "headers", "body", "reason"),
    [
        ("", {}, b"", "no CMCD"),
        (f"?CMCD={quote(REPORT)}", {"cmcd-object": "br=1"}, b"", "one of them"),
        (f"?CMCD={quote(REPORT)}", {}, REPORT.encode(), "one of them"),
        ("?CMCD=%FF", {}, b"", "beyond ASCII"),
        ("?CMCD=bl", {}, b"", "bl must be a whole number"),
        (f"?CMCD={quote(REPORT + ',ts=4102444800000')}", {}, b"", "between the years 2000 and 2100"),
        (f"?CMCD={quote(REPORT + ',ts=0')}", {}, b"", "between the years 2000 and 2100"),
        (f"?CMCD={quote(REPORT + ',ts=1000000000000')}", {}, b"", "48 hours behind"),
        ("?CMCD=" + "a" * 9000, {}, b"", "longer than"),
    ],
    ids=["none", "two-places", "body-too", "not-ascii", "type", "2100", "1970", "2001", "long"],
)
async def test_a_report_with_a_fault_is_400_with_the_reason(
    door: httpx.AsyncClient,
    warehouse: Warehouse,
    tenant: str,
    query: str,
    headers: dict[str, str],
    body: bytes,
    reason: str,
) -> None:
    method = "POST" if body else "GET"
    answer = await door.request(method, f"/v1/cmcd{query}", headers=headers, content=body)
    assert answer.status_code == 400
    assert reason in answer.text
    assert await reports(warehouse, tenant) == []


def platform(*names: str) -> dict[str, Any]:
    parts = [
        {"id": f"component:{name}", "stage": "origin", "process": name, "metrics_url": f"http://{name}:1/metrics"}
        for name in names
    ]
    for part, after in pairwise(parts):
        part["feeds"] = [after["id"]]  # type: ignore[assignment]  # a list among texts
    origin = {"id": parts[-1]["id"], "base_url": "http://o:1"}
    return {"platform": "p", "segment_seconds": 4, "components": parts, "origin": origin}


async def test_an_inventory_takes_the_place_of_the_one_before(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    async def known() -> dict[str, tuple[str, ...]]:
        async with warehouse.as_tenant(tenant) as db:
            return {each.id: each.feeds for each in await entities.load(tenant, db, SYSTEM.now())}

    answer = await door.put("/v1/inventory", json=platform("a", "b"))
    assert (answer.status_code, answer.json()) == (200, {"entities": 2})
    assert await known() == {"component:a": ("component:b",), "component:b": ()}
    assert (await door.put("/v1/inventory", json=platform("a", "c"))).status_code == 200
    assert await known() == {"component:a": ("component:c",), "component:c": ()}
    collector = Collector(load_profile("platform"), SYSTEM, "")
    await collector.remember(tenant, warehouse)
    assert collector.topology.reaches("component:a", "component:c"), "a watcher without an inventory's address has it"
    wrong = platform("x")
    wrong["components"][0]["feeds"] = ["component:nobody"]
    answer = await door.put("/v1/inventory", json=wrong)
    assert answer.status_code == 400
    assert "component:x names component:nobody, which is not in the inventory" in answer.json()["error"]
    assert len(await known()) == 2


async def test_a_key_for_something_else_opens_none_of_them(warehouse: Warehouse, tenant: str) -> None:
    app = create_app(warehouse, Cache(None), b"k" * 32)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        for scope, method, path in (
            ("alerts", "POST", "/v1/alerts"),
            ("events", "POST", "/v1/events"),
            ("inventory", "PUT", "/v1/inventory"),
            ("beacons", "GET", "/v1/cmcd"),
        ):
            others = [each for each in SCOPES if each != scope]
            async with warehouse.as_tenant(tenant) as db:
                key = await keys.create(tenant, db, purpose="test", scopes=others, now=SYSTEM.now())
            assert (await client.request(method, path)).status_code == 401
            answer = await client.request(method, path, headers={"authorization": f"Bearer {key}"})
            assert (answer.status_code, f"not for {scope}" in answer.json()["error"]) == (401, True)


DEEP = b"[" * 60_000
BODIES: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "half": (b'{"version": "4", "alerts": [{"status"', 400),
    "deep": (DEEP, 400),
    "deep-inside": (b'{"version": "4", "alerts": [' + DEEP, 400),
    "huge-number": (b'{"id": ' + b"9" * 60_000 + b"}", 400),
    "infinite": (b'{"segment_seconds": 1e999, "version": "4", "alerts": 1e999}', 400),
    "nan": (b'{"id": NaN}', 400),
    "utf-8": (b'{"id": "\xff\xfe"}', 400),
    "surrogate": (b'{"id": "\\ud800"}', 400),
    "zero": (b"\x00" * 100, 400),
    "a-million-labels": (json.dumps(notification(alert(**{f"l{n}": "x" for n in range(1_000_000)}))).encode(), 413),
    "many-labels": (json.dumps(notification(alert(**{f"l{n}": "x" for n in range(3000)}))).encode(), 400),
    "many-alerts": (json.dumps(notification(*[{}] * 21)).encode(), 400),
    "other-tenant": (b'{"tenant": "another", "version": "4"}', 400),
    "null": (b"null", 400),
    "true": (b"true", 400),
}


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/alerts"), ("POST", "/v1/events"), ("PUT", "/v1/inventory")])
async def test_a_bad_body_has_a_defined_status_and_an_error_that_says_why(
    door: httpx.AsyncClient, method: str, path: str
) -> None:
    for name, (body, status) in BODIES.items():
        wanted = 413 if (name, path) == ("many-alerts", "/v1/alerts") else status
        answer = await door.request(method, path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code == wanted, f"{name}: {answer.text[:200]}"
        assert answer.json().get("error") or answer.json()["refused"][0]["reason"], name
    for further in ({"content-type": "text/plain"}, {"content-encoding": "gzip"}):
        answer = await door.request(method, path, content=b"{}", headers={"content-type": "application/json"} | further)
        assert answer.status_code == 415
    answer = await door.post("/v1/events", json=[{}] * 21)
    assert answer.status_code == 413

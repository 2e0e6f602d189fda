"""What the gateway tells when it is asked: pages, filters, the whole story, and what is reckoned."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from gateway.api import examples
from gateway.api.app import create_app
from policy.period import Period
from tasks.phrase import as_document
from tasks.weekly import make
from tests.conftest import new_tenant
from tests.integration.busy_week import MADE, MONDAY, NEXT_MONDAY
from tests.integration.busy_week import seed as seed_week
from tests.integration.furnished import INCIDENT, PART, START, action, at, finding, furnish, incident
from tonewatch.clock import ManualClock
from tonewatch.records import ActionState, IncidentState
from tonewatch.settings import load_profile
from warehouse import actions, audit, findings, incidents, keys
from warehouse.cache import Cache
from warehouse.database import Warehouse

LISTS = {"incidents": "/v1/incidents", "findings": "/v1/findings", "actions": "/v1/actions", "audit": "/v1/audit"}


@pytest.fixture
async def door(warehouse: Warehouse) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(warehouse, Cache(None), b"k" * 32, clock=ManualClock(MADE))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        yield client


async def let_in(door: httpx.AsyncClient, warehouse: Warehouse, tenant: str, scope: str = "auditor") -> None:
    """Carry a key of the tenant from now on."""
    async with warehouse.as_tenant(tenant) as db:
        key = await keys.create(tenant, db, purpose="ann", scopes=[scope], now=START)
    door.headers["authorization"] = f"Bearer {key}"


async def ask(door: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await door.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def open_incidents(warehouse: Warehouse, tenant: str, *numbers: int) -> None:
    """Incidents i<number>, opened at that second, two at a time at the same."""
    async with warehouse.as_tenant(tenant) as db:
        for number in numbers:
            made = incident(tenant, f"i{number:02d}")
            await incidents.save(tenant, db, replace(made, opened=at(number // 2), entities=(f"edge:e{number % 3}",)))


async def test_pages_hold_each_incident_once_while_new_ones_arrive(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    await let_in(door, warehouse, tenant, "viewer")
    await open_incidents(warehouse, tenant, *range(10))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(20):
        told = await ask(door, "/v1/incidents", limit=3, **cursor)
        seen += [each["id"] for each in told["incidents"]]
        await open_incidents(warehouse, tenant, 20 + len(seen), 21 + len(seen))
        if told["next"] is None:
            break
        cursor = {"cursor": told["next"]}
    assert seen == [f"i{number:02d}" for number in reversed(range(10))]


async def test_incidents_are_found_by_state_time_and_entity(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    await let_in(door, warehouse, tenant, "viewer")
    await open_incidents(warehouse, tenant, *range(6))
    async with warehouse.as_tenant(tenant) as db:
        closed = replace(incident(tenant, "i00", IncidentState.CLOSED), opened=at(0), entities=("edge:e0",))
        await incidents.save(tenant, db, closed)

    async def found(**query: Any) -> list[str]:
        return [each["id"] for each in (await ask(door, "/v1/incidents", **query))["incidents"]]

    assert await found(state="active") == ["i05", "i04", "i03", "i02", "i01"]
    assert await found(state="closed") == ["i00"]
    assert await found(state="all", entity="edge:e0") == ["i03", "i00"]
    since, until = at(1).isoformat(), at(2).isoformat().replace("+00:00", "Z")
    assert await found(since=since, until=until) == ["i03", "i02"]
    assert await found(entity="edge:nowhere") == []


async def test_an_incident_is_found_by_what_caused_it(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    await furnish(warehouse, tenant)
    await let_in(door, warehouse, tenant, "viewer")
    (told,) = (await ask(door, "/v1/incidents", entity="component:ingest-ch1"))["incidents"]
    assert (told["id"], told["entities"], told["cause"], told["verdict"]) == (
        INCIDENT,
        [PART],
        f"{PART}:crash",
        "worked",
    )


async def test_the_whole_story_is_told(door: httpx.AsyncClient, warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant)
    await let_in(door, warehouse, tenant, "viewer")
    told = await ask(door, f"/v1/incidents/{INCIDENT}")
    assert [(each["rank"], each["name"]) for each in told["causes"]] == [
        (1, f"{PART}:crash"),
        (2, "component:ingest-ch1:hang"),
    ]
    assert [each["id"] for each in told["findings"]] == [finding(tenant).id]
    (done,) = told["actions"]
    assert (done["key"], done["verdict"]["outcome"]) == (action().key, "worked")
    assert [each["approver"] for each in done["approvals"]] == ["someone"]
    assert {"guard": "grant", "allowed": True, "reason": "the owner's"} in done["guards"]
    assert [(each["channel"], "body" in each) for each in told["notices"]] == [("email", False)]
    assert [each["value"] for each in told["people"]] == ["ack"]
    assert told["incident"]["listener_minutes_lost"] == 0.0
    assert told["story"][0]["step"] == "detect"


async def test_what_is_told_has_the_shape_of_the_examples(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    await furnish(warehouse, tenant)
    await let_in(door, warehouse, tenant)

    def shape(told: Any) -> Any:
        """Names at every depth; a list is told by its first item, free objects by nothing."""
        free = {"detail", "features", "slis", "parameters", "before", "after", "channels", "lost_by_basis"}
        if isinstance(told, dict):
            return {name: None if name in free else shape(value) for name, value in told.items()}
        return [shape(told[0])] if isinstance(told, list) and told and isinstance(told[0], dict) else None

    case = await ask(door, f"/v1/incidents/{INCIDENT}")
    case["actions"][0]["approvals"] = []
    assert shape(case) == shape(examples.CASE)
    for name, example in (
        ("incidents", examples.GLANCE),
        ("findings", examples.FINDING | {"incident": INCIDENT}),
        ("actions", examples.ACTION),
        ("audit", examples.AUDIT),
    ):
        assert shape((await ask(door, LISTS[name]))[name][0]) == shape(example), name
    assert shape(await ask(door, "/v1/slos")) == shape(examples.SLOS)
    assert shape(await ask(door, "/v1/listener-minutes")) == shape(examples.MINUTES)


async def test_findings_actions_and_the_audit_are_paged_and_filtered(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    await furnish(warehouse, tenant)
    await let_in(door, warehouse, tenant)
    words = {"who": "ann", "what": "x", "before": None, "after": None, "reason": ""}
    async with warehouse.as_tenant(tenant) as db:
        await findings.save(tenant, db, [replace(finding(tenant, seconds), entity="edge:e1") for seconds in (4, 5, 6)])
        for attempt in (2, 3, 4):
            await actions.intend(
                tenant, db, replace(action(), attempt=attempt, state=ActionState.REFUSED, intended=at(7))
            )
        for subject in ("s1", "s2", "s2"):
            await audit.write(tenant, db, subject=subject, at=at(30), **words)
    for name, path in LISTS.items():
        if name == "incidents":
            continue
        whole = (await ask(door, path))[name]
        assert len(whole) == 4
        paged, cursor = [], None
        while cursor is not None or not paged:
            told = await ask(door, path, limit=1, **({"cursor": cursor} if cursor else {}))
            paged += told[name]
            cursor = told["next"]
        assert paged == whole
    assert len((await ask(door, "/v1/findings", entity="edge:e1"))["findings"]) == 3
    assert (await ask(door, "/v1/findings", kind="security"))["findings"] == []
    (placed,) = (await ask(door, "/v1/findings", entity=PART))["findings"]
    assert placed["incident"] == INCIDENT
    assert len((await ask(door, "/v1/actions", state="refused", entity=PART))["actions"]) == 3
    assert [each["who"] for each in (await ask(door, "/v1/audit", subject="s2"))["audit"]] == ["ann", "ann"]


@pytest.fixture
async def busy(warehouse: Warehouse, door: httpx.AsyncClient, tenant: str) -> str:
    await seed_week(warehouse, tenant, sessions_a_day=4)
    await let_in(door, warehouse, tenant, "viewer")
    return tenant


async def test_availability_and_minutes_are_those_of_the_weekly_report(
    door: httpx.AsyncClient, warehouse: Warehouse, busy: str
) -> None:
    report = await make(busy, warehouse, Period(MONDAY, NEXT_MONDAY), load_profile("demo"), MADE)
    weekly = as_document(report.summary)
    span = {"since": MONDAY.isoformat(), "until": NEXT_MONDAY.isoformat()}
    slos = await ask(door, "/v1/slos", **span)
    assert (slos["total"], slos["channels"], slos["slo"]) == (weekly["availability"], weekly["channels"], 0.9999)
    assert slos["total"]["lost_minutes"] > 0
    told = await ask(door, "/v1/listener-minutes", **span)
    assert told["lost_minutes"] == weekly["availability"]["lost_minutes"]
    assert told["saved_minutes"] == weekly["saved"]["minutes"]
    assert told["lost_by_basis"] == weekly["incidents"]["lost_minutes_by_basis"]
    assert (told["controlled"], told["person_cases"]) == (
        weekly["saved"]["controlled"],
        weekly["saved"]["person_cases"],
    )


async def test_a_stretch_of_time_that_nobody_names_is_the_last_day(door: httpx.AsyncClient, busy: str) -> None:
    told = await ask(door, "/v1/slos")
    assert datetime.fromisoformat(told["until"]) - datetime.fromisoformat(told["since"]) == timedelta(days=1)
    assert datetime.fromisoformat(told["until"]) == MADE


FAULTS = [
    ("/v1/incidents", "sort=up", "unknown parameter"),
    ("/v1/incidents", "state=sad", "must be one of all, active"),
    ("/v1/incidents", "limit=0", "1 to 200"),
    ("/v1/incidents", "limit=201", "1 to 200"),
    ("/v1/incidents", "limit=%D9%A3", "1 to 200"),
    ("/v1/incidents", "limit=5&limit=6", "given twice"),
    ("/v1/incidents", "since=yesterday", "ISO 8601"),
    ("/v1/incidents", "since=2026-01-31T12:00:00", "zone is missing"),
    ("/v1/incidents", "since=0001-01-01T00:00:00%2B14:00", "2000 to 2100"),
    ("/v1/incidents", "since=2026-01-02T00:00:00Z&until=2026-01-02T00:00:00Z", "later than since"),
    ("/v1/incidents", "entity=packager", "kind:name"),
    ("/v1/incidents", "cursor=x", "none of ours"),
    ("/v1/incidents", "cursor=WzFd", "none of ours"),
    ("/v1/incidents", "cursor=%FF%00", "none of ours"),
    ("/v1/findings", "kind=odd", "must be one of signal"),
    ("/v1/actions", "state=odd", "must be one of intended"),
    ("/v1/audit", "subject=%00", "on one line"),
    ("/v1/slos", "since=2026-01-01T00:00:00Z&until=2026-03-01T00:00:00Z", "at most 31 days"),
    ("/v1/slos", "until=2026-01-01T00:00:00Z&since=2026-01-02T00:00:00Z", "later than since"),
    ("/v1/listener-minutes", "days=3", "unknown parameter"),
    (f"/v1/incidents/{INCIDENT}", "full=yes", "unknown parameter"),
]


@pytest.mark.parametrize(("path", "query", "said"), FAULTS)
async def test_what_has_no_meaning_is_refused_in_one_shape(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str, path: str, query: str, said: str
) -> None:
    await let_in(door, warehouse, tenant)
    answer = await door.get(f"{path}?{query}")
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert said in answer.json()["error"]


async def test_a_cursor_of_another_list_is_refused(door: httpx.AsyncClient, warehouse: Warehouse, tenant: str) -> None:
    await let_in(door, warehouse, tenant)
    await open_incidents(warehouse, tenant, 1, 2)
    cursor = (await ask(door, "/v1/incidents", limit=1))["next"]
    answer = await door.get("/v1/audit", params={"cursor": cursor})
    assert (answer.status_code, "another list" in answer.text) == (400, True)


async def test_nothing_of_another_tenant_is_told(door: httpx.AsyncClient, warehouse: Warehouse, tenant: str) -> None:
    await furnish(warehouse, tenant)
    await let_in(door, warehouse, await new_tenant(warehouse))
    for name, path in LISTS.items():
        told = await ask(door, path)
        assert told[name] == [], path
    theirs = await door.get(f"/v1/incidents/{INCIDENT}")
    nobodys = await door.get("/v1/incidents/nothing")
    odd = await door.get("/v1/incidents/%00")
    assert theirs.status_code == nobodys.status_code == odd.status_code == 404
    assert theirs.json() == nobodys.json() == odd.json()


async def test_the_audit_is_for_auditors(door: httpx.AsyncClient, warehouse: Warehouse, tenant: str) -> None:
    for scope, status in (("viewer", 401), ("operator", 401), ("auditor", 200), ("admin", 200)):
        await let_in(door, warehouse, tenant, scope)
        assert (await door.get("/v1/audit")).status_code == status, scope
    await let_in(door, warehouse, tenant, "beacons")
    assert (await door.get("/v1/incidents")).status_code == 401

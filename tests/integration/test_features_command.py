"""`tonewatch features`, called as people and scripts call it; and the flow's round over all tenants."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_store import expectations
from flows.materialization import make_features
from tests.conftest import Database, new_tenant
from tests.integration.features import EDGE, at, settle, telemetry
from tonewatch.clock import ManualClock
from tonewatch.records import Sample
from warehouse import tenants
from warehouse.cache import Cache
from warehouse.database import Warehouse

PROJECT = Path(__file__).resolve().parents[2]


async def features(database: Database, tenant: str, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TONEWATCH_")}
    mine = {"TONEWATCH_DATABASE_URL": database.app_url, "TONEWATCH_TENANT": tenant}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "console.cli", "features", *words],
        cwd=PROJECT,
        env=kept | mine,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def recent(shift: timedelta) -> list[Sample]:
    return [replace(sample, time=sample.time + shift) for sample in telemetry(0, 60)]


async def test_rows_are_made_shown_and_made_once(warehouse: Warehouse, tenant: str, database: Database) -> None:
    empty = await features(database, tenant, "show", "edge")
    assert empty.returncode == 0, empty.stderr
    assert f"{tenant} has no rows of it" in empty.stdout
    now = datetime.now(UTC).replace(microsecond=0)
    # So long ago that every window of it is whole already: the second run may come late.
    await settle(warehouse, tenant, recent(now - at(100)))
    made = await features(database, tenant, "materialize", "--json")
    assert made.returncode == 0, made.stderr
    (done,) = json.loads(made.stdout)
    assert (done["view"], done["entities"], done["cached"], done["broken"]) == ("edge", 3, 0, [])
    assert done["rows"] >= 12
    again = await features(
        database, tenant, "materialize", "--view", "edge", "--since", f"{now - timedelta(minutes=2):%Y-%m-%dT%H:%MZ}"
    )
    found = re.match(r"edge +(\d+) rows of ", again.stdout)
    assert found, again.stderr
    more = int(found[1])  # of windows that became whole meanwhile
    assert more < 12, "what was made is not made once more"
    shown = await features(database, tenant, "show", "edge", "--json")
    assert shown.returncode == 0, shown.stdout
    told = json.loads(shown.stdout)
    assert [(each["current"], each["span"]["rows"]) for each in told["kept"]] == [(True, done["rows"] + more)]
    assert told["owner"] == "delivery"


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (("show", "egde"), 1, "no view 'egde'; views are source, ingest"),
        (("materialize", "--since", "yesterday"), 2, "does not match the formats"),
        (("materialize", "--since", "2999-01-01T00:00Z"), 1, "nothing can be made from 2999"),
        (("list", "--profile", "nope"), 2, "no profile 'nope'"),
    ],
)
async def test_what_cannot_be_done_is_told_with_what_can(
    database: Database, tenant: str, words: tuple[str, ...], status: int, why: str
) -> None:
    told = await features(database, tenant, *words)
    assert told.returncode == status
    assert why in " ".join(told.stderr.replace("│", " ").split())


def described(told: dict[str, Any]) -> tuple[object, ...]:
    return told["name"], told["window_seconds"], told["ttl_seconds"], told["owner"], told["version"]


async def test_the_list_says_window_time_to_live_owner_and_version(database: Database, tenant: str) -> None:
    told = await features(database, tenant, "list", "--profile", "demo", "--json")
    assert described(json.loads(told.stdout)[5]) == ("edge", EDGE.seconds, EDGE.ttl.total_seconds(), "delivery", 1)


async def test_a_round_goes_on_where_great_expectations_fails(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    gx = pytest.importorskip("great_expectations")
    both = [await new_tenant(warehouse), await new_tenant(warehouse)]
    for each in both:
        await settle(warehouse, each, telemetry(0, 120))

    def failing(**options: Any) -> Any:
        raise gx.exceptions.DataContextError("no context")

    monkeypatch.setattr(gx, "get_context", failing)
    done = await make_features(warehouse, Cache(None), ManualClock(at(120)))
    assert [each.rows for each in done.done if each.tenant in both] == [33, 33]
    for each in both:
        assert "Great Expectations gave up on edge (DataContextError: no context)" in done.failed[each]


async def test_a_round_makes_every_tenants_rows_although_one_fails(warehouse: Warehouse, tenant: str) -> None:
    spoilt = await new_tenant(warehouse)
    for each in (tenant, spoilt):
        await settle(warehouse, each, telemetry(0, 120))
    async with warehouse.as_tenant(spoilt) as db:
        await tenants.watch_by(spoilt, db, "gone")
    done = await make_features(warehouse, Cache(None), ManualClock(at(120)))
    assert [(each.view, each.rows) for each in done.done if each.tenant == tenant] == [("edge", 33)]
    assert "no profile 'gone'" in done.failed[spoilt]
    if expectations.installed():
        assert done.expected is not None
        assert done.expected[f"{tenant} edge"] == []
    else:
        assert done.expected is None

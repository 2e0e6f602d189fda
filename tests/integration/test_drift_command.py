"""`tonewatch drift` and `tonewatch features quality`, called as people and scripts call them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from feature_store import expectations
from tasks.data_quality import inspect
from tasks.drift import check
from tests.conftest import Database
from tests.integration.drifting import NOW, furnish
from tests.integration.test_drift import ONSET
from tonewatch.settings import Settings
from warehouse import audit, drift
from warehouse.database import Warehouse

PROJECT = Path(__file__).resolve().parents[2]


async def tonewatch(database: Database, tenant: str, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TONEWATCH_")}
    mine = {"TONEWATCH_DATABASE_URL": database.app_url, "TONEWATCH_TENANT": tenant}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "console.cli", *words],
        cwd=PROJECT,
        env=kept | mine,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


async def test_a_drift_is_listed_shown_and_called_normal(warehouse: Warehouse, tenant: str, database: Database) -> None:
    await furnish(warehouse, tenant, shift=0.05, since=ONSET)
    await check(tenant, warehouse, {}, NOW)
    listed = await tonewatch(database, tenant, "drift", "list")
    assert (listed.returncode, listed.stderr) == (1, "")
    assert "edge        drift" in listed.stdout
    shown = await tonewatch(database, tenant, "drift", "show", "edge", "--json")
    told = json.loads(shown.stdout)
    assert (shown.returncode, told["check"]["verdict"], len(told["requests"])) == (1, "drift", 1)
    done = await tonewatch(database, tenant, "drift", "accept", "edge", "--reason", "a new codec", "--as", "ann")
    assert done.returncode == 0, done.stderr
    async with warehouse.as_tenant(tenant) as db:
        assert await drift.accepted(tenant, db, "edge") is not None
        (line, *_) = await audit.read(tenant, db, 1)
    assert (line.who, line.what, line.reason) == ("ann", "drift-accepted", "a new codec")
    unknown = await tonewatch(database, tenant, "drift", "retrain", "egde", "--reason", "why not")
    assert unknown.returncode == 1
    assert "has no check of 'egde'; checked are: edge, incidents" in unknown.stderr


async def test_quality_tells_what_does_not_hold_and_who_was_told(
    warehouse: Warehouse, tenant: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expectations, "installed", lambda: False)
    await furnish(warehouse, tenant, days=4, shift=1e7, since=NOW - timedelta(seconds=60))
    await inspect(tenant, warehouse, Settings(), NOW)
    told = await tonewatch(database, tenant, "features", "quality", "edge")
    assert (told.returncode, told.stderr) == (1, "")
    assert "26 of 27 clauses hold, by contracts" in told.stdout
    assert "range seconds_per_request: " in told.stdout
    assert "told to delivery" in told.stdout

"""A tenant that leaves, on a real PostgreSQL: all that it has is in the export, and nothing of it is left."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
import pytest

from console.departure import MANIFEST, RECEIPT, Departure
from tests.conftest import Database, new_tenant
from tests.integration.furnished import furnish
from tests.integration.waiting import until_one_waits
from tonewatch.errors import FeatureError, SettingsError, UnknownTenant
from warehouse import departure, features, keys, lineage
from warehouse.cache import Cache
from warehouse.database import Warehouse

pytestmark = pytest.mark.integration
PROJECT = Path(__file__).resolve().parents[2]


def counts(database: Database, tenant: str) -> dict[str, int]:
    """Rows of the tenant, by table and partition; as the superuser, whom no policy keeps from seeing."""
    query = """
        select c.oid::regclass::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant'
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') order by 1
    """
    with psycopg.connect(database.admin_url) as db:
        names = [name for (name,) in db.execute(query).fetchall()]
        found = {}
        for name in names:
            row = db.execute(f"select count(*) from {name} where tenant = %s", [tenant]).fetchone()
            assert row is not None
            found[name] = int(row[0])
    return found


@pytest.fixture
def leaving(warehouse: Warehouse, tmp_path: Path) -> Departure:
    folders = {"reports": tmp_path / "reports", "cases": tmp_path / "cases"}
    return Departure(warehouse, folders, caches=(tmp_path / "champions",))


async def test_an_export_holds_every_row_of_the_tenant_and_no_other(
    leaving: Departure, warehouse: Warehouse, database: Database, tmp_path: Path
) -> None:
    tenant, other = await new_tenant(warehouse), await new_tenant(warehouse)
    await furnish(warehouse, tenant)
    await furnish(warehouse, other)
    (tmp_path / "reports" / tenant).mkdir(parents=True)
    (tmp_path / "reports" / tenant / "incident.md").write_text("a report")
    said: list[str] = []
    exported = await leaving.export(tenant, tmp_path / "out", "ann", "they asked", said.append)
    there = counts(database, tenant)
    assert {name: table["rows"] for name, table in exported.tables.items()} == {
        name: count for name, count in there.items() if not name.startswith("sample_")
    }
    assert min(table["rows"] for table in exported.tables.values()) >= 1, "each table was tried"
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    for name, table in manifest["tables"].items():
        file = tmp_path / "out" / f"{name}.jsonl.gz"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == table["sha256"]
        rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
        assert [row["tenant"] for row in rows] == [tenant] * table["rows"], name
        assert not any("hash" in row for row in rows if name == "api_key")
    assert (tmp_path / "out" / "reports" / "incident.md").read_text() == "a report"
    assert len(said) == len(manifest["tables"])


async def test_an_export_writes_over_nothing(leaving: Departure, warehouse: Warehouse, tmp_path: Path) -> None:
    tenant = await new_tenant(warehouse)
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(SettingsError, match="not empty"):
        await leaving.export(tenant, tmp_path, "ann", "", lambda _: None)
    with pytest.raises(UnknownTenant):
        await leaving.export("nobody", tmp_path / "out", "ann", "", lambda _: None)
    assert not (tmp_path / "out").exists()


async def test_after_an_offboarding_nothing_is_left_of_the_tenant_and_all_of_the_others(
    leaving: Departure, warehouse: Warehouse, database: Database, tmp_path: Path
) -> None:
    tenant, other = await new_tenant(warehouse), await new_tenant(warehouse)
    await furnish(warehouse, tenant)
    await furnish(warehouse, other)
    (tmp_path / "reports" / tenant).mkdir(parents=True)
    (tmp_path / "champions" / tenant).mkdir(parents=True)
    async with warehouse.as_tenant(tenant) as db:
        key = await keys.create(tenant, db, purpose="x", scopes=["viewer"], now=datetime.now(UTC))
    before, others = counts(database, tenant), counts(database, other)
    out = tmp_path / "out"
    removed = await leaving.offboard(tenant, out, database.admin_url, Cache(None), "ann", "they left", lambda _: None)
    assert set(counts(database, tenant).values()) == {0}
    # What had learned from the tenant is retired for the others, in a line of their audit each.
    assert counts(database, other) == others | {
        name: others[name] + 1 for name in ("audit", "retired_model") if name in others
    }
    async with warehouse.as_tenant(other) as db:
        assert "transcode-isolation-forest/1" in await lineage.retired(other, db)
    assert removed["audit"] == before["audit"] + 1, "the export is a line of the audit"
    assert removed["sample"] == before["sample"]
    receipt = json.loads((out / RECEIPT).read_text())
    assert (receipt["removed"], receipt["models_retired"]) == (removed, ["transcode-isolation-forest/1"])
    assert not (tmp_path / "reports" / tenant).exists()
    assert not (tmp_path / "champions" / tenant).exists()
    assert not (out / "champions").exists(), "a model is others' too"
    assert await keys.verify(warehouse, key, datetime.now(UTC), "viewer") is None
    with psycopg.connect(database.admin_url) as db, pytest.raises(psycopg.Error, match="append-only"):
        db.execute("delete from audit")


def window(end: int) -> features.FeatureColumns:
    return features.FeatureColumns(["edge:a"], np.array([0]), np.array([end]), np.ones(1), np.ones((1, 1)))


async def test_rows_of_features_that_are_on_their_way_go_with_the_tenant(
    warehouse: Warehouse, database: Database
) -> None:
    tenant = await new_tenant(warehouse)
    await furnish(warehouse, tenant)
    at = datetime(2026, 3, 1, tzinfo=UTC)
    async with warehouse.as_tenant(tenant) as db:
        await features.put(tenant, db, 1, window(1), at)
        leaving = asyncio.create_task(asyncio.to_thread(departure.remove, tenant, database.admin_url))
        await until_one_waits(database)
    assert (await leaving)["feature_row"] == 2
    with pytest.raises(FeatureError, match="has been offboarded"):
        async with warehouse.as_tenant(tenant) as db:
            await features.put(tenant, db, 1, window(2), at)
    assert set(counts(database, tenant).values()) == {0}


async def test_the_app_itself_can_not_remove_a_tenant(warehouse: Warehouse, database: Database) -> None:
    tenant = await new_tenant(warehouse)
    before = counts(database, tenant)
    with pytest.raises(Exception, match="permission denied"):
        departure.remove(tenant, database.app_url)
    assert counts(database, tenant) == before
    with pytest.raises(UnknownTenant):
        departure.remove("nobody", database.admin_url)


async def test_the_command_exports_and_does_not_remove_whom_the_watcher_serves(
    warehouse: Warehouse, database: Database, tmp_path: Path
) -> None:
    tenant = await new_tenant(warehouse)
    environment = os.environ | {
        "TONEWATCH_DATABASE_URL": database.app_url,
        "TONEWATCH_TENANT": tenant,
        "TONEWATCH_STATE_DIR": str(tmp_path),
    }

    def tonewatch(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "console.cli", "tenants", *words]
        return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)

    said = tonewatch("export", tenant, "--to", str(tmp_path / "out"), "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["tables"]["tenant"]["rows"] == 1
    refused = tonewatch("offboard", tenant, "--to", str(tmp_path / "out2"), "--yes")
    assert refused.returncode != 0
    assert "another TONEWATCH_TENANT" in refused.stderr

"""API keys of a tenant: made, rotated without a moment in which none holds, revoked; on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from console.keyring import Keyring, Made
from tests.conftest import Database, new_tenant
from tonewatch.clock import ManualClock
from tonewatch.errors import ActRefused, SettingsError, UnknownTenant
from warehouse import audit, keys
from warehouse.database import Warehouse

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).resolve().parents[2]
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def keyring(warehouse: Warehouse, clock: ManualClock) -> Keyring:
    return Keyring(warehouse, clock)


async def make(keyring: Keyring, tenant: str, days: float | None = None) -> Made:
    return await keyring.add(tenant, "prometheus", ("metrics",), days, "ann", "to begin with")


async def lets_in(keyring: Keyring, made: Made, scope: str = "metrics") -> bool:
    return await keys.verify(keyring.warehouse, made.plain, keyring.clock.now(), scope) is not None


async def test_a_key_lets_in_for_its_scopes_alone_until_it_ends(
    keyring: Keyring, tenant: str, clock: ManualClock
) -> None:
    made = await keyring.add(tenant, "gateway", ("metrics", "changes", "metrics"), 1, "ann")
    assert made.scopes == ("metrics", "changes")
    assert [await lets_in(keyring, made, scope) for scope in ("metrics", "changes", "viewer")] == [True, True, False]
    clock.advance(86_400)
    assert not await lets_in(keyring, made)
    (entry,) = await keyring.all(tenant)
    assert (entry.id, entry.standing(clock.now())) == (made.id, "ended 2026-01-02 12:00")


async def test_a_rotated_key_holds_beside_the_new_one_for_its_grace(
    keyring: Keyring, tenant: str, clock: ManualClock
) -> None:
    old = await make(keyring, tenant)
    clock.advance(60)
    new = await keyring.rotate(tenant, old.id, 2, "ben")
    assert new.plain != old.plain
    assert (new.purpose, new.scopes, new.expires) == ("prometheus", ("metrics",), None)
    assert [await lets_in(keyring, each) for each in (old, new)] == [True, True]
    clock.advance(2 * 3600)
    assert [await lets_in(keyring, each) for each in (old, new)] == [False, True]


async def test_rotation_never_lengthens_the_old_key_and_gives_the_new_one_as_long(
    keyring: Keyring, tenant: str, clock: ManualClock
) -> None:
    old = await make(keyring, tenant, days=1)
    clock.advance(23 * 3600)
    new = await keyring.rotate(tenant, old.id, 24, "ben")
    assert new.expires == clock.now() + timedelta(days=1)
    clock.advance(3600)
    assert [await lets_in(keyring, each) for each in (old, new)] == [False, True]


async def test_a_revoked_key_lets_nobody_in_and_ends_once(keyring: Keyring, tenant: str) -> None:
    made = await make(keyring, tenant)
    await keyring.revoke(tenant, made.id, "ann", "leaked")
    assert not await lets_in(keyring, made)
    for act in (keyring.revoke(tenant, made.id, "ann"), keyring.rotate(tenant, made.id, 1, "ann")):
        with pytest.raises(ActRefused, match="ended already"):
            await act


async def test_every_act_stands_in_the_audit_and_no_secret_does(keyring: Keyring, tenant: str) -> None:
    old = await make(keyring, tenant)
    new = await keyring.rotate(tenant, old.id, 1, "ben", "yearly")
    await keyring.revoke(tenant, new.id, "cas", "leaked")
    async with keyring.warehouse.as_tenant(tenant) as db:
        lines = await audit.read(tenant, db, 10)
    assert [(line.who, line.what, line.subject, line.reason) for line in reversed(lines)] == [
        ("ann", "key.create", old.id, "to begin with"),
        ("ben", "key.create", new.id, "yearly"),
        ("ben", "key.rotate", old.id, "yearly"),
        ("cas", "key.revoke", new.id, "leaked"),
    ]
    told = "".join(str(line) for line in lines)
    assert old.plain not in told
    assert new.plain not in told


async def test_a_key_of_another_tenant_is_none(keyring: Keyring, tenant: str) -> None:
    made = await make(keyring, tenant)
    other = await new_tenant(keyring.warehouse)
    assert await keyring.all(other) == []
    with pytest.raises(ActRefused, match="has no key"):
        await keyring.revoke(other, made.id, "mallory")
    assert await lets_in(keyring, made)


async def test_a_role_lets_in_for_what_lesser_roles_may(keyring: Keyring, tenant: str) -> None:
    asked = ("viewer", "auditor", "operator", "approver", "admin", "metrics")
    for role, may in {
        "viewer": {"viewer"},
        "auditor": {"viewer", "auditor"},
        "operator": {"viewer", "operator"},
        "approver": {"viewer", "operator", "approver"},
        "admin": {"viewer", "auditor", "operator", "approver", "admin"},
    }.items():
        made = await keyring.add(tenant, role, (role,), None, "ann")
        assert {scope for scope in asked if await lets_in(keyring, made, scope)} == may, role


async def test_unknown_scopes_and_tenants_are_refused(keyring: Keyring, tenant: str) -> None:
    for scopes in ((), ("everything",), ("metrics", "everything")):
        with pytest.raises(SettingsError, match="no scope"):
            await keyring.add(tenant, "x", scopes, None, "ann")
    with pytest.raises(UnknownTenant):
        await make(keyring, "nobody")
    with pytest.raises(UnknownTenant):
        await keyring.all("nobody")


async def test_the_command_line_makes_rotates_lists_and_revokes(
    warehouse: Warehouse, tenant: str, database: Database, tmp_path: Path
) -> None:
    environment = os.environ | {
        "TONEWATCH_DATABASE_URL": database.app_url,
        "TONEWATCH_TENANT": tenant,
        "TONEWATCH_STATE_DIR": str(tmp_path),
    }

    def tonewatch(*words: str) -> str:
        command = [sys.executable, "-m", "console.cli", "keys", *words]
        return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True).stdout

    plain = tonewatch("add", "prometheus", "--scope", "metrics", "--as", "ann").strip()
    assert keys.KEY.fullmatch(plain)
    (entry,) = json.loads(tonewatch("list", "--json"))
    assert (entry["id"], entry["scopes"], "plain" in entry) == (keys.id_of(plain), ["metrics"], False)
    assert tonewatch("rotate", entry["id"], "--grace", "1", "--as", "ann").strip() != plain
    assert "has ended" in tonewatch("revoke", entry["id"], "--as", "ann", "--reason", "leaked")
    assert "revoked" in tonewatch("list")

"""Tenants and their settings, on a real PostgreSQL: each change a version, in the audit, and taken back if wanted."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from console.tenancy import Change, Tenancy, recorded
from tests.conftest import BEGINNING, Database, new_tenant
from tests.unit.flows.test_gate import LATER, make_library
from tests.unit.flows.test_replay import DOWN
from tonewatch.clock import ManualClock
from tonewatch.errors import ActRefused, ModelError, SettingsError, UnknownTenant
from tonewatch.settings import Settings, addressed, load_profile
from warehouse import audit, tenants
from warehouse.database import Warehouse

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).resolve().parents[2]
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
FEWER = Change(set=("guardrails.actions_per_day=5",))


@pytest.fixture
def tenancy(warehouse: Warehouse) -> Tenancy:
    return Tenancy(warehouse, ManualClock(START))


async def actions_per_day(warehouse: Warehouse, tenant: str) -> int:
    async with warehouse.as_tenant(tenant) as db:
        return (await tenants.profile(tenant, db)).guardrails.actions_per_day


async def test_a_tenant_is_added_once(tenancy: Tenancy) -> None:
    added = await tenancy.add("radio-one", "Radio One", "platform", "ann", "a customer")
    assert (added.slug, added.name, added.profile, added.settings_version) == ("radio-one", "Radio One", "platform", 1)
    assert added in await tenancy.all()
    with pytest.raises(ActRefused, match="already"):
        await tenancy.add("radio-one", "Another", "demo", "ben", "")
    assert (await tenancy.show("radio-one")).profile == "platform"


@pytest.mark.parametrize(("slug", "profile"), [("Radio One", "platform"), ("radio", "no-profile"), ("", "platform")])
async def test_a_tenant_with_a_bad_name_or_profile_is_refused(tenancy: Tenancy, slug: str, profile: str) -> None:
    with pytest.raises(SettingsError):
        await tenancy.add(slug, slug, profile, "ann", "")


async def test_a_setting_holds_from_when_it_is_changed_and_can_be_taken_back(
    tenancy: Tenancy, warehouse: Warehouse, tenant: str
) -> None:
    before = load_profile("demo").guardrails.actions_per_day
    changed = await tenancy.change(tenant, FEWER, "ann", "too many")
    assert (changed.version, dict(changed.keys)) == (2, {"guardrails.actions_per_day": (before, 5)})
    assert await actions_per_day(warehouse, tenant) == 5
    more = await tenancy.change(tenant, Change(set=("silence_seconds=4", "guardrails.actions_per_day=6")), "ann", "")
    assert set(more.keys) == {"silence_seconds", "guardrails.actions_per_day"}
    assert (await tenancy.show(tenant)).own == {"guardrails": {"actions_per_day": 6}, "silence_seconds": 4}
    await tenancy.change(tenant, Change(unset=("guardrails.actions_per_day",)), "ann", "")
    assert await actions_per_day(warehouse, tenant) == before
    await tenancy.change(tenant, Change(revert=2), "ben", "it was right")
    assert await actions_per_day(warehouse, tenant) == 5
    await tenancy.change(tenant, Change(revert=1), "ben", "as it came")
    assert (await tenancy.show(tenant)).own == {}
    assert [(each.version, each.who) for each in await tenancy.history(tenant)] == [
        (1, ""), (2, "ann"), (3, "ann"), (4, "ann"), (5, "ben"), (6, "ben"),
    ]  # fmt: skip


async def test_a_change_stands_in_the_audit_with_before_and_after(
    tenancy: Tenancy, warehouse: Warehouse, tenant: str
) -> None:
    await tenancy.change(tenant, FEWER, "ann", "too many")
    async with warehouse.as_tenant(tenant) as db:
        line = (await audit.read(tenant, db, 10))[0]
    assert (line.who, line.what, line.subject, line.reason) == ("ann", "settings.change", tenant, "too many")
    before = load_profile("demo").guardrails.actions_per_day
    assert line.before == {"guardrails.actions_per_day": before}
    assert line.after == {"guardrails.actions_per_day": 5, "version": 2}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (Change(set=("guardrails.actions_per_dy=5",)), "unknown key"),
        (Change(set=("guardrails.actions_per_day=many",)), "actions_per_day"),
        (Change(set=("guardrails.actions_per_day",)), "KEY=VALUE"),
        (Change(set=("tick_seconds=: [",)), "no YAML"),
        (Change(set=("tick_seconds.deep=1", "tick_seconds=2", "tick_seconds.deeper=1")), "no keys"),
        (Change(unset=("silence_seconds",)), "nothing to take back"),
        (Change(revert=9), "no version 9"),
        (Change(revert=1, set=("silence_seconds=3",)), "only one of"),
        (Change(file=Path("/nowhere.yaml")), "cannot be read"),
        (Change(profile="no-profile"), "no profile"),
        (Change(set=("channels.mail_to=[nobody]",)), "no mail address"),
        (Change(set=("channels.alert_channels=[pigeon]",)), "no channel"),
    ],
)
async def test_a_change_that_can_not_be_made_changes_nothing(
    tenancy: Tenancy, tenant: str, change: Change, reason: str
) -> None:
    with pytest.raises(SettingsError, match=reason):
        await tenancy.change(tenant, change, "ann", "")
    assert (await tenancy.show(tenant)).version.version == 1
    assert [(each.version, each.time) for each in await tenancy.history(tenant)] == [(1, BEGINNING)]


async def test_a_tenants_own_receivers_take_the_place_of_the_watchers(
    tenancy: Tenancy, warehouse: Warehouse, tenant: str
) -> None:
    of_the_watcher = Settings(tenant=tenant, mail_to=("ops@watcher.example",), mail_to_l2=("boss@watcher.example",))
    own = ("channels.mail_to=[night@radio.example, day@radio.example]", "channels.alert_channels=[email, slack]")
    await tenancy.change(tenant, Change(set=own), "ann", "they have a desk of their own")
    async with warehouse.as_tenant(tenant) as db:
        reached = addressed(of_the_watcher, await tenants.profile(tenant, db))
    assert reached.mail_to == ("night@radio.example", "day@radio.example")
    assert reached.alert_channels == ("email", "slack")
    assert reached.mail_to_l2 == ("boss@watcher.example",)
    await tenancy.change(tenant, Change(set=("channels.alert_channels=[]",)), "ann", "be quiet")
    async with warehouse.as_tenant(tenant) as db:
        assert addressed(of_the_watcher, await tenants.profile(tenant, db)).alert_channels == ()


async def test_of_two_who_change_at_once_one_is_told(tenancy: Tenancy, tenant: str) -> None:
    outcomes = await asyncio.gather(
        *(tenancy.change(tenant, FEWER, who, "") for who in ("ann", "ben", "cas")), return_exceptions=True
    )
    refused = [each for each in outcomes if isinstance(each, BaseException)]
    assert all(isinstance(each, ActRefused) for each in refused)
    assert len(await tenancy.history(tenant)) == 4 - len(refused) >= 2


async def test_a_file_takes_the_place_of_all_own_settings(tenancy: Tenancy, tenant: str, tmp_path: Path) -> None:
    await tenancy.change(tenant, FEWER, "ann", "")
    file = tmp_path / "own.yaml"
    file.write_text("silence_seconds: 4\nnaming:\n- match: {pod: edge-.*}\n  entity: edge:{pod}\n")
    await tenancy.change(tenant, Change(file=file), "ann", "")
    shown = await tenancy.show(tenant)
    assert set(shown.own) == {"silence_seconds", "naming"}
    file.write_text("just words")
    with pytest.raises(SettingsError, match="holds no settings"):
        await tenancy.change(tenant, Change(file=file), "ann", "")


async def test_another_profile_keeps_the_own_settings(tenancy: Tenancy, warehouse: Warehouse, tenant: str) -> None:
    await tenancy.change(tenant, FEWER, "ann", "")
    changed = await tenancy.change(tenant, Change(profile="platform"), "ann", "grown up")
    assert changed.profile == "platform"
    assert "tick_seconds" in changed.keys
    assert await actions_per_day(warehouse, tenant) == 5
    back = await tenancy.change(tenant, Change(revert=2), "ann", "not yet")
    assert back.profile == "demo", "a version that is taken back takes its profile back, too"
    assert (await tenancy.change(tenant, Change(revert=1), "ann", "as it came")).profile == "demo"
    assert (await tenancy.show(tenant)).own == {}


async def test_one_tenants_settings_are_no_others(tenancy: Tenancy, warehouse: Warehouse, tenant: str) -> None:
    other = await new_tenant(warehouse)
    await tenancy.change(tenant, FEWER, "ann", "")
    assert await actions_per_day(warehouse, other) == load_profile("demo").guardrails.actions_per_day
    assert [each.version for each in await tenancy.history(other)] == [1]
    with pytest.raises(UnknownTenant):
        await tenancy.show("nobody")


def test_the_command_line_adds_lists_shows_and_changes(database: Database, tmp_path: Path) -> None:
    environment = os.environ | {
        "TONEWATCH_DATABASE_URL": database.app_url,
        "TONEWATCH_DISPATCHER_DATABASE_URL": database.dispatcher_url,
        "TONEWATCH_STATE_DIR": str(tmp_path),
    }

    def tonewatch(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "console.cli", "tenants", *words]
        return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)

    assert tonewatch("add", "cli", "--profile", "platform", "--as", "ann").returncode == 0
    assert tonewatch("add", "cli").returncode == 1
    first = tonewatch("settings", "cli", "--history").stdout.splitlines()[0]
    assert re.fullmatch(r" +1  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  as the profile has it", first)
    assert "cli" in [each["slug"] for each in json.loads(tonewatch("list", "--json").stdout)]
    told = tonewatch("settings", "cli", "--set", "silence_seconds=4", "--as", "ann", "--reason", "quiet")
    assert "silence_seconds: 10.0 -> 4.0" in told.stdout
    assert "silence_seconds: 4.0  # own" in tonewatch("settings", "cli").stdout
    history = tonewatch("settings", "cli", "--history").stdout
    assert "ann: quiet" in history
    assert history.splitlines()[0] == first
    refused = tonewatch("settings", "cli", "--set", "silence_second=4", "--as", "ann")
    assert refused.returncode == 2
    assert "unknown key" in refused.stderr


#: With so much patience the recorded crash is not told.
PATIENT = Change(set=(f"scrapes_failed={1 + len(DOWN)}",))


async def test_a_change_by_which_a_recorded_incident_is_missed_is_refused_and_can_be_made_unproven(
    tenancy: Tenancy, warehouse: Warehouse, tenant: str, tmp_path: Path
) -> None:
    said: list[str] = []
    gate = recorded(Settings(state_dir=tmp_path), warehouse, said.append, ManualClock(LATER))
    free = await tenancy.change(tenant, FEWER, "ann", "", gate=gate)
    assert (free.version, free.refused, free.cases) == (2, False, 0)
    assert free.note.startswith(f"no case of {tenant} is kept")
    make_library(tmp_path / "cases" / tenant)
    refused = await tenancy.change(tenant, PATIENT, "ann", "fewer findings", gate=gate)
    assert (refused.version, refused.refused, refused.cases) == (2, True, 2)
    assert list(refused.worse) == ["crash"]
    assert refused.worse["crash"].endswith("-> missed")
    assert any(line.startswith("2 recorded cases") for line in said)
    assert (await tenancy.show(tenant)).version.version == 2
    heard = len(said)
    told = await tenancy.change(tenant, Change(set=("channels.alert_channels=[]",)), "ann", "", gate=gate)
    assert (told.version, told.note, len(said)) == (3, "", heard), "no case could tell it"
    passed = await tenancy.change(tenant, Change(set=("silence_seconds=4",)), "ann", "", gate=gate)
    assert (passed.version, passed.refused, passed.cases) == (4, False, 2)
    with pytest.raises(SettingsError, match="--reason"):
        await tenancy.change(tenant, PATIENT, "ann", "", gate=gate, unproven=True)
    made = await tenancy.change(tenant, PATIENT, "ann", "the crash was planned", gate=gate, unproven=True)
    assert made.version == 5
    async with warehouse.as_tenant(tenant) as db:
        line = (await audit.read(tenant, db, 1))[0]
    assert (line.reason, line.after["unproven"], line.after["version"]) == ("the crash was planned", True, 5)
    assert (await tenancy.change(tenant, Change(revert=1), "ann", "", gate=gate)).cases == 0, "taken back at once"


async def test_a_change_of_settings_waits_where_the_champions_cannot_be_asked(
    tenancy: Tenancy, warehouse: Warehouse, tenant: str, tmp_path: Path
) -> None:
    make_library(tmp_path / "cases" / tenant)
    away = Settings(state_dir=tmp_path, mlflow_tracking_uri="http://127.0.0.1:9")
    gate = recorded(away, warehouse, lambda _: None, ManualClock(LATER))
    with pytest.raises(ModelError, match="cannot be asked, and nothing was changed"):
        await tenancy.change(tenant, FEWER, "ann", "", gate=gate)
    assert (await tenancy.show(tenant)).version.version == 1


def test_a_settings_command_that_is_refused_lists_the_cases_and_fails(database: Database, tmp_path: Path) -> None:
    environment = os.environ | {"TONEWATCH_DATABASE_URL": database.app_url, "TONEWATCH_STATE_DIR": str(tmp_path)}

    def tonewatch(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "console.cli", "tenants", *words]
        return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)

    assert tonewatch("add", "gated", "--profile", "demo", "--as", "ann").returncode == 0
    make_library(tmp_path / "cases" / "gated")
    refused = tonewatch("settings", "gated", "--set", *PATIENT.set, "--as", "ann", "--json")
    assert (refused.returncode, list(json.loads(refused.stdout)["worse"])) == (1, ["crash"])
    assert "2 recorded cases of gated are replayed" in refused.stderr
    assert "worse   crash: found after" in tonewatch("settings", "gated", "--set", *PATIENT.set, "--as", "ann").stdout
    all_the_same = ("--unproven", "--reason", "planned", "--as", "ann")
    assert tonewatch("settings", "gated", "--set", *PATIENT.set, *all_the_same).returncode == 0

"""The kill switch by command, with a real warehouse to be audited in and without one."""

from __future__ import annotations

from pathlib import Path

from console.remediation import turn
from tests.conftest import BEGINNING, Database
from tonewatch import switch
from tonewatch.clock import ManualClock
from tonewatch.settings import Settings
from warehouse import audit
from warehouse.database import Warehouse


async def test_a_turn_of_the_switch_stands_in_the_audit(
    warehouse: Warehouse, database: Database, tenant: str, tmp_path: Path
) -> None:
    settings = Settings(state_dir=tmp_path, database_url=database.app_url, tenant=tenant)
    for on in (True, False):
        assert (await turn(settings, on, "ada", "a drill", clock=ManualClock(BEGINNING))).audited is True
    async with warehouse.as_tenant(tenant) as db:
        off, on_line = await audit.read(tenant, db, 10)
    assert (off.who, off.what, off.before, off.after, off.reason) == (
        "ada", "remediation.switch", {"switch": "on"}, {"switch": "off"}, "a drill",
    )  # fmt: skip
    assert on_line.before == {"switch": "unreadable"}


async def test_a_switch_is_turned_though_the_warehouse_is_away_or_refuses(
    warehouse: Warehouse, database: Database, tmp_path: Path
) -> None:
    for url, tenant in (("postgresql://x:SECRET@127.0.0.1:9/x", "demo"), (database.app_url, "nobody")):
        settings = Settings(state_dir=tmp_path, database_url=url, tenant=tenant)
        switch.turn(tmp_path, on=True)
        found = await turn(settings, False, "ada", "now")
        assert (found.switch, found.audited, switch.read(tmp_path)) == ("off", False, False)
        assert "not in the audit" in found.note
        assert "SECRET" not in found.note

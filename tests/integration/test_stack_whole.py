"""The whole stack once: up, in order and healthy; who may do what; a server that is killed comes back; down."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from console.stack import processes
from console.stack.lifecycle import Status, connected, down, status, up
from console.stack.parts import PARTS, answers, is_well
from tonewatch.settings import Settings, read

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(400),
    pytest.mark.asyncio(loop_scope="module"),
]
MEMORY_MIB = 2048


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def settings() -> AsyncIterator[Settings]:
    """Settings of a stack that is up, with every address filled in; down after the last test."""
    folder = Path(tempfile.mkdtemp(prefix="tonewatch-test-", dir="/tmp"))
    folder.chmod(0o711)
    given = read({"TONEWATCH_STATE_DIR": str(folder), "TONEWATCH_TENANT": "radio"})
    await up(given)
    yield connected(given)
    await down(given)
    shutil.rmtree(folder)


def part(found: Status, name: str) -> int:
    return next(part.pid or 0 for part in found.parts if part.name == name)


async def test_every_part_is_healthy_within_the_memory_allowed(settings: Settings) -> None:
    found = status(settings)
    assert found.up, found
    assert {part.name for part in found.parts} == {"supervisor"} | {part.name for part in PARTS}
    assert 300 < found.memory_mib < MEMORY_MIB, found


async def test_a_worker_waits_for_runs_of_the_pool(settings: Settings) -> None:
    workers = await answers(f"{settings.prefect_api_url}/work_pools/tonewatch/workers/filter", {})
    assert isinstance(workers, list)
    assert [worker["status"] for worker in workers] == ["ONLINE"]


async def test_no_server_and_no_process_of_ours_is_connected_as_superuser(settings: Settings) -> None:
    assert settings.admin_database_url is not None
    with psycopg.connect(settings.admin_database_url.get_secret_value()) as connection:
        rows = connection.execute(
            "select usename, datname from pg_stat_activity where backend_type = 'client backend' "
            "and pid <> pg_backend_pid()"
        ).fetchall()
    assert {user for user, _ in rows} <= {"prefect", "mlflow", "tonewatch_app", "tonewatch_dispatcher"}
    assert {("prefect", "prefect"), ("mlflow", "mlflow")} <= set(rows)


async def test_a_servers_role_cannot_enter_anothers_database(settings: Settings) -> None:
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(url.replace("/tonewatch?", "/prefect?"))


async def test_the_tenant_is_there_and_nobody_sees_it_unasked(settings: Settings) -> None:
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        assert connection.execute("select tenant from tenant").fetchall() == []
        connection.execute("select set_config('app.tenant', 'radio', true)")
        assert connection.execute("select tenant from tenant").fetchall() == [("radio",)]


async def test_status_tells_of_the_tenant_and_what_keeps_people_from_being_told(settings: Settings) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TONEWATCH_")}
    command = [sys.executable, "-m", "console.cli", "status", "--json"]
    environment |= {"TONEWATCH_STATE_DIR": str(settings.state_dir)}

    async def told() -> dict[str, Any] | None:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        (tenant,) = json.loads(out)["tenants"]
        return dict(tenant) if tenant["watched"] else None

    async with asyncio.timeout(60):
        while (tenant := await told()) is None:  # until the watcher's first tick
            await asyncio.sleep(0.5)
    assert (tenant["tenant"], tenant["profile"], tenant["sources"]) == ("radio", "platform", [])
    assert tenant["remarks"] == ["no mail can go out: set TONEWATCH_SMTP_URL and TONEWATCH_MAIL_TO for `tonewatch up`"]


async def test_a_killed_prefect_server_comes_back_at_the_same_address(settings: Settings) -> None:
    before, ready = part(status(settings), "prefect"), f"{settings.prefect_api_url}/ready"
    os.kill(before, signal.SIGKILL)
    async with asyncio.timeout(150):
        while part(status(settings), "prefect") in (0, before) or not await is_well(ready):
            await asyncio.sleep(0.5)
    assert part(status(settings), "mlflow")


async def test_down_leaves_no_process(settings: Settings) -> None:
    run = [part.pid for part in status(settings).parts if part.pid]
    assert await down(settings)
    assert [pid for pid in run if processes.identity(pid)] == []
    assert processes.working_in(settings.state_dir / "work") == []
    assert not status(settings).up

"""Up, crash, kill, down: with the two embedded servers, which are quick to start."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from console.stack import processes, redis
from console.stack.lifecycle import Stack, Status, connected, down, status, up
from console.stack.parts import POSTGRES, REDIS, Part
from console.stack.state import StateFolder
from tonewatch import secrets
from tonewatch.errors import AlreadyUp, NotUp, PartFailed, PortTaken, StackError
from tonewatch.settings import Settings, read

pytestmark = pytest.mark.integration

BOTH = (POSTGRES, REDIS)


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Settings with a state folder of their own that the database's user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="tonewatch-test-", dir="/tmp"))
    folder.chmod(0o711)
    yield read({"TONEWATCH_STATE_DIR": str(folder)})
    shutil.rmtree(folder)


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Status]:
    """The two servers under a supervisor of their own, ended after the test whatever it did to them."""
    yield await up(settings, parts=BOTH)
    await down(settings)


def left_of(settings: Settings) -> list[str]:
    """Command lines of living processes that have to do with the state folder."""
    lines = {pid: processes.command_line(pid) for pid in processes.all_pids() if processes.identity(pid)}
    inside = {found.pid for found in processes.working_in(settings.state_dir / "work")}
    return [line for pid, line in lines.items() if str(settings.state_dir) in line or pid in inside]


def pid_of(found: Status, name: str) -> int:
    pid = next(part.pid for part in found.parts if part.name == name)
    assert pid is not None
    return pid


async def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that no process of ours can tell."""
    async with asyncio.timeout(seconds):
        while not holds():  # what is waited for happens in another process
            await asyncio.sleep(0.05)


async def test_a_second_up_says_so_and_changes_nothing(settings: Settings, running: Status) -> None:
    with pytest.raises(AlreadyUp, match="tonewatch down"):
        await up(settings, parts=BOTH)
    with pytest.raises(AlreadyUp):
        await Stack(settings, BOTH).start()
    assert [part.pid for part in status(settings).parts] == [part.pid for part in running.parts]
    assert status(settings).up


async def test_the_status_names_every_part_with_its_memory(settings: Settings, running: Status) -> None:
    assert [part.name for part in running.parts] == ["supervisor", "postgres", "redis"]
    assert all(part.state == "up" and part.memory_mib for part in running.parts)
    assert running.as_dict()["memory_mib"] == pytest.approx(running.memory_mib, abs=0.1)
    assert connected(settings).redis_url is not None


async def test_a_part_that_crashes_is_restarted_and_it_shows(settings: Settings, running: Status) -> None:
    for name in ("redis", "postgres"):
        before = pid_of(running, name)
        os.kill(before, signal.SIGKILL)

        def back(name: str = name, before: int = before) -> bool:
            part = next(part for part in status(settings).parts if part.name == name)
            return part.state == "up" and part.pid != before

        await eventually(back)
        part = next(part for part in status(settings).parts if part.name == name)
        assert part.restarts == 1
        assert "ended with status -9" in part.note
    assert await redis.answers(settings.state_dir / "run" / "redis.sock", secrets.load(settings.state_dir).redis)


async def test_a_killed_supervisor_leaves_no_process_and_the_next_up_works(settings: Settings) -> None:
    found = await up(settings, parts=BOTH)
    os.kill(pid_of(found, "supervisor"), signal.SIGKILL)
    await eventually(lambda: not left_of(settings))
    assert not status(settings).up
    with pytest.raises(NotUp):
        connected(settings)
    again = await up(settings, parts=BOTH)
    assert again.up
    assert await down(settings)
    assert left_of(settings) == []


async def test_supervisor_and_guard_killed_together_leave_no_process(settings: Settings) -> None:
    found = await up(settings, parts=BOTH)
    record = StateFolder(settings.state_dir).read()
    assert record is not None
    assert record.guard is not None
    os.kill(record.guard, signal.SIGKILL)
    os.kill(pid_of(found, "supervisor"), signal.SIGKILL)
    await eventually(lambda: not left_of(settings))


async def test_a_killed_guard_is_replaced(settings: Settings, running: Status) -> None:
    folder = StateFolder(settings.state_dir)
    before = folder.read()
    assert before is not None
    assert before.guard is not None
    os.kill(before.guard, signal.SIGKILL)
    await eventually(lambda: (now := folder.read()) is not None and now.guard != before.guard)
    os.kill(pid_of(running, "supervisor"), signal.SIGKILL)
    await eventually(lambda: not left_of(settings))


async def test_grandchildren_in_sessions_of_their_own_end_too(settings: Settings) -> None:
    child = [sys.executable, "-c", "import signal; signal.pause()"]
    program = f"import subprocess, signal; subprocess.Popen({child}, start_new_session=True); signal.pause()"
    parent = Part("parent", lambda _: [sys.executable, "-c", program])
    stack = Stack(settings, [parent])
    await stack.start()
    await eventually(lambda: len(left_of(settings)) >= 2 + 1)  # the two and the guard
    await stack.stop()
    assert left_of(settings) == []


async def test_down_of_what_is_not_up_does_nothing(settings: Settings) -> None:
    assert not await down(settings)
    assert list(settings.state_dir.iterdir()) == []


async def never(_: object) -> bool:
    return False


async def test_a_part_that_cannot_start_is_told_with_its_log_and_nothing_stays(settings: Settings) -> None:
    words = [sys.executable, "-c", "import sys; sys.exit('the reason is in here')"]
    broken = Part("broken", lambda _: words, after=("redis",), healthy=never)
    waiting = Part("waiting", lambda _: words, after=("broken",))
    with pytest.raises(PartFailed, match=r"(?s)broken ended with status 1.*the reason is in here"):
        await Stack(settings, [*BOTH, broken, waiting]).start()
    assert left_of(settings) == []
    async with Stack(settings, [REDIS]).running() as stack:
        assert stack.status().up


async def test_a_part_that_never_becomes_healthy_is_given_up(settings: Settings) -> None:
    with pytest.raises(PartFailed, match="redis was not healthy within"):
        await Stack(settings, [replace(REDIS, healthy=never, seconds=0.5)]).start()
    assert left_of(settings) == []


async def test_a_taken_port_is_told_before_anything_starts(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        asked = settings.model_copy(update={"prefect_port": port})
        with pytest.raises(PortTaken, match=rf"port {port} .*process {os.getpid()} .*TONEWATCH_PREFECT_PORT"):
            await up(asked, parts=BOTH)
    assert left_of(settings) == []


async def test_a_real_redis_that_is_away_is_told(settings: Settings) -> None:
    away = read({"TONEWATCH_STATE_DIR": str(settings.state_dir), "TONEWATCH_REDIS_URL": "redis://127.0.0.1:1"})
    with pytest.raises(StackError, match=r"redis .* does not answer"):
        await Stack(away, [REDIS]).start()


async def test_a_real_redis_takes_the_place_of_ours(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}"
        real = read({"TONEWATCH_STATE_DIR": str(settings.state_dir), "TONEWATCH_REDIS_URL": url})
        async with Stack(real, [REDIS]).running() as stack:
            assert [(part.name, part.state) for part in stack.status().parts][1:] == [("redis", "external")]


async def test_inside_running_a_sigterm_ends_the_task_and_all_parts(settings: Settings) -> None:
    async def foreground() -> None:
        async with Stack(settings, [REDIS]).running():
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(foreground())
    assert left_of(settings) == []


def test_an_up_that_is_killed_while_starting_leaves_nothing(settings: Settings) -> None:
    program = """
import asyncio
from console.stack.parts import POSTGRES, REDIS
from console.stack.lifecycle import up
from tonewatch.settings import read
asyncio.run(up(read(), lambda part, what: print(part, what, flush=True), (POSTGRES, REDIS)))
"""
    environment = os.environ | {"TONEWATCH_STATE_DIR": str(settings.state_dir)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as starting:
        assert starting.stdout is not None
        starting.stdout.readline()
        starting.kill()
    asyncio.run(eventually(lambda: not left_of(settings)))


async def test_the_status_is_quick(settings: Settings, running: Status) -> None:
    imports = "from console.stack import lifecycle; from tonewatch.settings import read"
    program = f"{imports}; print(lifecycle.status(read()).up)"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", "-c", program),
        env=os.environ | {"TONEWATCH_STATE_DIR": str(settings.state_dir)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, imported = await process.communicate()
    assert said == b"True\n"
    assert not [name for name in (b"prefect", b"sqlalchemy", b"mlflow", b"psycopg") if name in imported]

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gateway.platforms.supervisor import Supervisor
from tests.ports import free_port
from tonewatch.errors import OutcomeUnknown, PlatformError, SettingsError

SLEEPER = f"{sys.executable} -c \"import signal; print('up', flush=True); signal.pause()\""
DEAF = f'{sys.executable} -c "import signal; signal.signal(15, signal.SIG_IGN); signal.pause(); signal.pause()"'
CONFIG = """
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[inet_http_server]
port=127.0.0.1:{port}
username=op
password=pa:ss@word
[program:sleeper]
command={sleeper}
autorestart=false
startsecs=0
[program:deaf]
command={deaf}
autorestart=false
startsecs=0
stopwaitsecs=60
[program:failing]
command={python} -c "raise SystemExit(3)"
autostart=false
autorestart=false
startsecs=1
startretries=0
[program:missing]
command=/nowhere/at/all
autostart=false
autorestart=false
[group:many]
programs=sleeper
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("supervisor")
    port = free_port()
    text = CONFIG.format(folder=folder, port=port, sleeper=SLEEPER, deaf=DEAF, python=sys.executable)
    (folder / "supervisord.conf").write_text(text)
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(folder / "supervisord.conf")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://op:pa%3Ass%40word@127.0.0.1:{port}/RPC2"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
async def supervisor(url: str) -> AsyncIterator[Supervisor]:
    async with Supervisor(url, grace_s=0.5) as platform:
        for _ in range(100):  # until it listens
            with suppress(PlatformError):
                await platform.state("deaf")
                break
            await asyncio.sleep(0.1)
        yield platform


async def test_a_running_process_is_told_with_its_pid(supervisor: Supervisor) -> None:
    state = await supervisor.start("many:sleeper")
    assert (state.state, state.exit_status) == ("RUNNING", None)
    assert state.pid is not None
    assert Path(f"/proc/{state.pid}").exists()
    assert state.started is not None


async def test_a_process_that_runs_is_not_started_again(supervisor: Supervisor) -> None:
    first = await supervisor.start("many:sleeper")
    assert (await supervisor.start("many:sleeper")).pid == first.pid


async def test_a_killed_process_is_restarted(supervisor: Supervisor) -> None:
    before = await supervisor.start("many:sleeper")
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    ended = await supervisor._reaches("many:sleeper", {"EXITED"}, 5)
    assert ended is not None
    assert ended.pid is None
    assert ended.stopped is not None
    after = await supervisor.restart("many:sleeper")
    assert after.state == "RUNNING"
    assert after.pid not in {None, before.pid}


async def test_a_running_process_is_restarted(supervisor: Supervisor) -> None:
    before = await supervisor.start("many:sleeper")
    after = await supervisor.restart("many:sleeper")
    assert after.state == "RUNNING"
    assert after.pid != before.pid


async def test_a_frozen_process_is_killed_and_restarted(supervisor: Supervisor) -> None:
    before = await supervisor.start("many:sleeper")
    assert before.pid is not None
    os.kill(before.pid, signal.SIGSTOP)
    after = await supervisor.restart("many:sleeper")
    assert after.state == "RUNNING"
    assert after.pid != before.pid
    assert not Path(f"/proc/{before.pid}").exists()


@pytest.mark.parametrize("stopped", [signal.SIGSTOP, signal.SIGKILL, None])
async def test_a_killed_process_is_another_afterwards_whatever_it_was_before(
    supervisor: Supervisor, stopped: signal.Signals | None
) -> None:
    before = await supervisor.start("deaf")
    assert before.pid is not None
    if stopped is not None:
        os.kill(before.pid, stopped)
    after = await supervisor.kill_and_restart("deaf")
    assert (after.state, after.pid != before.pid) == ("RUNNING", True)
    assert not Path(f"/proc/{before.pid}").exists()


async def test_a_kill_does_not_ask_the_process_to_stop_first(url: str, supervisor: Supervisor) -> None:
    await supervisor.start("deaf")
    async with Supervisor(url, grace_s=30) as patient:  # one that asked first would wait this long
        async with asyncio.timeout(10):
            assert (await patient.kill_and_restart("deaf")).state == "RUNNING"


@pytest.mark.parametrize("name", ["nobody", "many", "many:*"])
async def test_a_kill_of_a_name_that_is_no_process_is_refused(supervisor: Supervisor, name: str) -> None:
    before = await supervisor.start("many:sleeper")
    with pytest.raises(PlatformError):
        await supervisor.kill_and_restart(name)
    assert (await supervisor.state("many:sleeper")).pid == before.pid


async def test_a_process_that_ignores_its_stop_signal_is_killed(supervisor: Supervisor) -> None:
    before = await supervisor.start("deaf")
    assert (await supervisor.stop("deaf")).state in {"STOPPED", "EXITED"}
    assert not Path(f"/proc/{before.pid}").exists()


async def test_a_process_that_has_ended_is_stopped_already(supervisor: Supervisor) -> None:
    await supervisor.stop("many:sleeper")
    assert (await supervisor.stop("many:sleeper")).state == "STOPPED"


@pytest.mark.parametrize("deed", ["start", "restart"])
async def test_a_process_that_ends_at_once_is_a_platform_error(supervisor: Supervisor, deed: str) -> None:
    with pytest.raises(PlatformError, match="failing did not come up") as raised:
        await getattr(supervisor, deed)("failing")
    assert not isinstance(raised.value, OutcomeUnknown)


async def test_a_program_that_is_not_there_is_refused(supervisor: Supervisor) -> None:
    with pytest.raises(PlatformError, match="NO_FILE"):
        await supervisor.start("missing")


@pytest.mark.parametrize("name", ["nobody", "many", "many:nobody"])
@pytest.mark.parametrize("deed", ["state", "start", "stop", "restart"])
async def test_a_name_that_is_no_process_is_refused(supervisor: Supervisor, deed: str, name: str) -> None:
    before = await supervisor.start("many:sleeper")
    with pytest.raises(PlatformError, match="knows no process"):
        await getattr(supervisor, deed)(name)
    assert (await supervisor.state("many:sleeper")).pid == before.pid


@pytest.mark.parametrize("name", ["", "*", "many:*", "all", "a b", "$(reboot)", "x;y", "../x", "sleeper\n"])
async def test_a_wildcard_or_shell_text_is_refused(supervisor: Supervisor, name: str) -> None:
    with pytest.raises(PlatformError):
        await supervisor.restart(name)


async def test_a_wrong_password_is_refused_with_a_hint(url: str, supervisor: Supervisor) -> None:
    async with Supervisor(url.replace("pa%3A", "SECRET")) as stranger:
        with pytest.raises(PlatformError, match="look at the user and password") as raised:
            await stranger.restart("many:sleeper")
    assert "SECRET" not in str(raised.value)


async def test_a_supervisor_that_is_away_has_done_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with Supervisor(f"http://op:SECRET@127.0.0.1:{unused.getsockname()[1]}/RPC2") as platform:
            with pytest.raises(PlatformError) as raised:
                await platform.restart("many:sleeper")
    assert not isinstance(raised.value, OutcomeUnknown)
    assert "SECRET" not in str(raised.value)


@asynccontextmanager
async def breaking(upstream: str, method: bytes, *, hang: bool) -> AsyncIterator[str]:
    """A way to the supervisor on which calls of `method` arrive, and their answers are lost."""
    port = int(upstream.rpartition(":")[2].partition("/")[0])
    writers: set[asyncio.StreamWriter] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        far_writer.write(head + body)
        answer = await far_reader.read()
        far_writer.close()
        if method not in body:
            writer.write(answer)
            await writer.drain()
        elif hang:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    try:
        yield upstream.replace(f":{port}/", f":{server.sockets[0].getsockname()[1]}/")
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


@pytest.mark.parametrize("hang", [True, False])
async def test_a_start_whose_answer_is_lost_is_unknown_and_can_be_looked_up(
    url: str, supervisor: Supervisor, hang: bool
) -> None:
    await supervisor.stop("many:sleeper")
    async with breaking(url, b"startProcess", hang=hang) as broken, Supervisor(broken, timeout=0.5) as platform:
        with pytest.raises(OutcomeUnknown):
            await platform.start("many:sleeper")
        assert (await platform.state("many:sleeper")).state == "RUNNING"


async def test_a_question_whose_answer_is_lost_is_no_unknown_outcome(url: str, supervisor: Supervisor) -> None:
    async with breaking(url, b"getProcessInfo", hang=True) as broken, Supervisor(broken, timeout=0.3) as platform:
        with pytest.raises(PlatformError) as raised:
            await platform.state("many:sleeper")
    assert not isinstance(raised.value, OutcomeUnknown)


@pytest.mark.parametrize("address", ["", "unix:///run/s.sock", "http://", "ftp://h/RPC2", "http://h:x/RPC2"])
def test_an_address_that_is_no_supervisor_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="supervisor_url must be"):
        Supervisor(address)

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.stack import processes
from tonewatch.errors import PartFailed

WAITING = "import sys; sys.stdin.read()"
STUBBORN = (
    "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('set', flush=True); sys.stdin.read()"
)


@pytest.fixture
def waiting() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits, in a session of its own."""
    with subprocess.Popen([sys.executable, "-c", WAITING], stdin=subprocess.PIPE, start_new_session=True) as process:
        yield process
        process.kill()


def known(pid: int) -> processes.Identity:
    found = processes.identity(pid)
    assert found is not None
    return found


def test_a_process_is_known_by_its_start_too(waiting: subprocess.Popen[bytes]) -> None:
    this = known(waiting.pid)
    assert processes.alive(this)
    assert not processes.alive(processes.Identity(this.pid, this.started - 1))


def test_a_process_that_ended_is_not_alive_even_before_anybody_took_notice(waiting: subprocess.Popen[bytes]) -> None:
    this = known(waiting.pid)
    waiting.kill()
    assert processes.gone_within(this, 5)
    assert not processes.alive(this)


def test_ending_waits_until_it_has_gone(waiting: subprocess.Popen[bytes]) -> None:
    processes.end({known(waiting.pid): signal.SIGTERM}, 5)
    assert waiting.wait(5) == -signal.SIGTERM


def test_a_process_that_ignores_the_signal_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        processes.end({known(process.pid): signal.SIGTERM}, 0.2)
        assert process.wait(5) == -signal.SIGKILL


def test_a_stranger_with_the_same_pid_is_left_alone(waiting: subprocess.Popen[bytes]) -> None:
    stranger = known(waiting.pid)
    processes.end({processes.Identity(stranger.pid, stranger.started - 1): signal.SIGKILL}, 0.1)
    assert processes.alive(stranger)


def test_processes_are_found_by_a_variable_of_their_environment(tmp_path: Path) -> None:
    process = processes.spawn(
        [sys.executable, "-c", "import signal; signal.pause()"],
        environment={"A_MARK_OF_THIS_TEST": str(tmp_path)},
        log=tmp_path / "log",
        folder=tmp_path,
    )
    try:
        assert processes.with_variable("A_MARK_OF_THIS_TEST", str(tmp_path)) == [known(process.pid)]
        assert processes.with_variable("A_MARK_OF_THIS_TEST", "other") == []
        assert processes.working_in(tmp_path) == [known(process.pid)]
    finally:
        process.kill()
        process.wait()


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = f"""
import os, signal, sys
from pathlib import Path
from console.stack import processes
command = [sys.executable, "-c", "import signal; signal.pause()"]
child = processes.spawn(command, environment={{}}, log=Path({str(tmp_path)!r}) / "log", folder=Path("/"))
print(child.pid, flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = known(int(process.stdout.readline()))
        process.kill()
        assert processes.gone_within(child, 5)


def test_memory_is_counted_with_the_children() -> None:
    alone = processes.memory_mib([os.getpid()], children=False)[os.getpid()]
    with subprocess.Popen([sys.executable, "-c", WAITING], stdin=subprocess.PIPE) as child:
        together = processes.memory_mib([os.getpid()])[os.getpid()]
        child.kill()
    assert together > alone > 1


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PartFailed, match="no-such-program"):
        processes.spawn(["/no-such-program"], environment={}, log=tmp_path / "log", folder=tmp_path)


def test_a_handled_signal_is_seen() -> None:
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert processes.handles(os.getpid(), signal.SIGUSR2)
        assert not processes.handles(os.getpid(), signal.SIGXFSZ)
    finally:
        signal.signal(signal.SIGUSR2, before)

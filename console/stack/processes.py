"""Processes of the stack: started in sessions of their own, known by pid and start time, measured, ended by group."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tonewatch.errors import PartFailed

PROC = Path("/proc")
PR_SET_PDEATHSIG = 1
KILLED_SECONDS = 5.0
# Loaded before any fork: between fork and exec nothing may be imported or allocated by a loader.
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Identity:
    """A process that cannot be confused with a later one of the same pid: `started` is in clock ticks since boot."""

    pid: int
    started: int


def identity(pid: int) -> Identity | None:
    """Who runs under `pid` now; None for nobody and for a zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] in ("Z", "X"):
        return None
    return Identity(pid, int(fields[19]))


def alive(process: Identity) -> bool:
    """Whether that very process still runs."""
    return identity(process.pid) == process


def spawn(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    log: Path,
    folder: Path,
    user: int | None = None,
    nice: int = 0,
    last_signal: signal.Signals | None = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, its output appended to `log`.

    `user` is the uid (and its group) to run as; `last_signal` is what the kernel sends it when the *thread* that
    called this ends, so call it from a thread that lives as long as the child shall. None: it outlives us.
    Raises PartFailed: the program cannot be executed.
    """
    try:
        with log.open("ab") as output:
            return subprocess.Popen(
                [str(word) for word in command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
                preexec_fn=at_start(last_signal, nice),  # two system calls, no more
                **run_as(user),
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise PartFailed(f"{command[0]} cannot be started: {error}") from error


def wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait until `process` ended, at most `seconds`; whether it did."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def end(told: Mapping[Identity, signal.Signals], seconds: float, group: bool = True) -> None:
    """Send each process (and its group, when it leads one) its signal; what is left after `seconds` is killed."""
    for process, sent in told.items():
        send(process, sent, group)
    deadline = time.monotonic() + seconds
    for process in told:
        if not gone_within(process, max(0.0, deadline - time.monotonic())):
            send(process, signal.SIGKILL, group)
            gone_within(process, KILLED_SECONDS)


def send(process: Identity, which: signal.Signals, group: bool = True) -> None:
    """Send `which` to the process, and to its group when it leads one; nothing when it has gone."""
    if not alive(process):
        return
    try:
        if group and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, which)
        else:
            os.kill(process.pid, which)
    except ProcessLookupError:
        pass


def gone_within(process: Identity, seconds: float) -> bool:
    """Wait for a process that need not be our child; whether it has gone within `seconds`."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return True
    try:
        if not alive(process):
            return True
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(handle)


def all_pids() -> Iterator[int]:
    """Every pid that can be seen."""
    for entry in os.scandir(PROC):
        if entry.name.isdigit():
            yield int(entry.name)


def with_variable(name: str, value: str) -> list[Identity]:
    """Processes whose environment at their start had `name=value`; only those that we may look into."""
    wanted = f"{name}={value}".encode()
    found = []
    for pid in all_pids():
        try:
            words = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        process = identity(pid) if wanted in words else None
        if process is not None:
            found.append(process)
    return found


def working_in(folder: Path) -> list[Identity]:
    """Processes whose working directory is `folder`; only those that we may look into."""
    found = []
    for pid in all_pids():
        try:
            here = (PROC / str(pid) / "cwd").readlink() == folder
        except OSError:
            continue
        process = identity(pid) if here else None
        if process is not None:
            found.append(process)
    return found


def handles(pid: int, which: signal.Signals) -> bool:
    """Whether the process has a handler of its own for `which`: a program of ours has one from when it is set up."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return False
    caught = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")), 0)
    return bool(caught >> (which - 1) & 1)


def command_line(pid: int) -> str:
    """The command line of `pid`, "" when it cannot be seen."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def memory_mib(pids: Iterable[int], children: bool = True) -> dict[int, float]:
    """Proportional set size of each of `pids`, together with its descendants or without, in MiB."""
    if not children:
        return {pid: _pss_mib(pid) for pid in pids}
    born: dict[int, list[int]] = {}
    for pid in all_pids():
        if (fields := _stat(pid)) is not None:
            born.setdefault(int(fields[1]), []).append(pid)
    return {pid: sum(_pss_mib(each) for each in _tree(pid, born)) for pid in pids}


def _tree(pid: int, born: Mapping[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in born.get(pid, ()):
        yield from _tree(child, born)


def _pss_mib(pid: int) -> float:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, from `state` on: the name may hold blanks and brackets."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return None


def at_start(last_signal: signal.Signals | None, nice: int = 0) -> Callable[[], None]:
    """What a child does between fork and exec: be nice, and ask for `last_signal` at the end of the calling thread."""
    parent = os.getpid()

    def prepare() -> None:
        if nice:
            os.nice(nice)
        if last_signal is not None:
            _LIBC.prctl(PR_SET_PDEATHSIG, int(last_signal), 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

    return prepare


def run_as(user: int | None) -> dict[str, Any]:
    """Arguments for subprocess that make a child run as the uid `user`; none when that is us."""
    if user is None or user == os.geteuid():
        return {}
    return {"user": user, "group": group_of(user), "extra_groups": []}


def group_of(user: int) -> int:
    """The primary group of the uid `user`; the same number when the system does not list it."""
    import pwd

    try:
        return pwd.getpwuid(user).pw_gid
    except KeyError:
        return user

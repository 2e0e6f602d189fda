"""Which port a server of ours gets, and who sits on one that is taken."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from console.stack import processes
from tonewatch.errors import PortTaken

LOOPBACK = "127.0.0.1"
LISTENING = "0A"


def choose(wanted: int | None, preferred: int, setting: str) -> int:
    """The port `wanted`; without a wish `preferred` when it is free, else any free one.

    Raises PortTaken: the wanted one is taken; says by whom, as far as that can be seen, and which setting to change.
    """
    if wanted is not None:
        if not is_free(wanted):
            raise PortTaken(
                f"port {wanted} is taken by {owner(wanted)}: end that, or set {setting} to another port (or to none: "
                "then a free one is chosen)"
            )
        return wanted
    return preferred if is_free(preferred) else any_free()


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback interface."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((LOOPBACK, port))
            trial.listen()
        except OSError:
            return False
    return True


def any_free() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as trial:
        trial.bind((LOOPBACK, 0))
        return int(trial.getsockname()[1])


def owner(port: int) -> str:
    """Who listens on `port`, in words."""
    nodes = _listening_nodes(port)
    for pid in processes.all_pids():
        if nodes & _sockets_of(pid):
            return f"process {pid} ({processes.command_line(pid)[:120]})"
    return "a process that cannot be seen from here (another user's, or in another container)"


def _listening_nodes(port: int) -> set[str]:
    nodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if words[3] == LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                nodes.add(f"socket:[{words[9]}]")
    return nodes


def _sockets_of(pid: int) -> set[str]:
    found = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            found.add(str(Path(entry.path).readlink()))
    except OSError:
        pass  # it ended, or belongs to another user
    return found

"""What is said of the parts, from the record of a run and the processes that really live."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from console.stack import processes
from console.stack.state import PartRecord, Record, StateFolder
from console.stack.status import boot, status_of


def _record(part: PartRecord) -> Record:
    us = processes.identity(os.getpid())
    assert us is not None
    return Record("run", us.pid, us.started, boot(), "2026-01-01T00:00:00+00:00", [part])


def test_a_part_that_has_just_died_is_not_called_up(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    running = processes.identity(child.pid)
    assert running is not None
    record = _record(PartRecord("redis", "up", running.pid, running.started))
    found = status_of(record, StateFolder(tmp_path))
    assert [(part.state, part.pid) for part in found.parts[1:]] == [("up", child.pid)]
    assert found.up

    child.communicate(b"\n")
    found = status_of(record, StateFolder(tmp_path))  # its supervisor has not noticed yet
    assert [(part.state, part.pid) for part in found.parts[1:]] == [("restarting", None)]
    assert not found.up

"""What runs and how it is, read from the state folder and /proc: quickly, and without asking any server."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from console.stack import processes
from console.stack.state import PartState, Record, StateFolder
from tonewatch.settings import Settings

BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class PartStatus:
    """One part: `started_s` seconds from its start until healthy, `memory_mib` proportional set size with children."""

    name: str
    state: PartState
    pid: int | None = None
    url: str | None = None
    started_s: float | None = None
    restarts: int = 0
    memory_mib: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Status:
    """The stack: `up` when its supervisor lives and every part is healthy."""

    up: bool
    state_dir: str
    since: str | None
    parts: tuple[PartStatus, ...]

    @property
    def memory_mib(self) -> float:
        """Of all parts together."""
        return sum(part.memory_mib or 0.0 for part in self.parts)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"memory_mib": round(self.memory_mib, 1)}


def boot() -> str:
    """Which start of the machine this is: pids and start times mean nothing in another."""
    try:
        return BOOT.read_text().strip()
    except OSError:
        return ""


def supervisor_of(record: Record | None) -> processes.Identity | None:
    """The supervisor of the run in `record`, if it lives."""
    if record is None or record.boot != boot():
        return None
    found = processes.Identity(record.supervisor, record.supervisor_started)
    return found if processes.alive(found) else None


def living_parts(record: Record) -> dict[str, processes.Identity]:
    """Those parts of `record` whose very process lives, by name."""
    if record.boot != boot():
        return {}
    known = {
        part.name: processes.Identity(part.pid, part.started)
        for part in record.parts
        if part.pid is not None and part.started is not None
    }
    return {name: process for name, process in known.items() if processes.alive(process)}


def status(settings: Settings) -> Status:
    """What runs now. Changes nothing and needs no right to write."""
    folder = StateFolder(settings.state_dir)
    record = folder.read()
    if record is None:
        return Status(False, str(folder.path), None, ())
    return status_of(record, folder)


def status_of(record: Record, folder: StateFolder) -> Status:
    """The same from a record at hand."""
    supervisor, living = supervisor_of(record), living_parts(record)
    own = [pid for pid in (supervisor and supervisor.pid, record.guard if supervisor else None) if pid]
    memory = processes.memory_mib([process.pid for process in living.values()])
    parts = []
    for part in record.parts:
        state: PartState = part.state
        if supervisor is None and part.name not in living and state not in ("external", "done"):
            state = "down"
        elif state == "up" and part.name not in living:
            state = "restarting"  # it has just died, and its supervisor is about to notice
        pid = living[part.name].pid if part.name in living else None
        size = round(memory[pid], 1) if pid is not None else None
        parts.append(PartStatus(part.name, state, pid, part.url, part.started_s, part.restarts, size, part.note))
    if supervisor is not None:
        size = round(sum(processes.memory_mib(own, children=False).values()), 1)
        parts.insert(0, PartStatus("supervisor", "up", supervisor.pid, memory_mib=size, note="with its guard"))
    healthy = bool(record.parts) and all(part.state in ("up", "external", "done") for part in parts)
    return Status(supervisor is not None and healthy, str(folder.path), record.since, tuple(parts))

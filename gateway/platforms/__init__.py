"""What remedies go through: one module per kind of platform."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ProcessState:
    """A process as its platform sees it.

    `state` is RUNNING, STARTING, STOPPING, STOPPED, EXITED, FATAL, BACKOFF or UNKNOWN; times are the platform's.
    """

    name: str
    state: str
    pid: int | None = None
    exit_status: int | None = None
    started: datetime | None = None
    stopped: datetime | None = None
    detail: str = ""


class Platform(Protocol):
    """Something that starts and stops the parts of the watched platform.

    Every deed raises PlatformError: refused, nothing was done. OutcomeUnknown: it broke off after it was sent;
    ask `state`, never repeat blindly.
    """

    async def state(self, process: str) -> ProcessState:
        """How `process` is. Raises PlatformError."""
        ...

    async def start(self, process: str) -> ProcessState:
        """Start it; one that runs already is left alone."""
        ...

    async def stop(self, process: str) -> ProcessState:
        """Stop it, by force when it does not listen; one that has ended already is left alone."""
        ...

    async def restart(self, process: str) -> ProcessState:
        """Bring up a new process, whatever the state of the old one."""
        ...

    async def kill_and_restart(self, process: str) -> ProcessState:
        """End it by force at once and bring up a new one: for what hangs."""
        ...

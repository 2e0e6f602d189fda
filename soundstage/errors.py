"""Every error the soundstage raises on purpose. It is a world of its own, so it has a tree of its own.

SoundstageError
├── AlreadyRunning     another `run` uses the folder
├── NotRunning         a command that needs a running soundstage
├── StartFailed        a process ended, or the platform did not become healthy
│   └── PortTaken      somebody else was faster
├── Unreachable        a process of the platform did not answer
├── Malformed          a message or a playlist that cannot be read
├── Refused            a control call that cannot be done, with the HTTP status that says why
├── FaultError         a fault, or a file of faults, that breaks docs/faults.md
└── WishError          a simulation that nobody could make, or a folder that it cannot be written to
"""

from __future__ import annotations


class SoundstageError(Exception):
    """Root of the soundstage's errors. `exit_status` is what a command ends with."""

    exit_status = 1


class AlreadyRunning(SoundstageError):
    """Another `run` uses the folder."""


class NotRunning(SoundstageError):
    """The command needs a running soundstage."""


class StartFailed(SoundstageError):
    """A process ended, or the platform did not become healthy in time."""


class PortTaken(StartFailed):
    """A port that was free when it was chosen has been taken; another try chooses others."""


class Unreachable(SoundstageError):
    """A process of the platform did not answer."""


class Malformed(SoundstageError):
    """A message or a playlist cannot be read."""


class Refused(SoundstageError):
    """A control call cannot be done; `status` is the HTTP status that says why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class FaultError(SoundstageError):
    """A fault, or a file of faults, breaks the contract of docs/faults.md."""

    exit_status = 2


class WishError(SoundstageError):
    """What is asked of the simulator cannot be made, or not be written there; the message says what would do."""

    exit_status = 2

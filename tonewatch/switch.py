"""The kill switch: a file of one word that every step reads right before it does something.

A file, since it must work when all else is down: `echo off > STATE/switches/remediation` is enough. Only the word
`on` lets anything act; a switch that is missing, cannot be read or says anything else stops.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tonewatch.errors import StateFolderError

FOLDER: Final = "switches"
NAME: Final = "remediation"
ON: Final = "on"
OFF: Final = "off"
_LONGEST: Final = 16


def path(state_dir: Path) -> Path:
    """Where the switch lies."""
    return state_dir / FOLDER / NAME


def read(state_dir: Path) -> bool | None:
    """True: on. False: off. None: it says neither, or cannot be read, which means stop as well.

    Costs some ten microseconds: read it before each step, never keep the answer.
    """
    try:
        # Not blocking: a pipe in the place of the file must not hold up the one who asks.
        handle = os.open(path(state_dir), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        word = os.read(handle, _LONGEST + 1)
    except OSError:
        return None
    finally:
        os.close(handle)
    return {ON.encode(): True, OFF.encode(): False}.get(word.strip()) if len(word) <= _LONGEST else None


def turn(state_dir: Path, on: bool) -> None:
    """Set the switch; when this returns, the next reading sees it. Raises StateFolderError: it cannot be written."""
    target = path(state_dir)
    unfinished = target.with_name(f".{NAME}.{os.getpid()}")
    try:
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with unfinished.open("w", encoding="ascii") as file:
            file.write((ON if on else OFF) + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except OSError as error:
        raise StateFolderError(f"{target} cannot be written ({error.strerror}): run as the user who owns it") from error


def install(state_dir: Path) -> None:
    """Put a switch that is on into a folder that has never had one. One that was taken away stays away, and stops.

    Raises StateFolderError.
    """
    if not path(state_dir).parent.exists():
        turn(state_dir, on=True)

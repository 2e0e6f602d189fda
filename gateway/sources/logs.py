"""Logs as the watched platform writes them: the tail of files with one JSON object per line.

A tail can be carried on after a crash from its Position. It survives rotation, truncation, half lines, bytes that are
no UTF-8 and lines without an end; what it cannot read it counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from tonewatch.errors import SourceError

#: Most that one read takes, so that a flood of logs cannot hold up a tick.
MAX_READ: Final = 1024 * 1024
#: Longest line that is read, in bytes.
MAX_LINE: Final = 64 * 1024
_HEAD: Final = 256
_TIME_KEYS = ("time", "timestamp", "ts")
_EVENT_KEYS = ("event", "message", "msg")
_COMPONENT_KEYS = ("component", "logger", "service")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: when, how grave, which part, what, and whatever else it says."""

    time: datetime
    level: str
    component: str
    event: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a tail is. `head` tells apart two files of one inode; `skipping`: inside a line too long to read."""

    path: str
    inode: int = 0
    offset: int = 0
    head: str = ""
    skipping: bool = False

    def as_json(self) -> dict[str, Any]:
        """What the warehouse's cursors keep."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any], path: Path | str) -> Position:
        """The position that was kept, or the file's beginning if it was kept for another file or is unreadable."""
        fresh = cls(str(path))
        try:
            found = replace(fresh, **{name: kept[name] for name in ("inode", "offset", "head", "skipping")})
        except (KeyError, TypeError):
            return fresh
        sound = isinstance(found.offset, int) and isinstance(found.inode, int) and isinstance(found.head, str)
        return found if sound and found.offset >= 0 and kept.get("path") == str(path) else fresh


@dataclass(frozen=True, slots=True)
class LogBatch:
    """What one read brought. `bad`: lines that were not understood; `more`: the end of the file was not reached."""

    lines: list[LogLine]
    position: Position
    bad: int = 0
    more: bool = False


async def tail(position: Position, *, component: str = "", max_bytes: int = MAX_READ) -> LogBatch:
    """What was written since `position`; a file that does not exist (yet) brings nothing.

    `component` stands in where a line does not name its own. Raises SourceError: the file cannot be read.
    """
    return await asyncio.to_thread(_tail, position, component, max_bytes)


def _tail(position: Position, component: str, max_bytes: int) -> LogBatch:
    path = Path(position.path)
    try:
        with _open(path, position) as file:
            position = _checked(file, position)
            batch = _read(file, position, component, max_bytes)
            rotated = not batch.more and _is_another(path, batch.position)
    except FileNotFoundError:
        return LogBatch([], position)
    except OSError as error:
        raise SourceError(f"log {path} cannot be read: {error.strerror}", kind="broken") from error
    # The rest of the old file has been read: the next read starts the new one.
    return replace(batch, position=Position(position.path), more=True) if rotated else batch


def _open(path: Path, position: Position) -> BinaryIO:
    if position.inode and _is_another(path, position):
        for sibling in sorted(path.parent.glob(path.name + ".*")):
            if sibling.stat().st_ino == position.inode and sibling.is_file():
                return sibling.open("rb")
    return path.open("rb")


def _is_another(path: Path, position: Position) -> bool:
    try:
        return path.stat().st_ino != position.inode
    except FileNotFoundError:
        return False


def _checked(file: BinaryIO, position: Position) -> Position:
    status = os.fstat(file.fileno())
    same = status.st_ino == position.inode and status.st_size >= position.offset
    if same and _head(file, position.offset) == position.head:
        return position
    return Position(position.path, inode=status.st_ino)


def _head(file: BinaryIO, offset: int) -> str:
    file.seek(0)
    return hashlib.blake2b(file.read(min(offset, _HEAD)), digest_size=8).hexdigest() if offset else ""


def _read(file: BinaryIO, position: Position, component: str, max_bytes: int) -> LogBatch:
    file.seek(position.offset)
    data = file.read(max(max_bytes, MAX_LINE + 1))
    more = len(data) == max(max_bytes, MAX_LINE + 1)
    whole, _, half = data.rpartition(b"\n")
    used = len(data) - len(half)
    raw = whole.split(b"\n") if used else []
    bad = 0
    if raw and position.skipping:  # the end of the line that was too long; it has been counted
        raw.pop(0)
    skipping = position.skipping and not used
    if len(half) > MAX_LINE or skipping:
        bad += 0 if skipping else 1
        used, skipping = len(data), True
    lines = [parsed for parsed in (_line(one, component) for one in raw if one.strip()) if parsed]
    bad += sum(1 for one in raw if one.strip()) - len(lines)
    offset = position.offset + used
    return LogBatch(lines, replace(position, offset=offset, head=_head(file, offset), skipping=skipping), bad, more)


def _line(raw: bytes, component: str) -> LogLine | None:
    if len(raw) > MAX_LINE:
        return None
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):  # bytes that are no UTF-8 are a ValueError as well
        return None
    if not isinstance(found, dict):
        return None
    time = _time(_take(found, _TIME_KEYS))
    event = _take(found, _EVENT_KEYS)
    if time is None or not isinstance(event, str):
        return None
    level = str(found.pop("level", "info")).lower()
    return LogLine(time, level, str(_take(found, _COMPONENT_KEYS) or component), event, found)


def _take(found: dict[str, Any], names: tuple[str, ...]) -> object:
    for name in names:
        if name in found:
            return found.pop(name)
    return None


def _time(value: object) -> datetime | None:
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None

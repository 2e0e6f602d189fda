"""Versions of a component's configuration: a release makes one, and each can be made to run again, live."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soundstage.errors import Malformed, Refused
from soundstage.plan import SEGMENT_SECONDS, write_atomically

FIRST = "1"
Values = dict[str, int | float | str]
_LEVEL: Values = {"log_level": "info"}
GOOD: dict[str, Values] = {
    "source": _LEVEL,
    "ingest": _LEVEL,
    "transcode": _LEVEL,
    "package": {**_LEVEL, "window": 8, "target_duration": SEGMENT_SECONDS},
    "origin": {**_LEVEL, "playlist_max_age": 1, "segment_max_age": 60},
    "edge": {**_LEVEL, "playlist_lifetime": 1.0, "segment_lifetime": 60.0},
}
_LEVELS = ("info", "warning", "error")


def check(values: object, stage: str) -> Values:
    """The values of a whole version: those of `values`, else the good ones; raises Malformed for what cannot be."""
    if not isinstance(values, dict):
        raise Malformed("the values of a version must be a JSON object")
    good = GOOD[stage]
    for name, value in values.items():
        if name not in good:
            raise Malformed(f"'{name}' cannot be configured here; known are: {', '.join(good)}")
        if name == "log_level":
            if value not in _LEVELS:
                raise Malformed(f"log_level must be one of {', '.join(_LEVELS)}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 86_400:
            raise Malformed(f"'{name}' must be a number from 0 to 86400")
    return {**good, **values}


@dataclass
class _Book:
    """What is kept of a component's versions. `after`: which version ran when another one was first made to run."""

    running: str = FIRST
    values: dict[str, Values] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)


class Configuration:
    """The versions of one component, kept in `path`. The first is the good one and is always known."""

    def __init__(self, path: Path, stage: str) -> None:
        self._path = path
        self._stage = stage
        self._book = _Book(values={FIRST: GOOD[stage]})
        with contextlib.suppress(FileNotFoundError):  # nothing was ever released here
            self._book = _Book(**json.loads(path.read_text()))

    @property
    def values(self) -> Values:
        """The values of the version that runs."""
        return self._book.values[self._book.running]

    @property
    def running(self) -> str:
        """The version that runs."""
        return self._book.running

    def told(self) -> dict[str, Any]:
        """What GET /version answers; `previous` is what the running version took the place of, None for the first."""
        running = self._book.running
        return {"running": running, "previous": self._book.after.get(running), "known": list(self._book.values)}

    def make(self, values: object) -> str:
        """Add a version with `values` over the good ones, without running it; its name. Raises Malformed."""
        version = str(len(self._book.values) + 1)
        self._book.values[version] = check(values, self._stage)
        self._save()
        return version

    def run(self, version: str) -> None:
        """Let `version` run, now and after a restart; raises Refused when there is none of that name."""
        if version not in self._book.values:
            raise Refused(404, f"no version {version}; known are: {', '.join(self._book.values)}")
        # Going back is no release: what a version took the place of is told by its first run alone, or else going
        # back twice would bring back what was taken away.
        if version not in (FIRST, self._book.running):
            self._book.after.setdefault(version, self._book.running)
        self._book.running = version
        self._save()

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        book = {"running": self._book.running, "values": self._book.values, "after": self._book.after}
        write_atomically(self._path, json.dumps(book, indent=1).encode())

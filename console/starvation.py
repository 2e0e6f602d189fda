"""Was the machine too busy for times to mean anything? A process that only sleeps, and sees how late it wakes.

A second is starved when that process wakes more than 250 ms late in it (design.md, "Honest proof").
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

NAP_SECONDS = 0.1
LATE_SECONDS = 0.25
PROJECT = Path(__file__).resolve().parent.parent


def starved_seconds(due: float, woke: float) -> range:
    """The whole seconds between when the sleeper should have woken and when it did; none when it was in time."""
    return range(int(due), int(woke) + 1) if woke - due > LATE_SECONDS else range(0)


def sleep_and_tell() -> None:
    """Sleep until the parent is gone; print the count of starved seconds whenever it grows."""
    parent = os.getppid()
    starved: set[int] = set()
    while os.getppid() == parent:
        due = time.monotonic() + NAP_SECONDS
        time.sleep(NAP_SECONDS)
        late = starved_seconds(due, time.monotonic())
        if late:
            starved.update(late)
            print(len(starved), flush=True)


class Sleeper:
    """The sleeping process as its parent sees it: `starved_s` grows while it runs."""

    def __init__(self) -> None:
        self.starved_s = 0.0
        self.process: asyncio.subprocess.Process | None = None

    @asynccontextmanager
    async def sleeping(self) -> AsyncIterator[Sleeper]:
        """Measure from entry to exit."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "console.starvation",
            stdout=asyncio.subprocess.PIPE,
            cwd=PROJECT,
            start_new_session=True,
        )
        self.process = process
        reader = asyncio.create_task(self._read(process))
        try:
            yield self
        finally:
            process.terminate()
            await reader

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is not None:
            async for line in process.stdout:
                self.starved_s = float(line)
        await process.wait()


if __name__ == "__main__":
    sleep_and_tell()

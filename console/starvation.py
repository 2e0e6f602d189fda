"""Was the machine too busy for times to mean anything? A process that sleeps, and sees how late it wakes; and that now
and then works, and sees how long its work takes.

A second is starved when that process wakes more than 250 ms late in it (design.md, "Honest proof"). A scheduler favours
those who sleep, though: on two cores with a load of 18 a platform was without sound for minutes, and a sleeper woke in
time. So 10 ms of work, twice a second, must not take more than four times as long, on average over 2.5 s. Measured on
two cores: 1.2 times as long when it is quiet, 1.8 beside eight busy processes of lower priority, 4.5 beside four of the
same.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

NAP_SECONDS = 0.1
LATE_SECONDS = 0.25
#: Naps between two pieces of work, CPU seconds of such a piece, how many are looked at together, and how many times as
#: long they may take.
NAPS = 5
WORK_SECONDS = 0.01
PIECES = 5
STRETCHED = 4.0
PROJECT = Path(__file__).resolve().parent.parent


def starved_seconds(due: float, woke: float) -> range:
    """The whole seconds between when the sleeper should have woken and when it did; none when it was in time."""
    return range(int(due), int(woke) + 1) if woke - due > LATE_SECONDS else range(0)


class Pace:
    """How long the last pieces of work took, as multiples of what they need."""

    def __init__(self) -> None:
        self._stretches: deque[float] = deque(maxlen=PIECES)

    def starved_seconds(self, began: float, ended: float) -> range:
        """The whole seconds of a piece of work that with those before it took too long; none when it did not."""
        self._stretches.append((ended - began) / WORK_SECONDS)
        too_long = len(self._stretches) == PIECES and sum(self._stretches) / PIECES > STRETCHED
        return range(int(began), int(ended) + 1) if too_long else range(0)


def sleep_and_tell(works: bool) -> None:
    """Sleep, and work a little, until the parent is gone; print the count of starved seconds whenever it grows."""
    parent, pace, naps = os.getppid(), Pace(), 0
    starved: set[int] = set()
    while os.getppid() == parent:
        due = time.monotonic() + NAP_SECONDS
        time.sleep(NAP_SECONDS)
        late = set(starved_seconds(due, time.monotonic()))
        naps += 1
        if works and naps % NAPS == 0:
            late |= set(pace.starved_seconds(*_work()))
        if late - starved:
            starved |= late
            print(len(starved), flush=True)


def _work() -> tuple[float, float]:
    """Keep a core busy for WORK_SECONDS of CPU; gives when that began and ended."""
    began, spent = time.monotonic(), time.thread_time()
    while time.thread_time() - spent < WORK_SECONDS:
        pass
    return began, time.monotonic()


class Sleeper:
    """The sleeping process as its parent sees it: `starved_s` grows while it runs.

    works: also measure by work. Not for who loads the machine on purpose: its own load would count.
    """

    def __init__(self, *, works: bool = False) -> None:
        self.works = works
        self.starved_s = 0.0
        self.process: asyncio.subprocess.Process | None = None

    @asynccontextmanager
    async def sleeping(self) -> AsyncIterator[Sleeper]:
        """Measure from entry to exit."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "console.starvation",
            *(["--works"] if self.works else []),
            stdout=asyncio.subprocess.PIPE,
            cwd=PROJECT,
            # Out of reach of the terminal's Ctrl-C, but not a session: Linux shares the CPU out between sessions first
            # (sched_autogroup), and one that only sleeps in its own is never starved, whatever becomes of its parent.
            process_group=0,
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
    sleep_and_tell("--works" in sys.argv)

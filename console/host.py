"""Whether this machine lets a sleeping process wake in time: a second in which it wakes late is a starved second."""

from __future__ import annotations

import threading

from tonewatch.clock import SYSTEM, Clock

NAP_SECONDS = 0.05
LATE_SECONDS = 0.25


class HostWatch:
    """A thread that only sleeps, and counts the seconds in which it woke more than 250 ms late (design.md 3)."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._starved: set[int] = set()
        self._worst = 0.0
        self._begun = clock.monotonic()
        self._thread = threading.Thread(target=self._watch, name="host-watch", daemon=True)

    def start(self) -> None:
        """Begin to sleep."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(1.0)

    @property
    def starved_seconds(self) -> int:
        """Seconds since the start in which it woke late."""
        with self._lock:
            return len(self._starved)

    @property
    def watched_seconds(self) -> float:
        """Seconds since the start."""
        return self._clock.monotonic() - self._begun

    def worst_lag(self) -> float:
        """The longest lateness in seconds since this was last asked."""
        with self._lock:
            worst, self._worst = self._worst, 0.0
        return worst

    def _watch(self) -> None:
        before = self._clock.monotonic()
        while not self._stop.wait(NAP_SECONDS):
            now = self._clock.monotonic()
            late = now - before - NAP_SECONDS
            with self._lock:
                self._worst = max(self._worst, late)
                if late > LATE_SECONDS:
                    self._starved.update(range(int(before), int(now) + 1))
            before = self._clock.monotonic()

"""What the demo shows while it goes on: its own phase, and the watcher's live picture as soon as there is one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from console.demo.live import Picture, Scene, View
from console.waiting import ticking
from tonewatch.clock import SYSTEM, Clock

REDRAWN_SECONDS = 0.5


class Show:
    """Holds what is to be seen. `picture` is the last one known; empty before the watcher's first tick."""

    def __init__(self, view: View, clock: Clock = SYSTEM) -> None:
        self.picture: Picture = {}
        self._view, self._clock = view, clock
        self._began = clock.monotonic()
        self._phase, self._since = "starting", self._began
        self._of: float | None = None
        self._look: Callable[[], Awaitable[Picture | None]] | None = None

    def enter(self, phase: str, seconds: float | None = None) -> None:
        """A new phase begins; `seconds`: how long it is going to take, if that is known."""
        self._phase, self._since, self._of = phase, self._clock.monotonic(), seconds
        self._view.say(phase + (f" ({seconds:.0f} s)" if seconds else ""))

    def say(self, text: str) -> None:
        """A line that stays."""
        self._view.say(text)

    def look_with(self, look: Callable[[], Awaitable[Picture | None]] | None) -> None:
        """Where the picture comes from, from now on; None when there is none any more."""
        self._look = look

    async def go_on(self) -> None:
        """Show for ever; cancel to end."""
        async for _ in ticking(REDRAWN_SECONDS):
            if self._look is not None:
                self.picture = await self._look() or self.picture
            now = self._clock.monotonic()
            done = None if self._of is None else min(now - self._since, self._of)
            self._view.show(Scene(self._phase, now - self._began, self.picture, done, self._of))

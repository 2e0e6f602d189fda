"""What a listener hears, by a clock of its own: arithmetic on moments, so that it goes on while requests hang."""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

State = Literal["starting", "playing", "stalled"]
PATIENCE_S = 2.0
RESUME_S = 3.5


@dataclass
class Absence:
    """A stretch with sound due and absent; `start` and `end` in seconds of the playout's clock, end None while open."""

    kind: Literal["startup", "stall"]
    start: float
    end: float | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Piece:
    """Downloaded sound: its start by PROGRAM-DATE-TIME in Unix seconds and its length in seconds."""

    start: float
    seconds: float


class Playout:
    """Begins with the first piece, runs dry when the pieces do not come, goes on with RESUME_S of sound.

    Every method takes `now`, seconds of a clock that never goes backward. Start-up beyond PATIENCE_S counts as absent.
    """

    def __init__(self, now: float) -> None:
        self.state: State = "starting"
        self.joined = now
        self.startup_s: float | None = None
        self.stalls = 0
        self.changed: list[Absence] = []
        self._last = now
        self._pieces: deque[Piece] = deque()
        self._offset = 0.0
        self._open: Absence | None = None
        self._closed_s = 0.0

    @property
    def buffered_s(self) -> float:
        """Seconds of sound at hand."""
        return sum(piece.seconds for piece in self._pieces) - self._offset

    @property
    def position(self) -> float | None:
        """The programme's date (Unix seconds) at the play head; None without sound."""
        return self._pieces[0].start + self._offset if self._pieces else None

    @property
    def starved(self) -> bool:
        """Whether sound is due and absent at this moment."""
        return self._open is not None

    def absent_s(self, now: float) -> float:
        """Seconds of sound due and absent so far."""
        return self._closed_s + (now - self._open.start if self._open else 0.0)

    def advance(self, now: float) -> None:
        """Play until `now`."""
        if self.state == "playing":
            self._play(now)
        elif self.state == "starting" and self._open is None and now > self.joined + PATIENCE_S:
            self._begin_absence("startup", self.joined + PATIENCE_S)
        self._last = max(self._last, now)

    def add(self, piece: Piece, now: float) -> None:
        """A piece has come in."""
        self.advance(now)
        self._pieces.append(piece)
        if self.state == "starting":
            self.startup_s = now - self.joined
            self._go_on(now)
        elif self.state == "stalled" and self.buffered_s >= RESUME_S:
            self._go_on(now)

    def drop(self) -> None:
        """Throw away what is buffered, for a jump; only while there is no sound anyway."""
        if self.state != "playing":
            self._pieces.clear()
            self._offset = 0.0

    def leave(self, now: float) -> None:
        """The listener is gone: nothing is due any more."""
        self.advance(now)
        self._end_absence(now)

    def _play(self, now: float) -> None:
        left = self.buffered_s
        elapsed = now - self._last
        if elapsed >= left:
            self._pieces.clear()
            self._offset = 0.0
            self.state = "stalled"
            self.stalls += 1
            self._begin_absence("stall", self._last + left)
            return
        self._offset += max(0.0, elapsed)
        while self._pieces and self._offset >= self._pieces[0].seconds:
            self._offset -= self._pieces.popleft().seconds

    def _go_on(self, now: float) -> None:
        self.state = "playing"
        self._last = now
        self._end_absence(now)

    def _begin_absence(self, kind: Literal["startup", "stall"], start: float) -> None:
        self._open = Absence(kind, start)
        self.changed.append(self._open)

    def _end_absence(self, now: float) -> None:
        if self._open is None:
            return
        self._open.end = now
        self._closed_s += now - self._open.start
        self.changed.append(self._open)
        self._open = None

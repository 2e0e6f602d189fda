"""What a listener hears, by a clock of its own: arithmetic on moments, so that it goes on while requests hang."""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["startup", "stall", "silence"]
State = Literal["starting", "playing", "stalled"]
PATIENCE_S = 2.0
RESUME_S = 3.5
SILENCE_S = 2.0
ROUNDING_S = 1e-6


@dataclass
class Absence:
    """A stretch with sound due and absent; `start` and `end` in seconds of the playout's clock, end None while open."""

    kind: Kind
    start: float
    end: float | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Piece:
    """Downloaded sound: its start by PROGRAM-DATE-TIME in Unix seconds, its length in seconds, and where it is
    digitally silent, as (begin, end) in seconds from its start.
    """

    start: float
    seconds: float
    silent: tuple[tuple[float, float], ...] = ()


class Playout:
    """Begins with the first piece, runs dry when the pieces do not come, goes on with RESUME_S of sound.

    Every method takes `now`, seconds of a clock that never goes backward. Start-up beyond PATIENCE_S counts as absent,
    and so does digital silence that is played for longer than SILENCE_S, from its beginning. Of that only `changed` and
    `silent` tell: a real player does not know.
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
        self._silent_since: float | None = None
        self._silence: Absence | None = None

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
        """Whether sound is due and absent at this moment, as the player knows it."""
        return self._open is not None

    @property
    def silent(self) -> bool:
        """Whether digital silence has been played for longer than SILENCE_S."""
        return self._silence is not None

    def absent_s(self, now: float) -> float:
        """Seconds of sound due and absent so far, as the player knows it."""
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
        self._hear_sound(now)

    def _play(self, now: float) -> None:
        left = self.buffered_s
        elapsed = now - self._last
        if elapsed >= left:
            self._listen(self._last, left)
            self._hear_sound(self._last + left)
            self._pieces.clear()
            self._offset = 0.0
            self.state = "stalled"
            self.stalls += 1
            self._begin_absence("stall", self._last + left)
            return
        self._listen(self._last, max(0.0, elapsed))
        self._offset += max(0.0, elapsed)
        while self._pieces and self._offset >= self._pieces[0].seconds:
            self._offset -= self._pieces.popleft().seconds

    def _listen(self, now: float, seconds: float) -> None:
        """Hear the next `seconds` at the play head, which is there at `now`: silence adds up from piece to piece."""
        begin = -self._offset  # of the piece, as seconds from `now`
        for piece in self._pieces:
            if begin >= seconds:
                break
            heard = max(0.0, begin)
            for silent_from, silent_to in piece.silent:
                first, last = max(heard, begin + silent_from), min(seconds, begin + silent_to)
                if first >= last:
                    continue
                if first > heard:
                    self._hear_sound(now + heard)
                self._hear_silence(now + first, now + last)
                heard = last
            begin += piece.seconds
            if heard < min(begin, seconds) - ROUNDING_S:
                self._hear_sound(now + heard)

    def _hear_silence(self, since: float, until: float) -> None:
        if self._silent_since is None:
            self._silent_since = since
        if self._silence is None and until - self._silent_since > SILENCE_S:
            self._silence = Absence("silence", self._silent_since)
            self.changed.append(self._silence)

    def _hear_sound(self, now: float) -> None:
        self._silent_since = None
        if self._silence is not None:
            self._silence.end = now
            self.changed.append(self._silence)
            self._silence = None

    def _go_on(self, now: float) -> None:
        self.state = "playing"
        self._last = now
        self._end_absence(now)

    def _begin_absence(self, kind: Kind, start: float) -> None:
        self._open = Absence(kind, start)
        self.changed.append(self._open)

    def _end_absence(self, now: float) -> None:
        if self._open is None:
            return
        self._open.end = now
        self._closed_s += now - self._open.start
        self.changed.append(self._open)
        self._open = None

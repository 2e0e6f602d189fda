"""The step from one value to the next, the simplest forecast's residual: strange is a jump that the series never made."""

from __future__ import annotations

from ml.detectors.stream import Floats, Follower, Round, StreamState


class Step(Follower):
    """Looks at the change since the value right before; cannot judge what follows a gap."""

    name = "step"

    def look(self, state: StreamState, now: Round) -> tuple[Floats, Floats]:
        return now.value - now.before, now.before

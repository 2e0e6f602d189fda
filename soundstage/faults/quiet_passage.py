"""A channel plays something quiet: near silence for a level meter, music for who listens."""

from __future__ import annotations

import time

from soundstage.faults.base import Fault, Stage, Truth

AHEAD_S = 1.5
SECONDS = 25.0


class QuietPassage(Fault):
    """Both sources of a channel play a quiet passage of music (-47 dBFS) for 25 s."""

    name = "quiet-passage"
    is_fault = False

    def inject(self, stage: Stage) -> None:
        channel = stage.rng.choice(stage.channels)
        sources = [source for source in stage.components("source") if source["channel"] == channel]
        begin = time.time() + AHEAD_S  # the same moment for both
        for source in sources:
            stage.quieten(source["process"], begin, begin + SECONDS)
        self.memory = {"channel": channel, "processes": [source["process"] for source in sources]}

    def heal(self, stage: Stage) -> None:
        for process in self.memory["processes"]:
            stage.quieten(process, 0.0, 0.0)

    def truth(self) -> Truth:
        channel = self.memory["channel"]
        return Truth(channel, None, (), (), (channel,), AHEAD_S + SECONDS)

"""An evening on which more people listen than on any other."""

from __future__ import annotations

from soundstage.faults.base import Fault, Stage, Truth

SHARE = 1.5
SECONDS = 40.0


class PrimeTimeRamp(Fault):
    """The audience climbs to one and a half times its size within some seconds, and stays for 40 s."""

    name = "prime-time-ramp"
    is_fault = False

    def inject(self, stage: Stage) -> None:
        stage.rush(SHARE, SECONDS)
        self.memory = {"channels": stage.channels}

    def heal(self, stage: Stage) -> None:
        stage.rush(SHARE, 0.0)

    def truth(self) -> Truth:
        channels = self.memory["channels"]
        return Truth(channels[0], None, (), (), tuple(channels), SECONDS)

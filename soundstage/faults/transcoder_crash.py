"""A transcoder is killed, as by the kernel's out-of-memory killer or a fault in a codec."""

from __future__ import annotations

import signal

from soundstage.faults.base import Fault, Stage, Truth


class TranscoderCrash(Fault):
    """kill -9 of one channel's transcoder: all renditions of that channel end, the other channels play on."""

    name = "transcoder-crash"

    def inject(self, stage: Stage) -> None:
        victim = stage.rng.choice(stage.components("transcode"))
        stage.signal(victim["process"], signal.SIGKILL)
        self.memory = {"entity": victim["id"], "process": victim["process"], "channel": victim["channel"]}

    def heal(self, stage: Stage) -> None:
        stage.start(self.memory["process"])

    def truth(self) -> Truth:
        entity = self.memory["entity"]
        edges = ("edge:edge-1", "edge:edge-2")
        return Truth(
            entity=entity,
            cause=f"{entity}:crash",
            right=("restart",),
            wrong=("restart component:packager", "restart component:origin", "switch-input", "drain"),
            path=(entity, "component:packager", "component:origin", *edges, self.memory["channel"]),
        )

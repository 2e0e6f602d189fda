"""A second example: the ingest of one channel hangs, and everything behind it waits."""

from __future__ import annotations

import signal

from soundstage.faults.base import Fault, Stage, Truth


class IngestHang(Fault):
    """SIGSTOP of one channel's ingest: connected to its sources and to the transcoder, and passing nothing on."""

    name = "ingest-hang"

    def inject(self, stage: Stage) -> None:
        ingest = stage.rng.choice(stage.components("ingest"))
        stage.signal(ingest["process"], signal.SIGSTOP)
        self.memory = {"entity": ingest["id"], "process": ingest["process"], "channel": ingest["channel"]}

    def heal(self, stage: Stage) -> None:
        stage.thaw(self.memory["process"])

    def truth(self) -> Truth:
        entity, channel = self.memory["entity"], self.memory["channel"]
        return Truth(
            entity=entity,
            cause=f"{entity}:hang",
            right=("kill-and-restart",),
            wrong=("switch-input", "restart component:packager", "restart component:origin"),
            path=(entity, channel),
        )

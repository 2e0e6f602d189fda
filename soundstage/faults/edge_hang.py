"""One edge hangs: it takes connections and answers nothing."""

from __future__ import annotations

import signal

from soundstage.faults.base import Fault, Stage, Truth


class EdgeHang(Fault):
    """SIGSTOP of one edge: its players' requests time out, and they go to another edge."""

    name = "edge-hang"

    def inject(self, stage: Stage) -> None:
        edge = stage.rng.choice(stage.components("edge"))
        stage.signal(edge["process"], signal.SIGSTOP)
        self.memory = {"entity": edge["id"], "process": edge["process"], "channels": stage.channels}

    def heal(self, stage: Stage) -> None:
        stage.thaw(self.memory["process"])
        stage.admit(self.memory["process"])

    def truth(self) -> Truth:
        entity = self.memory["entity"]
        return Truth(
            entity=entity,
            cause=f"{entity}:hang",
            right=("kill-and-restart", "drain"),
            wrong=("restart component:origin", "restart component:packager", "switch-input", "rollback"),
            path=(entity, *self.memory["channels"]),
        )

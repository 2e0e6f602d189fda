"""The origin is killed."""

from __future__ import annotations

import signal

from soundstage.faults.base import Fault, Stage, Truth


class OriginCrash(Fault):
    """kill -9 of the origin: the edges answer 502 for all that they have not cached, every channel is hit."""

    name = "origin-crash"

    def inject(self, stage: Stage) -> None:
        (origin,) = stage.components("origin")
        stage.signal(origin["process"], signal.SIGKILL)
        path = [origin["id"], *origin["feeds"], *stage.channels]
        self.memory = {"entity": origin["id"], "process": origin["process"], "path": path}

    def heal(self, stage: Stage) -> None:
        stage.start(self.memory["process"])

    def truth(self) -> Truth:
        entity = self.memory["entity"]
        return Truth(
            entity=entity,
            cause=f"{entity}:crash",
            right=("restart",),
            wrong=("restart component:packager", "drain", "switch-input", "rollback"),
            path=tuple(self.memory["path"]),
        )

"""The packager hangs: it is alive to the supervisor and takes connections, but does nothing."""

from __future__ import annotations

import signal

from soundstage.faults.base import Fault, Stage, Truth


class PackagerHang(Fault):
    """SIGSTOP of the packager: every playlist stands still, every channel runs dry."""

    name = "packager-hang"

    def inject(self, stage: Stage) -> None:
        (packager,) = stage.components("package")
        stage.signal(packager["process"], signal.SIGSTOP)
        edges = [edge["id"] for edge in stage.components("edge")]
        self.memory = {"entity": packager["id"], "process": packager["process"], "path": [*edges, *stage.channels]}

    def heal(self, stage: Stage) -> None:
        stage.thaw(self.memory["process"])

    def truth(self) -> Truth:
        entity = self.memory["entity"]
        return Truth(
            entity=entity,
            cause=f"{entity}:hang",
            right=("kill-and-restart",),
            wrong=("restart component:origin", "drain", "switch-input", "rollback"),
            path=(entity, "component:origin", *self.memory["path"]),
        )

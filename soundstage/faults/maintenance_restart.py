"""A component is restarted by its operators, who have said so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from soundstage.faults.base import Fault, Stage, Truth

WINDOW_S = 30.0


class MaintenanceRestart(Fault):
    """The packager or the origin is restarted within a maintenance window of 30 s; players have enough buffered."""

    name = "maintenance-restart"
    is_fault = False

    def inject(self, stage: Stage) -> None:
        victim = stage.rng.choice(stage.components("package") + stage.components("origin"))
        process, began = victim["process"], datetime.now(UTC)
        self.memory = {"entity": victim["id"], "process": process}
        until = began + timedelta(seconds=WINDOW_S)
        stage.announce("maintenance", victim["id"], f"planned restart of {process}", began, until)
        stage.stop(process)
        stage.start(process)

    def heal(self, stage: Stage) -> None:
        stage.start(self.memory["process"])

    def truth(self) -> Truth:
        return Truth(self.memory["entity"], None, (), (), (self.memory["entity"],), WINDOW_S)

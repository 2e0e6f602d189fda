"""A component is restarted by its operators, who have said so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from soundstage.faults.base import Fault, Stage, Truth

WINDOW_S = 30.0


class MaintenanceRestart(Fault):
    """The packager or an edge is restarted within a maintenance window of 30 s; players have what it takes."""

    name = "maintenance-restart"
    is_fault = False

    def inject(self, stage: Stage) -> None:
        # Half of the times each: from what they have buffered, or from another edge, players go on for some seconds.
        victim = stage.rng.choice(stage.components(stage.rng.choice(("package", "edge"))))
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

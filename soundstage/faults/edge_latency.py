"""The network between the origin and one edge is slow."""

from __future__ import annotations

from soundstage.faults.base import Fault, Stage, Truth

LATENCY_S = 1.5


class EdgeLatency(Fault):
    """1.5 s more for each request of one edge to the origin: its players load slower than they play."""

    name = "edge-latency"

    def inject(self, stage: Stage) -> None:
        edge = stage.rng.choice(stage.components("edge"))
        stage.link(edge["process"], latency=LATENCY_S)
        self.memory = {"entity": edge["id"], "process": edge["process"], "channels": stage.channels}

    def heal(self, stage: Stage) -> None:
        stage.link(self.memory["process"])
        stage.admit(self.memory["process"])

    def truth(self) -> Truth:
        entity = self.memory["entity"]
        return Truth(
            entity=entity,
            cause=f"{entity}:latency",
            right=("drain",),
            wrong=("restart", "kill-and-restart", "restart component:origin", "switch-input", "rollback"),
            path=(entity, *self.memory["channels"]),
        )

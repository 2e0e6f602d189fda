"""A second example: a studio line that carries silence while every process behind it looks alive."""

from __future__ import annotations

import signal

from soundstage.faults.base import Fault, Stage, Truth


class SourceSilence(Fault):
    """The primary source of one channel sends digital silence: segments go on, nobody hears anything."""

    name = "source-silence"

    def inject(self, stage: Stage) -> None:
        primaries = [part for part in stage.components("source") if part["process"].endswith("-primary")]
        source = stage.rng.choice(primaries)
        stage.signal(source["process"], signal.SIGUSR1)
        self.memory = {"entity": source["id"], "process": source["process"], "channel": source["channel"]}

    def heal(self, stage: Stage) -> None:
        stage.signal(self.memory["process"], signal.SIGUSR2)

    def truth(self) -> Truth:
        entity, channel = self.memory["entity"], self.memory["channel"]
        return Truth(
            entity=entity,
            cause=f"{entity}:source-silent",
            right=("switch-input",),
            wrong=("restart component:packager", "restart component:origin"),
            path=(entity, channel),
        )

"""A studio line carries digital silence, while every process behind it looks alive."""

from __future__ import annotations

from soundstage.faults.base import Fault, Stage, Truth


class SourceSilent(Fault):
    """The primary source of one channel sends digital silence, its backup carries on: segments go on, nobody hears."""

    name = "source-silent"

    def inject(self, stage: Stage) -> None:
        ingest = stage.rng.choice(stage.components("ingest"))
        primary = ingest["inputs"]["sources"]["primary"]
        source = next(part for part in stage.components("source") if part["id"] == primary)
        stage.switch_input(ingest["process"], "primary")  # an earlier remedy may have left it on the backup
        stage.line(source["process"], silent=True)
        self.memory = {"entity": source["id"], "process": source["process"], "ingest": ingest["process"]}
        self.memory["path"] = [source["id"], ingest["id"], *ingest["feeds"], source["channel"]]

    def heal(self, stage: Stage) -> None:
        stage.line(self.memory["process"], silent=False)
        stage.switch_input(self.memory["ingest"], "primary")

    def truth(self) -> Truth:
        entity = self.memory["entity"]
        return Truth(
            entity=entity,
            cause=f"{entity}:source-silent",
            right=("switch-input",),
            wrong=("restart", "restart component:packager", "restart component:origin", "drain", "rollback"),
            path=tuple(self.memory["path"]),
        )

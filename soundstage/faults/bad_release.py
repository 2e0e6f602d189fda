"""A release of the packager makes its playlists too short to be followed."""

from __future__ import annotations

from soundstage.faults.base import Fault, Stage, Truth

VALUES: dict[str, int | float | str] = {"window": 1, "target_duration": 4}


class BadRelease(Fault):
    """A release of the packager's configuration: playlists of one segment that are to be loaded half as often."""

    name = "bad-release"

    def inject(self, stage: Stage) -> None:
        (packager,) = stage.components("package")
        process = packager["process"]
        before = stage.version(process)
        version = stage.release(process, VALUES, "packager: shorter playlists, loaded less often, to save traffic")
        path = [packager["id"], "component:origin", *stage.channels]
        self.memory = {"entity": packager["id"], "process": process, "before": before, "made": version, "path": path}

    def heal(self, stage: Stage) -> None:
        stage.start(self.memory["process"])
        if stage.version(self.memory["process"]) == self.memory["made"]:
            stage.run_version(self.memory["process"], self.memory["before"])

    def truth(self) -> Truth:
        entity = self.memory["entity"]
        return Truth(
            entity=entity,
            cause=f"{entity}:bad-release",
            right=("rollback",),
            wrong=("restart", "kill-and-restart", "restart component:origin", "drain", "switch-input"),
            path=tuple(self.memory["path"]),
        )

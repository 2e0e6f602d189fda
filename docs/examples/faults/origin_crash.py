"""A complete fault of one's own: the origin is killed. Try it:

python -m soundstage faults --faults-from docs/examples/faults
python -m soundstage inject origin-crash --dir DIR --faults-from docs/examples/faults
"""

from __future__ import annotations

import signal

from soundstage.faults.base import Fault, Stage, Truth


class OriginCrash(Fault):
    """kill -9 of the origin: the edges answer 502 for all that they have not cached, every channel is hit."""

    name = "origin-crash"

    def inject(self, stage: Stage) -> None:
        (origin,) = stage.components("origin")
        stage.signal(origin["process"], signal.SIGKILL)
        # heal() and truth() may run in another process: what they must know is kept in `memory`.
        self.memory = {"entity": origin["id"], "process": origin["process"], "edges": origin["feeds"]}

    def heal(self, stage: Stage) -> None:
        stage.start(self.memory["process"])  # does nothing when somebody has started it already

    def truth(self) -> Truth:
        entity = self.memory["entity"]
        return Truth(
            entity=entity,
            cause=f"{entity}:crash",
            right=("restart",),
            wrong=("restart component:packager", "drain", "switch-input"),
            path=(entity, *self.memory["edges"]),  # no channel in the path: every channel's loss counts
        )

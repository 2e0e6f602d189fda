"""A complete fault of one's own: an edge is killed. Try it:

python -m soundstage faults --faults-from docs/examples/faults
python -m soundstage inject edge-crash --dir DIR --faults-from docs/examples/faults
"""

from __future__ import annotations

import signal

from soundstage.faults.base import Fault, Stage, Truth


class EdgeCrash(Fault):
    """kill -9 of one edge: its players are refused and go to another edge."""

    name = "edge-crash"

    def inject(self, stage: Stage) -> None:
        edge = stage.rng.choice(stage.components("edge"))
        stage.signal(edge["process"], signal.SIGKILL)
        # heal() and truth() may run in another process: what they must know is kept in `memory`.
        self.memory = {"entity": edge["id"], "process": edge["process"]}

    def heal(self, stage: Stage) -> None:
        stage.start(self.memory["process"])  # does nothing when somebody has started it already

    def truth(self) -> Truth:
        entity = self.memory["entity"]
        return Truth(
            entity=entity,
            cause=f"{entity}:crash",
            right=("restart", "drain"),
            wrong=("restart component:packager", "restart component:origin", "switch-input"),
            path=(entity,),  # no channel in the path: every channel's loss counts
        )

"""A planted fault whose obvious remedy makes it worse: what the transcoder sends after its restart kills the packager.

Its poison is a process of its own, which ends with `heal` or after five minutes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

from soundstage.faults.base import Fault, Stage, Truth

POISON = """
import sys, time
from soundstage.errors import SoundstageError
from soundstage.plan import Plan
from soundstage.supervision import Supervisor
from pathlib import Path

plan = Plan.load(Path(sys.argv[1]) / "plan.json")
supervisor = Supervisor(plan.supervisor_url(credentials=True))
until = time.monotonic() + 300
while time.monotonic() < until:
    try:
        poisoned = supervisor.running(sys.argv[2])
        runs = supervisor.running("packager")
        if poisoned and runs:
            supervisor.stop("packager")
        if not poisoned and not runs:
            supervisor.start("packager")
    except SoundstageError:
        pass
    time.sleep(0.3)
"""


class RestartHarms(Fault):
    """kill -9 of a transcoder; as soon as it runs again the packager, on which every channel depends, goes down."""

    name = "restart-harms"

    def inject(self, stage: Stage) -> None:
        victim = stage.rng.choice(stage.components("transcode"))
        stage.signal(victim["process"], signal.SIGKILL)
        poison = subprocess.Popen(
            [sys.executable, "-c", POISON, str(stage.dir), victim["process"]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.memory = {"entity": victim["id"], "process": victim["process"], "poison": poison.pid}

    def heal(self, stage: Stage) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.memory["poison"], signal.SIGKILL)
        stage.start("packager")
        stage.start(self.memory["process"])

    def truth(self) -> Truth:
        entity = self.memory["entity"]
        return Truth(entity, f"{entity}:crash", ("restart",), (), (entity, "component:packager", "component:origin"))

"""A planted fault that ends by itself before anything can be done about it."""

from __future__ import annotations

import signal
import subprocess
import sys

from soundstage.faults.base import Fault, Stage, Truth

SECONDS = 7.0


class HealsItself(Fault):
    """The packager stands still for seven seconds and goes on by itself."""

    name = "heals-itself"

    def inject(self, stage: Stage) -> None:
        (packager,) = stage.components("package")
        pid = stage.pid_of(packager["process"])
        stage.signal(packager["process"], signal.SIGSTOP)
        words = f"import os, signal, time; time.sleep({SECONDS}); os.kill({pid}, signal.SIGCONT)"
        subprocess.Popen([sys.executable, "-c", words], start_new_session=True)
        self.memory = {"entity": packager["id"], "process": packager["process"]}

    def heal(self, stage: Stage) -> None:
        stage.signal(self.memory["process"], signal.SIGCONT)

    def truth(self) -> Truth:
        entity = self.memory["entity"]
        return Truth(entity, f"{entity}:hang", ("none", "kill-and-restart"), (), (entity, "component:origin"))

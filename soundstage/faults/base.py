"""What a fault is, and the handle it is given. Documented for outsiders in docs/faults.md."""

from __future__ import annotations

import os
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any, ClassVar

import httpx

from soundstage.supervision import Supervisor

CAUSE_KINDS = frozenset(
    (
        *("crash", "hang", "overload", "latency", "loss", "bad-release", "bad-config", "source-silent", "source-loop"),
        *("corrupt-data", "disk-full", "lock", "leak", "expired-certificate", "attack", "planned-work", "data-fault"),
        *("host-starved", "unknown"),
    )
)


@dataclass(frozen=True)
class Stage:
    """A running soundstage, as a fault may touch it."""

    dir: Path
    inventory: dict[str, Any]
    seed: int
    rng: random.Random
    supervisor: Supervisor
    http: httpx.Client

    def components(self, stage: str) -> list[dict[str, Any]]:
        """The inventory's components of one stage: source, ingest, transcode, package, origin or edge."""
        return [component for component in self.inventory["components"] if component["stage"] == stage]

    def pid_of(self, process: str) -> int:
        """The process id of a component's `process`; raises SoundstageError when it does not run."""
        return self.supervisor.pid_of(process)

    def signal(self, process: str, number: int) -> None:
        """Send a signal to a component's process."""
        os.kill(self.pid_of(process), Signals(number))

    def start(self, process: str) -> None:
        """Start a process by the supervisor, unless it runs."""
        if not self.supervisor.running(process):
            self.supervisor.start(process)

    def stop(self, process: str) -> None:
        """Stop a process by the supervisor."""
        self.supervisor.stop(process)

    @property
    def channels(self) -> list[str]:
        """The ids of the channels."""
        return [channel["id"] for channel in self.inventory["channels"]]


@dataclass(frozen=True)
class Truth:
    """What is really the matter.

    entity: the id it happens to. cause: `entity:kind` with a kind of CAUSE_KINDS, or None for what is no fault.
    right, wrong: remedies, each a verb ("restart") or a verb and a target ("restart component:packager"); a verb alone
    is meant for `entity`. path: entity ids from the cause to what hears it; with channels in it, only theirs count.
    """

    entity: str
    cause: str | None
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    path: tuple[str, ...]


class Fault(ABC):
    """One kind of fault. Each injection has an object of its own, made without arguments.

    `memory` is for what `heal` and `truth` must know of `inject`: it is kept as JSON between the commands.
    """

    name: ClassVar[str]
    is_fault: ClassVar[bool] = True

    def __init__(self) -> None:
        self.memory: dict[str, Any] = {}

    @abstractmethod
    def inject(self, stage: Stage) -> None:
        """Let it happen, for real. Choose what to hit by `stage.rng`."""

    @abstractmethod
    def heal(self, stage: Stage) -> None:
        """Take it away, if it is still there; must be harmless when somebody else has mended it."""

    @abstractmethod
    def truth(self) -> Truth:
        """What is really the matter; asked after `inject`."""

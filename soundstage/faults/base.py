"""What a fault is, and the handle it is given. Documented for outsiders in docs/faults.md."""

from __future__ import annotations

import os
import random
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGCONT, Signals
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx

from soundstage import changes
from soundstage.errors import SoundstageError, Unreachable
from soundstage.supervision import Supervisor

CONTROL_WAIT_S = 10.0

CAUSE_KINDS = frozenset(
    (
        *("crash", "hang", "overload", "latency", "loss", "bad-release", "bad-config", "source-silent", "source-loop"),
        *("corrupt-data", "disk-full", "lock", "leak", "expired-certificate", "attack", "planned-work", "data-fault"),
        *("host-starved", "unknown"),
    )
)


def _base(component: dict[str, Any]) -> str:
    return str(component["metrics_url"]).removesuffix("/metrics")


@dataclass(frozen=True)
class Stage:
    """A running soundstage, as a fault may touch it."""

    dir: Path
    inventory: dict[str, Any]
    seed: int
    rng: random.Random
    supervisor: Supervisor
    http: httpx.Client
    announced: dict[str, Any] = field(default_factory=dict)

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

    def thaw(self, process: str) -> None:
        """Let a process that SIGSTOP froze go on; start it if it does not run."""
        self.start(process)
        self.signal(process, SIGCONT)

    def component(self, process: str) -> dict[str, Any]:
        """The inventory's component of a `process`; raises SoundstageError if there is none."""
        for component in self.inventory["components"]:
            if component["process"] == process:
                return dict(component)
        raise SoundstageError(f"the platform has no component whose process is '{process}'")

    def control(self, method: str, url: str, values: object = None) -> Any:
        """A control call with the supervisor's credentials; the answer, read if it is JSON.

        Tried again for CONTROL_WAIT_S while nobody answers: what was started just now may not listen yet.
        Raises Unreachable, SoundstageError with the refusal.
        """
        login = urlsplit(self.announced["supervisor_url"])
        deadline = time.monotonic() + CONTROL_WAIT_S
        while True:
            try:
                answer = self.http.request(method, url, json=values, auth=(login.username or "", login.password or ""))
                break
            except httpx.HTTPError as error:
                if time.monotonic() > deadline:
                    raise Unreachable(f"{method} {url}: {error!r}") from error
                time.sleep(0.2)  # another process can only be asked
        if not answer.is_success:
            raise SoundstageError(f"{method} {url} was refused with {answer.status_code}: {answer.text.strip()[:200]}")
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    def announce(
        self, kind: str, entity: str, summary: str, started: datetime | None = None, ended: datetime | None = None
    ) -> str:
        """Announce a change (release, configuration, maintenance, flag) to the monitoring; its id.

        Where `run` was given no --changes-url it is only written down. Raises SoundstageError, Unreachable.
        """
        change = changes.make(kind, entity, summary, started or datetime.now(UTC), ended)
        url, key_file = self.announced.get("changes_url"), self.announced.get("changes_key_file")
        if url:
            changes.send(self.http, url, Path(key_file) if key_file else None, change)
        changes.keep(self.dir, change, sent=bool(url))
        return str(change["id"])

    def release(self, process: str, values: dict[str, int | float | str], summary: str) -> str:
        """Make a version with `values` of a component's configuration, announce it, and let it run; its name."""
        component = self.component(process)
        url = component["versions"]["url"]
        version = str(self.control("PUT", url, values)["made"])
        self.announce("release", component["id"], summary)
        self.run_version(process, version)
        return version

    def version(self, process: str) -> str:
        """The version of its configuration that a component runs."""
        return str(self.control("GET", self.component(process)["versions"]["url"])["running"])

    def run_version(self, process: str, version: str) -> None:
        """Let a component run a version of its configuration; it is started if it does not run."""
        self.start(process)
        self.control("POST", f"{self.component(process)['versions']['url']}/{version}")

    def switch_input(self, process: str, name: str) -> None:
        """Let an ingest take the input `name`: primary or backup."""
        self.start(process)
        self.control("POST", f"{self.component(process)['inputs']['url']}/{name}")

    def line(self, process: str, *, silent: bool) -> None:
        """Let a source's studio line carry digital silence, or sound again; a restart of the source changes nothing."""
        self.start(process)
        self.control("POST", f"{_base(self.component(process))}/line/{'silent' if silent else 'sound'}")

    def quieten(self, process: str, begin: float, end: float) -> None:
        """Let a source play a quiet passage of music between two moments (Unix seconds)."""
        self.control("POST", f"{_base(self.component(process))}/passage", {"from": begin, "until": end})

    def link(self, edge: str, *, latency: float = 0.0, bandwidth: float | None = None, resets: float = 0.0) -> None:
        """What is wrong between the origin and the edge `edge` (its process): seconds that each request is held back,
        bytes/s of each connection, share of connections that break. Called with nothing, all is well.
        """
        toxics = {"latency": latency, "bandwidth": bandwidth, "resets": resets}
        self.control("POST", f"{self.announced['links_url']}/{edge}", toxics)

    def drain(self, edge: str) -> None:
        """Send no listener to the edge `edge` (its process)."""
        self.control("POST", f"{self.inventory['routing']['url']}/drain/{edge}")

    def admit(self, edge: str) -> None:
        """Send listeners to the edge `edge` again."""
        self.control("POST", f"{self.inventory['routing']['url']}/admit/{edge}")

    def rush(self, share: float, seconds: float) -> None:
        """Let `share` of the players (up to 1.5) listen for `seconds`, if more than at this hour; 0 s ends it."""
        director = self.announced["inventory_url"].removesuffix("/inventory")
        self.control("POST", f"{director}/audience", {"share": share, "seconds": seconds})

    def favour(self, favourite: dict[str, Any]) -> dict[str, Any]:
        """Let the audience favour a channel and rendition for good (soundstage/favourite.py); what it does now."""
        director = self.announced["inventory_url"].removesuffix("/inventory")
        return dict(self.control("POST", f"{director}/audience/favourite", favourite))

    @property
    def channels(self) -> list[str]:
        """The ids of the channels."""
        return [channel["id"] for channel in self.inventory["channels"]]


@dataclass(frozen=True)
class Truth:
    """What is really the matter.

    entity: the id it happens to. cause: `entity:kind` with a kind of CAUSE_KINDS, or None for what is no fault.
    right, wrong: remedies, each a verb ("restart") or a verb and a target ("restart component:packager"); a verb alone
    is meant for `entity`. lasts_s: seconds from the injection after which it is over by itself, if it is.
    path: entity ids from the cause to what hears it; with channels in it, only theirs count.
    """

    entity: str
    cause: str | None
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    path: tuple[str, ...]
    lasts_s: float | None = None


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

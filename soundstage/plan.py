"""The plan of one running soundstage: its processes, ports and folders. Written by `run`, read by every process."""

from __future__ import annotations

import json
import math
import os
import random
import secrets
import socket
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from soundstage.errors import NotRunning, StartFailed

SEGMENT_SECONDS = 2
RATE = 48_000
INPUTS = ("primary", "backup")
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True)
class Rendition:
    """One encoding of a channel: `name` is also its folder."""

    name: str
    codec: str
    bitrate_bps: int

    @property
    def codecs_attribute(self) -> str:
        """The value of CODECS in a master playlist (RFC 6381)."""
        return "opus" if self.codec == "opus" else "mp4a.40.2"


RENDITIONS = (
    Rendition("aac-64", "aac", 64_000),
    Rendition("aac-128", "aac", 128_000),
    Rendition("opus-96", "opus", 96_000),
)


@dataclass(frozen=True)
class Part:
    """One process. `stage` is None for those that are not the operator's (players, links, director)."""

    name: str
    entity: str
    module: str
    stage: str | None
    channel: str | None
    feeds: tuple[str, ...]
    http_port: int
    data_port: int = 0

    @property
    def base_url(self) -> str:
        """Where its HTTP server answers."""
        return f"http://127.0.0.1:{self.http_port}"


@dataclass(frozen=True)
class Plan:
    """All a process must know to start, in any order. `epoch`: Unix seconds of the programme's first sample."""

    folder: Path
    media: Path
    channels: tuple[str, ...]
    players: int
    seed: int
    day_s: float
    epoch: float
    beacon_url: str | None
    beacon_key_file: Path | None
    changes_url: str | None
    changes_key_file: Path | None
    user: str
    password: str
    supervisor_port: int
    parts: tuple[Part, ...]

    def part(self, name: str) -> Part:
        """The process called `name`; KeyError if there is none."""
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(name)

    def log_path(self, name: str) -> Path:
        """Where the process `name` writes its JSON lines."""
        return self.folder / "logs" / f"{name}.jsonl"

    def configuration_path(self, name: str) -> Path:
        """Where the versions of the configuration of the process `name` are kept."""
        return self.folder / "state" / f"{name}.versions.json"

    @property
    def routing_path(self) -> Path:
        """Where the director keeps which edges are drained."""
        return self.folder / "state" / "routing.json"

    @property
    def habit_path(self) -> Path:
        """Where the director keeps what the audience favours."""
        return self.folder / "state" / "habit.json"

    def silent_path(self, name: str) -> Path:
        """The file whose being there makes the studio line of the source `name` silent."""
        return self.folder / "state" / f"{name}.silent"

    @property
    def seats(self) -> int:
        """How many players there may be when more come than on any day."""
        return self.players + math.ceil(self.players / 2)

    @property
    def edges(self) -> tuple[Part, ...]:
        """The edges, in order."""
        return tuple(part for part in self.parts if part.stage == "edge")

    @property
    def records_path(self) -> Path:
        """Where the players write what they did not hear."""
        return self.folder / "players.jsonl"

    def supervisor_url(self, *, credentials: bool) -> str:
        """The supervisor's XML-RPC address."""
        login = f"{self.user}:{self.password}@" if credentials else ""
        return f"http://{login}127.0.0.1:{self.supervisor_port}/RPC2"

    def save(self, path: Path) -> None:
        """Write the plan, readable by its owner alone: it carries the supervisor's password."""
        write_atomically(path, json.dumps(asdict(self), default=str, indent=1).encode(), mode=0o600)

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan back; raises NotRunning when there is none."""
        try:
            values = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise NotRunning(f"no plan at {path}; start a soundstage with `python -m soundstage run`") from error
        key_files = {name: values[name] for name in ("beacon_key_file", "changes_key_file")}
        return cls(
            **{
                **values,
                "folder": Path(values["folder"]),
                "media": Path(values["media"]),
                "channels": tuple(values["channels"]),
                **{name: Path(file) if file else None for name, file in key_files.items()},
                "parts": tuple(Part(**{**part, "feeds": tuple(part["feeds"])}) for part in values["parts"]),
            }
        )


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    part.replace(path)


def free_ports(count: int) -> list[int]:
    """Free TCP ports of 127.0.0.1 below the kernel's ephemeral range.

    Below it, because a stopped component's port must not be taken meanwhile by somebody's outgoing connection.
    """
    try:
        upper = int(EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        upper = 32_768
    candidates = list(range(max(upper - 16_000, 1_100), upper)) if upper > 2_000 else list(range(20_000, 30_000))
    random.SystemRandom().shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise StartFailed(f"no {count} free TCP ports on 127.0.0.1; end what uses them and try again")


def _channel_parts(channel: str, ports: list[int]) -> list[Part]:
    ingest, transcoder = f"component:ingest-{channel}", f"component:transcoder-{channel}"
    entity = f"channel:{channel}"

    def part(name: str, module: str, stage: str, feeds: str, *, data: bool) -> Part:
        return Part(name, f"component:{name}", module, stage, entity, (feeds,), ports.pop(), ports.pop() if data else 0)

    return [
        part(f"source-{channel}-primary", "source", "source", ingest, data=True),
        part(f"source-{channel}-backup", "source", "source", ingest, data=True),
        part(f"ingest-{channel}", "ingest", "ingest", transcoder, data=True),
        part(f"transcoder-{channel}", "transcoder", "transcode", "component:packager", data=False),
    ]


def _parts(channels: tuple[str, ...], ports: list[int]) -> tuple[Part, ...]:
    parts = [part for channel in channels for part in _channel_parts(channel, ports)]
    edges = ("edge:edge-1", "edge:edge-2")
    parts.append(
        Part(
            "packager",
            "component:packager",
            "packager",
            "package",
            None,
            ("component:origin",),
            ports.pop(),
            ports.pop(),
        )
    )
    parts.append(Part("origin", "component:origin", "origin", "origin", None, edges, ports.pop()))
    for edge in edges:
        # An edge's data port is where its link to the origin listens.
        parts.append(Part(edge.partition(":")[2], edge, "edge", "edge", None, (), ports.pop(), ports.pop()))
    parts.append(Part("links", "links", "links", None, None, (), ports.pop()))
    parts.append(Part("players", "players", "players", None, None, (), ports.pop()))
    parts.append(Part("director", "director", "director", None, None, (), ports.pop()))
    return tuple(parts)


def make(
    folder: Path,
    media: Path,
    *,
    channels: int = 2,
    players: int = 20,
    seed: int = 1,
    day_s: float = 90.0,
    beacon_url: str | None = None,
    beacon_key_file: Path | None = None,
    changes_url: str | None = None,
    changes_key_file: Path | None = None,
) -> Plan:
    """Plan a soundstage with free ports and a fresh supervisor password."""
    names = tuple(f"ch{number}" for number in range(1, channels + 1))
    ports = free_ports(channels * 7 + 11)
    supervisor_port = ports.pop()
    return Plan(
        folder=folder,
        media=media,
        channels=names,
        players=players,
        seed=seed,
        day_s=day_s,
        epoch=float(int(time.time())),
        beacon_url=beacon_url,
        beacon_key_file=beacon_key_file,
        changes_url=changes_url,
        changes_key_file=changes_key_file,
        user="soundstage",
        password=secrets.token_hex(16),
        supervisor_port=supervisor_port,
        parts=_parts(names, ports),
    )


def _component(plan: Plan, part: Part) -> dict[str, Any]:
    component: dict[str, Any] = {
        "id": part.entity,
        "stage": part.stage,
        "process": part.name,
        "metrics_url": f"{part.base_url}/metrics",
        "log_path": str(plan.log_path(part.name)),
        "feeds": list(part.feeds),
        "channel": part.channel,
    }
    component["versions"] = {"url": f"{part.base_url}/version"}
    if part.stage == "ingest":
        channel = (part.channel or "").partition(":")[2]
        component["inputs"] = {
            "url": f"{part.base_url}/input",
            "values": list(INPUTS),
            "sources": {name: f"component:source-{channel}-{name}" for name in INPUTS},
        }
    return component


def _channel(channel: str) -> dict[str, Any]:
    return {
        "id": f"channel:{channel}",
        "name": channel,
        "master": f"/{channel}/master.m3u8",
        "renditions": [
            {
                "id": f"rendition:{channel}/{rendition.name}",
                "playlist": f"/{channel}/{rendition.name}/index.m3u8",
                "codec": rendition.codec,
                "bitrate_bps": rendition.bitrate_bps,
            }
            for rendition in RENDITIONS
        ],
    }


def inventory(plan: Plan) -> dict[str, Any]:
    """What the platform says about itself at /inventory (docs/inventory.md)."""
    origin = plan.part("origin")
    return {
        "platform": "soundstage",
        "day": {"seconds": plan.day_s, "started": datetime.fromtimestamp(plan.epoch, UTC).isoformat()},
        "segment_seconds": SEGMENT_SECONDS,
        "components": [_component(plan, part) for part in plan.parts if part.stage],
        "channels": [_channel(channel) for channel in plan.channels],
        "origin": {"id": origin.entity, "base_url": origin.base_url},
        "edges": [{"id": edge.entity, "base_url": edge.base_url} for edge in plan.edges],
        "control": {"kind": "supervisor", "url": plan.supervisor_url(credentials=False)},
        "routing": {"url": f"{plan.part('director').base_url}/routing"},
    }

"""The simulated platform's parts: which there are, what feeds what, and which series each of them tells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from soundstage.plan import RENDITIONS
from soundstage.simulator.kinds import KINDS, OF_RENDITIONS, Kind

#: Parts that share a machine.
PER_HOST = 4
#: A channel, with its share of the edges, tells fewer lines than this: where the search for the smallest begins.
MOST_PER_CHANNEL = 90
_DOMAIN = "simulated.invalid"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the platform, with the fields of the product's Entity. `host`: number of its machine, -1 for none."""

    id: str
    stage: str
    labels: dict[str, str]
    feeds: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    host: int = -1

    @property
    def runs(self) -> bool:
        """Whether it is a process, which can be released and started again."""
        return self.host >= 0


@dataclass(frozen=True, slots=True)
class Line:
    """One series: of which part (its number), and how it moves."""

    part: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Platform:
    """All parts, and the lines that they tell, in the order of (entity, metric, labels)."""

    parts: tuple[Part, ...]
    lines: tuple[Line, ...]
    channels: int
    edges: int

    @property
    def hosts(self) -> int:
        """How many machines there are."""
        return 1 + max(part.host for part in self.parts)

    def name(self, line: int) -> dict[str, Any]:
        """A line as series.json names it."""
        kind, part = self.lines[line].kind, self.parts[self.lines[line].part]
        return {
            "entity": part.id,
            "metric": kind.metric,
            "labels": [list(pair) for pair in kind.labels],
            "unit": kind.unit,
            "kind": "counter" if kind.counter else "gauge",
        }

    def downstream(self, part: int) -> list[tuple[int, int]]:
        """(part, hops) of all that can feel what happens to a part, itself first; parts of another channel cannot."""
        number = {each.id: place for place, each in enumerate(self.parts)}
        feeds: dict[str, list[str]] = {each.id: list(each.feeds) for each in self.parts}
        for each in self.parts:
            for origin in each.depends_on:
                feeds[origin].append(each.id)
        own = _channel(self.parts[part])
        found, queue = {part: 0}, [part]
        for here in queue:
            for target in feeds[self.parts[here].id]:
                place = number[target]
                other = _channel(self.parts[place])
                if place not in found and (own is None or other in (None, own)):
                    found[place] = found[here] + 1
                    queue.append(place)
        return list(found.items())


def _channel(part: Part) -> str | None:
    return part.id if part.stage == "channel" else part.labels.get("channel")


def platform(series: int) -> Platform:
    """The smallest platform that tells at least `series` lines, and of its lines the most telling ones."""
    channels = max(1, series // MOST_PER_CHANNEL)
    while len(_lines(_parts(channels))) < series:
        channels += 1
    parts = tuple(_parts(channels))
    ranked = sorted(enumerate(_lines(parts)), key=lambda item: (item[1][0], item[0]))[:series]
    kept = [line for _, (_, line) in ranked]
    kept.sort(key=lambda line: (parts[line.part].id, line.kind.metric, line.kind.labels))
    edges = sum(part.stage == "edge" for part in parts)
    return Platform(parts, tuple(kept), channels, edges)


def _lines(parts: Iterator[Part] | tuple[Part, ...]) -> list[tuple[int, Line]]:
    """(rank within its part, line) of all parts."""
    parts = tuple(parts)
    renditions: dict[str | None, list[str]] = defaultdict(list)
    for part in parts:
        if part.stage == "rendition":
            for channel in (part.labels["channel"], None):
                renditions[channel].append(part.id.removeprefix("rendition:"))
    found = []
    for number, part in enumerate(parts):
        kinds = list(KINDS[part.stage])
        for kind in OF_RENDITIONS.get(part.stage, ()):
            kinds += [replace(kind, labels=(("rendition", name),)) for name in renditions[_channel(part)]]
        found += [(rank, Line(number, kind)) for rank, kind in enumerate(kinds)]
    return found


def _parts(channels: int) -> Iterator[Part]:
    """The parts, each on a machine with its neighbours."""
    edges = [f"edge:edge-{number}" for number in range(1, 3 + channels // 3)]
    number = 0
    for part in _made(channels, edges):
        if part.stage in ("rendition", "channel"):
            yield part
        else:
            yield replace(part, host=number // PER_HOST)
            number += 1


def _made(channels: int, edges: list[str]) -> Iterator[Part]:
    yield _process("component:origin", "origin", feeds=tuple(edges))
    yield _process("component:packager", "package", feeds=("component:origin",))
    heard = tuple(f"channel:ch{number}" for number in range(1, channels + 1))
    for edge in edges:
        yield _process(edge, "edge")
    for number, channel in enumerate(heard, 1):
        name = f"ch{number}"
        for source in ("primary", "backup"):
            part = f"component:source-{name}-{source}"
            yield _process(part, "source", channel, (f"component:ingest-{name}",))
        yield _process(f"component:ingest-{name}", "ingest", channel, (f"component:transcoder-{name}",))
        yield _process(f"component:transcoder-{name}", "transcode", channel, ("component:packager",))
        renditions = tuple(f"rendition:{name}/{each.name}" for each in RENDITIONS)
        for rendition, each in zip(renditions, RENDITIONS, strict=True):
            labels = {
                "codec": each.codec,
                "bitrate_bps": str(each.bitrate_bps),
                "playlist": f"/{name}/{each.name}/index.m3u8",
                "channel": channel,
            }
            yield Part(rendition, "rendition", labels, (channel,), ("component:origin",))
        labels = {"name": name, "master": f"/{name}/master.m3u8", "cmcd": name}
        yield Part(channel, "channel", labels, (), (*renditions, *edges))


def _process(id_: str, stage: str, channel: str | None = None, feeds: tuple[str, ...] = ()) -> Part:
    process = id_.partition(":")[2]
    labels = {"process": process, "metrics_url": f"http://{process}.{_DOMAIN}/metrics"}
    labels |= {"channel": channel} if channel else {}
    labels |= {"base_url": f"http://{process}.{_DOMAIN}"} if stage in ("origin", "edge") else {}
    labels |= {"cmcd": process} if stage == "edge" else {}
    return Part(id_, stage, labels, feeds)


def inventory(of: Platform) -> dict[str, Any]:
    """The platform as it would publish itself (docs/inventory.md)."""
    servers = [
        {"id": part.id, "base_url": part.labels["base_url"]} for part in of.parts if part.stage in ("origin", "edge")
    ]
    return {
        "platform": "simulated",
        "segment_seconds": 2,
        "components": [
            {
                "id": part.id,
                "stage": part.stage,
                "process": part.labels["process"],
                "metrics_url": part.labels["metrics_url"],
                "feeds": list(part.feeds),
                "channel": part.labels.get("channel"),
            }
            for part in of.parts
            if part.runs
        ],
        "channels": [
            {
                "id": part.id,
                "name": part.labels["name"],
                "master": part.labels["master"],
                "renditions": [
                    {
                        "id": other.id,
                        "playlist": other.labels["playlist"],
                        "codec": other.labels["codec"],
                        "bitrate_bps": int(other.labels["bitrate_bps"]),
                    }
                    for other in of.parts
                    if other.stage == "rendition" and other.labels["channel"] == part.id
                ],
            }
            for part in of.parts
            if part.stage == "channel"
        ],
        "origin": servers[0],
        "edges": servers[1:],
    }

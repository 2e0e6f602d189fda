"""What the watched platform consists of, as it says itself at /inventory (docs/inventory.md)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.http import fetch as fetch_url
from tonewatch.errors import SourceError
from tonewatch.records import ENTITY_ID, Entity

MAX_BYTES = 4 * 1024 * 1024


def _entity_id(value: str) -> str:
    if len(value) > 200 or not ENTITY_ID.fullmatch(value):
        raise ValueError("must be written kind:name, e.g. component:packager")
    return value


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http or https address")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must hold no credentials: an inventory is read by many")
    return value


EntityId = Annotated[str, AfterValidator(_entity_id)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}$")]
#: What is put behind an address to set it: one step of a path.
Value = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class _Part(BaseModel):
    # What a later soundstage adds must not stop an older watcher.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Day(_Part):
    """The platform's day, which the demo compresses."""

    seconds: float = Field(gt=0, allow_inf_nan=False)
    started: datetime


class Inputs(_Part):
    """The inputs between which an ingest can be switched, and which source each of them takes."""

    url: WebAddress
    values: tuple[Value, ...] = Field(min_length=1)
    sources: dict[Value, EntityId] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.values)) != len(self.values):
            raise ValueError("two inputs have the same name")
        for name in self.sources:
            if name not in self.values:
                raise ValueError(f"sources names {name}, which is no input; the inputs are {', '.join(self.values)}")
        if len(set(self.sources.values())) != len(self.sources):
            raise ValueError("two inputs take the same source")
        return self


class Lever(_Part):
    """An address at which something about the platform is asked and set."""

    url: WebAddress


class Component(_Part):
    """A process of the platform."""

    id: EntityId
    stage: Literal["source", "ingest", "transcode", "package", "origin", "edge"]
    process: Name
    metrics_url: WebAddress
    log_path: str | None = None
    feeds: tuple[EntityId, ...] = ()
    channel: EntityId | None = None
    inputs: Inputs | None = None
    versions: Lever | None = None


class Rendition(_Part):
    """One coding of a channel; `playlist` is a path below the origin and every edge."""

    id: EntityId
    playlist: str = Field(pattern=r"^/")
    codec: str
    bitrate_bps: int = Field(gt=0)


class Channel(_Part):
    """A programme; `master` is a path below the origin and every edge."""

    id: EntityId
    name: Name
    master: str = Field(pattern=r"^/")
    renditions: tuple[Rendition, ...]


class Server(_Part):
    """Where playlists and segments are fetched."""

    id: EntityId
    base_url: WebAddress


class Control(_Part):
    """What remedies go through; the credentials are in our settings, never here."""

    kind: Literal["supervisor"]
    url: WebAddress


class Inventory(_Part):
    """The whole platform."""

    platform: str
    day: Day | None = None
    segment_seconds: float = Field(gt=0, allow_inf_nan=False)
    components: tuple[Component, ...] = Field(min_length=1)
    channels: tuple[Channel, ...] = ()
    origin: Server
    edges: tuple[Server, ...] = ()
    control: Control | None = None
    router: Lever | None = Field(None, alias="routing")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ids = [part.id for part in self.components]
        renditions = [rendition.id for channel in self.channels for rendition in channel.renditions]
        known = {*ids, *(channel.id for channel in self.channels), *renditions}
        if len(known) != len(ids) + len(self.channels) + len(renditions):
            raise ValueError("two parts have the same id")
        for part in self.components:
            sources = part.inputs.sources.values() if part.inputs else ()
            for other in (*part.feeds, *([part.channel] if part.channel else []), *sources):
                if other not in known:
                    raise ValueError(f"{part.id} names {other}, which is not in the inventory")
        taken = [source for part in self.components if part.inputs for source in part.inputs.sources.values()]
        if len(set(taken)) != len(taken):
            raise ValueError("two ingests take the same source")
        return self

    @property
    def targets(self) -> dict[str, str]:
        """Entity id -> address of its /metrics."""
        return {part.id: part.metrics_url for part in self.components}

    @property
    def logs(self) -> dict[str, str]:
        """Entity id -> path of its log, where it has one."""
        return {part.id: part.log_path for part in self.components if part.log_path}

    @property
    def processes(self) -> dict[str, str]:
        """Entity id -> name of its process in the supervisor."""
        return {part.id: part.process for part in self.components}

    @property
    def inputs(self) -> dict[str, Inputs]:
        """Entity id of an ingest -> its inputs, where it can be switched."""
        return {part.id: part.inputs for part in self.components if part.inputs}

    @property
    def versions(self) -> dict[str, str]:
        """Entity id -> address of its configuration's versions, where it has some."""
        return {part.id: part.versions.url for part in self.components if part.versions}

    @property
    def routing(self) -> str | None:
        """Address at which edges are drained and admitted, or None."""
        return self.router.url if self.router else None

    def input_of(self, source: str) -> tuple[str, str] | None:
        """The ingest that takes `source` and the name of that input there, or None."""
        for ingest, inputs in self.inputs.items():
            for name, taken in inputs.sources.items():
                if taken == source:
                    return ingest, name
        return None

    def entities(self) -> list[Entity]:
        """Everything as the house's nouns: components as they feed each other; origin -> rendition, edges -> channel.

        A rendition is what the probe hears at the origin, a channel what listeners hear through the edges.
        """
        found = [self._component(part) for part in self.components]
        for channel in self.channels:
            found.append(
                Entity(
                    channel.id,
                    "channel",
                    labels={"name": channel.name, "master": channel.master, "cmcd": channel.name},
                    depends_on=(*(r.id for r in channel.renditions), *(edge.id for edge in self.edges)),
                )
            )
            found.extend(self._rendition(channel, rendition) for rendition in channel.renditions)
        return found

    def _component(self, part: Component) -> Entity:
        labels = {"process": part.process, "metrics_url": part.metrics_url}
        labels |= {"log_path": part.log_path} if part.log_path else {}
        labels |= {"channel": part.channel} if part.channel else {}
        servers = {server.id: server.base_url for server in (self.origin, *self.edges)}
        labels |= {"base_url": servers[part.id]} if part.id in servers else {}
        if part.stage == "edge":
            labels["cmcd"] = part.process
        return Entity(part.id, part.stage, labels=labels, feeds=part.feeds)

    def _rendition(self, channel: Channel, rendition: Rendition) -> Entity:
        labels = {
            "codec": rendition.codec,
            "bitrate_bps": str(rendition.bitrate_bps),
            "playlist": rendition.playlist,
            "channel": channel.id,
        }
        return Entity(rendition.id, "rendition", labels=labels, feeds=(channel.id,), depends_on=(self.origin.id,))


async def fetch(client: httpx.AsyncClient, url: str, *, timeout: float = 5.0, max_bytes: int = MAX_BYTES) -> Inventory:
    """Read and check the inventory at `url`.

    Raises SourceError: it cannot be had, or what is there is no inventory; the message names the first faults.
    """
    try:
        _web_address(url)
    except ValueError as error:
        raise SourceError(f"the inventory's address {error}", kind="address") from error
    fetched = await fetch_url(client, url, deadline_s=timeout, max_bytes=max_bytes)
    return read(fetched.content, url)


def read(content: bytes, origin: str = "the text") -> Inventory:
    """Check an inventory's JSON. Raises SourceError (unreadable)."""
    try:
        return Inventory.model_validate_json(content)
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc']) or 'inventory'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)[:3]
        ]
        raise SourceError(f"{origin} is no inventory: {'; '.join(faults)}") from error

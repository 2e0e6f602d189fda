"""What `tonewatch connect icecast | hls` heard, in words and as a document, and the change of settings it comes to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from console.tenancy import Change
from tasks.audition import Auditioned, Stream, audition_hls, audition_icecast
from tonewatch.errors import SettingsError

#: What a remedy would need, by what it would do: nothing of it is asked for by connecting.
NEEDED = (
    ("restart, kill-and-restart", "a server or source client that has crashed or hangs", "your supervisord"),
    ("switch-input", "a source that is silent", "an ingest whose inputs can be switched"),
    ("drain", "a server that is slow", "a balancer that can be told where listeners go"),
    ("rollback", "a release or configuration that broke it", "a lever for the versions of its configuration"),
)


@dataclass(frozen=True, slots=True)
class HeardStation:
    """A station that was heard."""

    kind: str  # icecast, hls
    found: Auditioned

    def document(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "kind": self.kind,
            "url": self.found.url,
            "server": self.found.server,
            "channels": [asdict(stream) for stream in self.found.streams],
            "listeners": self._listeners(),
            "entities": self.found.entities,
            "remarks": self.found.remarks,
            "settings": self.found.sources.model_dump(mode="json", exclude_none=True),
            "acts": "propose only",
            "needed": [{"runbook": name, "for": what, "needs": needs} for name, what, needs in NEEDED],
        }

    def text(self) -> str:
        """For people."""
        found, listeners = self.found, self._listeners()
        count = len(found.streams)
        told = "who listens is not said" if listeners is None else f"{listeners} listeners now"
        lines = [f"{found.server} at {found.url}", f"  {count} channel{'s' * (count != 1)}; {told}"]
        for stream in found.streams:
            lines += _stream_lines(stream)
        lines.append(f"  {len(found.entities)} entities proposed: {', '.join(found.entities)}")
        lines += [f"  note: {remark}" for remark in found.remarks]
        lines += self._follows()
        return "\n".join(lines)

    def _follows(self) -> list[str]:
        source = self.found.sources.icecast or self.found.sources.hls
        seconds = source.silence_seconds if source else 0
        return [
            f"You would be told of: a stream that is away, frozen or not to be decoded, {seconds:g} s of silence"
            + (", a mount that is gone, half the listeners lost." if self.kind == "icecast" else "."),
            "There is no history to look back on. Nothing acts by itself; a remedy would need a grant of yours and",
            *(f"  {needs}: for {name} ({what})" for name, what, needs in NEEDED),
            "  which an inventory names (docs/inventory.md, docs/guardrails.md).",
        ]

    def _listeners(self) -> int | None:
        known = [stream.listeners for stream in self.found.streams if stream.listeners is not None]
        return sum(known) if known else None

    def change(self) -> Change:
        """The change of settings that connects it."""
        written = self.found.sources.model_dump(mode="json", exclude_none=True)[self.kind]
        # JSON is YAML: what another run wrote is replaced as a whole, key by key.
        return Change(set=tuple(f"sources.{self.kind}.{key}={json.dumps(value)}" for key, value in written.items()))


def _stream_lines(stream: Stream) -> list[str]:
    rate = f" {stream.kbps} kbit/s" if stream.kbps else ""
    people = "" if stream.listeners is None else f", {stream.listeners} listeners"
    since = f", on air since {stream.since}" if stream.since else ""
    heard = f"heard {stream.heard_s:g} s: {stream.lufs} LUFS" if not stream.error else f"not heard: {stream.error}"
    if stream.silence_s:
        heard += f", silent for the last {stream.silence_s:g} s"
    title = f", {stream.title!r}" if stream.title else ""
    return [f"  {stream.path}  {stream.codec}{rate}{people}{since}", f"      {heard}{title}"]


def hear_icecast(url: str, seconds: float, silence_s: float, mounts: Sequence[str]) -> HeardStation:
    """Ask the Icecast at `url` and listen to its mounts. Raises SourceError, SettingsError."""
    return _heard("icecast", audition_icecast(url, seconds, silence_s, mounts))


def hear_hls(url: str, seconds: float, silence_s: float, hosts: Sequence[str]) -> HeardStation:
    """Read the playlist at `url` and listen to its renditions. Raises SourceError, SettingsError."""
    return _heard("hls", audition_hls(url, seconds, silence_s, hosts))


def _heard(kind: str, audition: Coroutine[Any, Any, Auditioned]) -> HeardStation:
    try:
        return HeardStation(kind, asyncio.run(audition))
    except ValidationError as error:
        raise SettingsError(f"this cannot be written into settings: {error.errors()[0]['msg']}") from error

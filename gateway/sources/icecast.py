"""Icecast's public status, /status-json.xsl: which mounts there are, how many listen, what is on.

Its JSON is made by a style sheet and is not always JSON: one mount is an object, several are a list and none is
nothing; a title that looks like a number is one; keys come twice; quotes, control signs and Latin-1 come as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from gateway.hosts import host_of
from gateway.http import Session, fetch
from gateway.sources.id3 import printable
from tonewatch.errors import SourceError

STATUS = "/status-json.xsl"
MAX_BYTES = 2 * 1024 * 1024
MAX_MOUNTS = 500
#: Pages of Icecast itself that people paste instead of its address.
_PAGES = (STATUS, "/status.xsl", "/server_version.xsl", "/admin/")
_PATH = re.compile(r"/[^/\s?#][^\s?#]{0,198}")
#: A server that has just started leaves a brace out: {"icestats":"server_start":...
_BRACE = re.compile(r'(?<="icestats":)\s*(?="\w+"\s*:)')
#: A value that a broken style sheet left out or wrote without quotes: -, or nothing.
_BARE = re.compile(r'(?<=":)\s*-?\s*(?=[,}])')
#: A string in which quotes stand as they are: it ends where the next key begins, or the object.
_QUOTED = re.compile(r'(?<=":)"(.*?)"(?=\s*(?:,\s*"[\w-]+"\s*:|\}))', re.DOTALL)
_QUOTE = re.compile(r'(?<!\\)"')


@dataclass(frozen=True, slots=True)
class Mount:
    """One stream. `elsewhere`: the host that its own address names, if it is not the one that was asked."""

    path: str
    listeners: int = 0
    bitrate_kbps: int | None = None
    content_type: str = ""
    started: datetime | None = None
    title: str = ""
    name: str = ""
    elsewhere: str = ""

    @property
    def codec(self) -> str:
        """What it sends, for people."""
        return _CODECS.get(self.content_type, self.content_type or "unknown")


_CODECS = {
    "audio/mpeg": "MP3",
    "audio/aac": "AAC",
    "audio/aacp": "AAC+",
    "application/ogg": "Ogg",
    "audio/ogg": "Ogg",
    "audio/opus": "Opus",
}


@dataclass(frozen=True, slots=True)
class IcecastStatus:
    """What a server said. `mounts` by path; `passed_over`: how many entries told no mount that can be read."""

    server: str
    mounts: tuple[Mount, ...]
    passed_over: int = 0


def base_of(url: str) -> str:
    """The server's address in `url`, which may also name one of its pages or mounts; user and password are dropped.

    Raises SourceError.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SourceError(f"{url!r} is no address: {error}", kind="address") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SourceError("the address of Icecast must begin with http:// or https://", kind="address")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path
    for page in _PAGES:
        path = path.partition(page)[0]
    # What is behind the last slash is a mount; a server behind a path of a proxy ends with one.
    folder = path.rpartition("/")[0] if not path.endswith("/") else path.rstrip("/")
    return urlunsplit((parts.scheme, f"{host}:{port}" if port else host, folder, "", ""))


async def fetch_status(session: Session, base: str, *, deadline_s: float = 5.0) -> IcecastStatus:
    """Ask the server at `base` for its status. Raises SourceError: it cannot be had, or is none."""
    url = base.rstrip("/") + STATUS
    fetched = await fetch(session, url, deadline_s=deadline_s, max_bytes=MAX_BYTES)
    return read(fetched.content, url)


def read(content: bytes, url: str) -> IcecastStatus:
    """The status in `content`, which came from `url`. Raises SourceError: it is none."""
    document = _parsed(content)
    stats = document.get("icestats") if isinstance(document, dict) else None
    if not isinstance(stats, dict):
        raise SourceError(f"{url} gives no status of an Icecast server: is it one, and 2.4 or later?")
    told = stats.get("source") or []
    entries = [told] if isinstance(told, dict) else told if isinstance(told, list) else []
    found: dict[str, Mount] = {}
    passed_over = 0
    for entry in entries[:MAX_MOUNTS]:
        mount = _mount(entry, host_of(url)) if isinstance(entry, dict) else None
        if mount is None:
            passed_over += isinstance(entry, dict) and "listenurl" in entry
        else:
            found[mount.path] = mount
    mounts = tuple(found[path] for path in sorted(found))
    return IcecastStatus(_text(stats.get("server_id")) or "Icecast", mounts, passed_over)


def _parsed(content: bytes) -> Any:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    for attempt in (text, _mended(text)):
        with suppress(ValueError, RecursionError):
            # strict: control signs may stand in a title.
            return json.loads(attempt, strict=False, object_pairs_hook=_last_that_says_something)
    return None


def _mended(text: str) -> str:
    text = _BARE.sub("null", _BRACE.sub("{", text))
    return _QUOTED.sub(lambda found: '"' + _QUOTE.sub(r"\"", found[1]) + '"', text)


def _last_that_says_something(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key that stands twice the last value that is not empty."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key not in found or value not in (None, "", []):
            found[key] = value
    return found


def _mount(entry: Mapping[str, Any], asked: str) -> Mount | None:
    listed = _text(entry.get("listenurl"))
    # Its host and port are what the server's configuration says, often localhost: only the path is of use.
    path = urlsplit(listed).path if host_of(listed) else listed
    if not _PATH.fullmatch(path):
        return None
    host = host_of(listed)
    title = " - ".join(text for text in (_text(entry.get("artist")), _text(entry.get("title"))) if text)
    return Mount(
        path=path,
        listeners=_count(entry.get("listeners")) or 0,
        bitrate_kbps=_kbps(entry),
        content_type=_text(entry.get("server_type")).partition(";")[0].strip().lower(),
        started=_moment(_text(entry.get("stream_start_iso8601"))),
        title=title or _text(entry.get("yp_currently_playing")),
        name=_text(entry.get("server_name")).replace("Unspecified name", ""),
        elsewhere=host if host not in ("", asked) else "",
    )


def _kbps(entry: Mapping[str, Any]) -> int | None:
    """Source clients write it under several names and in either unit."""
    for key in ("bitrate", "ice-bitrate", "audio_bitrate"):
        if number := _count(entry.get(key)):
            return number // 1000 if number >= 8000 else number
    return None


def _count(value: object) -> int | None:
    """A whole number, also one that is written as text; of 128;96 or 1.5 what stands first."""
    found = re.match(r"\s*(\d{1,12})", str(value)) if isinstance(value, str | int | float) else None
    return int(found[1]) if found and not isinstance(value, bool) else None


def _moment(text: str) -> datetime | None:
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else None
    return None


def _text(value: object) -> str:
    """Whatever the style sheet made of a text: numbers and lists of the same are texts too."""
    if isinstance(value, list):
        value = next((each for each in value if each), None)
    return printable(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""

"""ID3v2 tags in front of packed audio: the timestamp HLS demands (RFC 8216 3.4) and the texts people read. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

TIMESTAMP_OWNER = b"com.apple.streaming.transportStreamTimestamp"
_CLOCK = 90_000
_HEADER = 10
_ENCODINGS = {0: "latin-1", 1: "utf-16", 2: "utf-16-be", 3: "utf-8"}
_NAMES = {"TIT2": "title", "TPE1": "artist", "TALB": "album", "TRSN": "station"}
_LONGEST_TEXT = 300


@dataclass(frozen=True, slots=True)
class Id3:
    """What the tags said. `timestamp_s`: seconds modulo 2**33 / 90000."""

    timestamp_s: float | None = None
    texts: Mapping[str, str] = field(default_factory=dict)


def read_id3(data: bytes) -> tuple[Id3, bytes]:
    """The leading tags and the bytes after them; a damaged tag gives what could be read of it."""
    timestamp: float | None = None
    texts: dict[str, str] = {}
    while data[:3] == b"ID3" and len(data) >= _HEADER:
        size = _syncsafe(data[6:10])
        for name, value in _frames(data[_HEADER : _HEADER + size], version=data[3]):
            if name == "PRIV" and value.startswith(TIMESTAMP_OWNER + b"\0"):
                timestamp = (int.from_bytes(value[-8:], "big") & (2**33 - 1)) / _CLOCK
            elif name in _NAMES and value:
                texts[_NAMES[name]] = _text(value)
        data = data[_HEADER + size + (_HEADER if data[5] & 0x10 else 0) :]
    return Id3(timestamp, texts), data


def _frames(body: bytes, version: int) -> Iterator[tuple[str, bytes]]:
    while len(body) >= _HEADER and body[0] != 0:
        size = _syncsafe(body[4:8]) if version >= 4 else int.from_bytes(body[4:8], "big")
        yield body[:4].decode("latin-1"), body[_HEADER : _HEADER + size]
        body = body[_HEADER + size :]


def _text(value: bytes) -> str:
    text = value[1:].decode(_ENCODINGS.get(value[0], "latin-1"), errors="replace")
    return printable(text)


def printable(text: str) -> str:
    """Foreign text made fit for a terminal: no control characters, not endless."""
    return "".join(sign for sign in text if sign.isprintable())[:_LONGEST_TEXT].strip()


def _syncsafe(four: bytes) -> int:
    size = 0
    for byte in four:
        size = size << 7 | byte & 0x7F
    return size

"""Ogg pages to packets as they arrive (RFC 3533), and the headers of the codecs that radio sends in them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.sources.id3 import printable

_PAGE_HEADER = 27
_CONTINUED, _BEGINS = 1, 2
#: A packet that grows beyond this is no sound.
_LARGEST_PACKET = 1024 * 1024
_MAX_COMMENTS = 64


@dataclass(frozen=True, slots=True)
class OggPacket:
    """One packet; `begins`: the first of a logical stream (radio starts a new one with each title)."""

    data: bytes
    begins: bool


class OggReader:
    """Cuts a byte stream into packets; bytes that are no page are skipped."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._partial = bytearray()

    def feed(self, data: bytes) -> Iterator[OggPacket]:
        """The packets that are complete with `data`."""
        self._buffer += data
        while (page := self._next_page()) is not None:
            yield from self._packets(*page)

    def _next_page(self) -> tuple[int, bytes, bytes] | None:
        """Flags, lacing and body of the next whole page."""
        at = self._buffer.find(b"OggS")
        if at < 0:
            del self._buffer[:-3]
            return None
        del self._buffer[:at]
        if len(self._buffer) < _PAGE_HEADER:
            return None
        body_at = _PAGE_HEADER + self._buffer[26]
        lacing = bytes(self._buffer[_PAGE_HEADER:body_at])
        if len(self._buffer) < body_at or len(self._buffer) < body_at + sum(lacing):
            return None
        flags, body = self._buffer[5], bytes(self._buffer[body_at : body_at + sum(lacing)])
        del self._buffer[: body_at + sum(lacing)]
        return flags, lacing, body

    def _packets(self, flags: int, lacing: bytes, body: bytes) -> Iterator[OggPacket]:
        if not flags & _CONTINUED:
            self._partial.clear()
        at, begins = 0, bool(flags & _BEGINS)
        for length in lacing:
            self._partial += body[at : at + length]
            at += length
            if length < 255:
                yield OggPacket(bytes(self._partial), begins)
                self._partial.clear()
                begins = False
            elif len(self._partial) > _LARGEST_PACKET:
                self._partial.clear()


@dataclass(frozen=True, slots=True)
class OggCodec:
    """What a stream's first packet says. `headers`: how many packets come before sound, this one included."""

    name: str  # FFmpeg's
    headers: int


def codec_of(first: bytes) -> OggCodec | None:
    """The codec of a logical stream; None for one that radio does not send."""
    if first.startswith(b"OpusHead"):
        return OggCodec("opus", 2)
    if first.startswith(b"\x01vorbis"):
        return OggCodec("vorbis", 3)
    if first.startswith(b"\x7fFLAC") and len(first) >= 13:
        return OggCodec("flac", 1 + int.from_bytes(first[7:9], "big"))
    return None


def extradata(codec: OggCodec, headers: list[bytes]) -> bytes:
    """The headers as FFmpeg's decoders want them."""
    if codec.name == "opus":
        return headers[0]
    if codec.name == "flac":
        return headers[0][17:51]
    lacing = bytearray([2])
    for header in headers[:2]:
        lacing += b"\xff" * (len(header) // 255) + bytes([len(header) % 255])
    return bytes(lacing) + b"".join(headers)


def comments(header: bytes) -> dict[str, str]:
    """Title, artist and the like from an Opus, Vorbis or FLAC comment header; what is damaged is left out."""
    for magic in (b"OpusTags", b"\x03vorbis"):
        header = header.removeprefix(magic)
    if header[:1] == b"\x84" or header[:1] == b"\x04":  # FLAC: a metadata block of type 4
        header = header[4:]
    found: dict[str, str] = {}
    at = 4 + int.from_bytes(header[:4], "little")
    count = min(int.from_bytes(header[at : at + 4], "little"), _MAX_COMMENTS)
    at += 4
    for _ in range(count):
        length = int.from_bytes(header[at : at + 4], "little")
        name, _, value = header[at + 4 : at + 4 + length].decode("utf-8", errors="replace").partition("=")
        at += 4 + length
        if name.lower() in {"title", "artist", "album"} and value:
            found[name.lower()] = printable(value)
    return found

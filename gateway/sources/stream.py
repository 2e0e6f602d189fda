"""Sound as one long HTTP answer: MP3, AAC or Ogg, with ICY metadata (SHOUTcast, Icecast), or a file.

It is read no faster than it plays; a live server's first burst is taken as it comes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import av
import httpx

from gateway.http import Stream, stream
from gateway.sources.decode import Pcm, join, to_pcm
from gateway.sources.id3 import printable
from gateway.sources.ogg import OggCodec, OggReader, codec_of, comments, extradata
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import SourceError

#: How far reading may run ahead of playing (seconds): a file, and a live stream whose server sends a burst at first.
#: Icecast's are 64 KiB, half a minute at 16 kbit/s; whoever held it back would hear everything that much later.
FILE_AHEAD_S = 2.0
LIVE_AHEAD_S = 60.0
#: A stream that brings nothing for so long has broken off. In silence Ogg Vorbis sends one page in six seconds.
SILENT_S = 15.0
LONGEST_GAP_S = 1.0
#: So much is looked at to tell what a stream is.
SNIFFED = 4096
#: PyAV's packet is generic in the stream it came from; ours come from none.
Packet: TypeAlias = "av.Packet[Any]"
_ICY_TITLE = re.compile(r"StreamTitle='(.*?)';", re.DOTALL)
_CODECS = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/aac": "aac", "audio/aacp": "aac", "audio/x-aac": "aac"}


class IcyReader:
    """Takes the metadata blocks out of a stream that carries one every `interval` bytes (0: none)."""

    def __init__(self, interval: int) -> None:
        self._interval, self._until_block = interval, interval
        self._block: bytearray | None = None  # being read; None while in sound
        self._block_size = 0
        self.title = ""

    def feed(self, data: bytes) -> bytes:
        """The sound in `data`; `title` is updated on the way."""
        if not self._interval:
            return data
        sound = bytearray()
        while data:
            data = self._read_sound(data, sound) if self._block is None else self._read_block(data, self._block)
        return bytes(sound)

    def _read_sound(self, data: bytes, sound: bytearray) -> bytes:
        if self._until_block:
            sound += data[: self._until_block]
            taken = min(len(data), self._until_block)
            self._until_block -= taken
            return data[taken:]
        self._block, self._block_size = bytearray(), data[0] * 16
        self._close_full_block()
        return data[1:]

    def _read_block(self, data: bytes, block: bytearray) -> bytes:
        taken = min(len(data), self._block_size - len(block))
        block += data[:taken]
        self._close_full_block()
        return data[taken:]

    def _close_full_block(self) -> None:
        if self._block is None or len(self._block) < self._block_size:
            return
        if title := _ICY_TITLE.search(_text(bytes(self._block))):
            self.title = printable(title[1])
        self._block, self._until_block = None, self._interval


def _text(block: bytes) -> str:
    """Nothing says which characters a block is written in: UTF-8 today, Latin-1 by older source clients."""
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError:
        return block.decode("latin-1")


class StreamDecoder:
    """Decodes an endless stream as it comes. `codec`: mp3, aac, or ogg until its first packet names one."""

    def __init__(self, codec: str) -> None:
        self.codec = codec
        self.errors = 0
        self.metadata: dict[str, str] = {}
        self._ogg = OggReader() if codec == "ogg" else None
        self._context = None if codec == "ogg" else av.CodecContext.create(codec, "r")
        self._header: OggCodec | None = None
        self._headers: list[bytes] = []
        self._heard = False

    def feed(self, data: bytes) -> Pcm | None:
        """The sound that is complete with `data`. What cannot be decoded is counted, once there has been sound."""
        blocks: list[Pcm] = []
        # A chunk that was all metadata: to the parser nothing would be the end, and it would break a frame in two.
        for packet in self._packets(data) if data else ():
            try:
                blocks += [to_pcm(frame) for frame in self._decode(packet)]
            except (av.FFmpegError, ValueError):
                self.errors += self._heard  # whoever joins in mid-stream finds half a frame first
        self._heard = self._heard or bool(blocks)
        return join(blocks)

    def _decode(self, packet: Packet) -> list[av.AudioFrame]:
        if not isinstance(self._context, av.AudioCodecContext):
            return []
        return list(self._context.decode(packet))

    def _packets(self, data: bytes) -> Iterator[Packet]:
        """One at a time: between two of them a new title may bring a new decoder."""
        if self._ogg is None:
            yield from self._context.parse(data) if self._context is not None else ()
            return
        for packet in self._ogg.feed(data):
            if (sound := self._sound_of(packet.data, packet.begins)) is not None:
                yield sound

    def _sound_of(self, data: bytes, begins: bool) -> Packet | None:
        """An Ogg packet of sound; headers open the decoder and give the texts instead."""
        if begins:
            self._header, self._headers, self._context = codec_of(data), [], None
        if self._header is None:
            return None
        if self._context is not None:
            return av.Packet(data) if data else None
        self._headers.append(data)
        self.metadata |= comments(data) if len(self._headers) == 2 else {}
        if len(self._headers) == self._header.headers:
            self.codec = self._header.name
            self._context = av.CodecContext.create(self.codec, "r")
            self._context.extradata = extradata(self._header, self._headers)
        return None


class StreamProbe:
    """Hears the stream at `url` through `sound()`, and knows how its playing goes."""

    def __init__(self, url: str, session: httpx.AsyncClient, *, clock: Clock = SYSTEM, timeout_s: float = 5.0) -> None:
        self.url = url
        self.live = False
        self.codec = ""
        self.errors = 0
        self.metadata: dict[str, str] = {}
        self.received_s = 0.0
        self.starved_s = 0.0  # for how long sound was due and absent, all stalls together
        self.arrived: float | None = None  # monotonic, when the last bytes came
        self.undecoded_s = 0.0  # for how long bytes have come that gave no sound
        self._session, self._clock, self._timeout_s = session, clock, timeout_s
        self._began: float | None = None  # monotonic; moved on by each stall, as a player's clock stops

    @property
    def buffer_s(self) -> float:
        """Seconds of sound received and not yet played; negative: for how long it has been due and absent."""
        return 0.0 if self._began is None else self.received_s - (self._clock.monotonic() - self._began)

    async def sound(self) -> AsyncIterator[Pcm]:
        """Sound as it is received, paced by playing. Raises SourceError: unreachable, broken off, not audio."""
        headers = {"icy-metadata": "1", "accept": "*/*"}
        async with stream(self._session, self.url, deadline_s=self._timeout_s, headers=headers) as answer:
            self._note_headers(answer.headers)
            icy = IcyReader(_interval(answer.headers))
            decoder: StreamDecoder | None = None
            async for chunk in answer.chunks():
                gap, self.arrived = self._clock.monotonic() - (self.arrived or 0.0), self._clock.monotonic()
                data = icy.feed(chunk)
                decoder = decoder or StreamDecoder(codec_of_stream(answer, data))
                pcm = await asyncio.to_thread(decoder.feed, data)
                # A gap in which nothing came is none in which nothing could be decoded.
                self.undecoded_s = 0.0 if pcm is not None else self.undecoded_s + min(gap, LONGEST_GAP_S)
                self._note_sound(decoder, icy, pcm)
                if pcm is not None:
                    yield pcm
                await self._pace()

    def _note_headers(self, headers: Mapping[str, str]) -> None:
        # Icecast says nothing of itself in icy-... for an Ogg stream without a name.
        radio = any(name.startswith("icy-") for name in headers) or "icecast" in headers.get("server", "").lower()
        self.live = radio and "content-length" not in headers
        for name, key in (("icy-name", "station"), ("icy-genre", "genre"), ("icy-br", "bitrate_kbps")):
            if headers.get(name):
                self.metadata[key] = printable(headers[name])

    def _note_sound(self, decoder: StreamDecoder, icy: IcyReader, pcm: Pcm | None) -> None:
        self.codec, self.errors = decoder.codec, decoder.errors
        self.metadata |= decoder.metadata | ({"title": icy.title} if icy.title else {})
        if pcm is None:
            return
        if self._began is None:
            self._began = self._clock.monotonic()
        if self.buffer_s < 0:
            self.starved_s -= self.buffer_s
            self._began -= self.buffer_s
        self.received_s += pcm.seconds

    async def _pace(self) -> None:
        ahead = self.buffer_s - (LIVE_AHEAD_S if self.live else FILE_AHEAD_S)
        if ahead > 0:
            await asyncio.sleep(ahead)


def codec_of_stream(answer: Stream, first: bytes) -> str:
    """mp3, aac or ogg, by the first bytes or the declared type. Raises SourceError when it is none of them."""
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if first.startswith(b"OggS") or media_type in {"application/ogg", "audio/ogg", "audio/opus"}:
        return "ogg"
    if media_type in _CODECS:
        return _CODECS[media_type]
    if len(first) > 1 and first[0] == 0xFF and first[1] & 0xF6 == 0xF0:
        return "aac"
    if first.startswith(b"ID3") or (len(first) > 1 and first[0] == 0xFF and first[1] & 0xE0 == 0xE0):
        return "mp3"
    shown = f"content type {media_type!r}" if media_type else f"it begins with {first[:20]!r}"
    raise SourceError(f"{answer.url} is neither HLS nor an MP3, AAC or Ogg stream: {shown}")


def _interval(headers: Mapping[str, str]) -> int:
    text = headers.get("icy-metaint", "0")
    return int(text) if text.isdecimal() and len(text) < 9 else 0


async def first_bytes(session: httpx.AsyncClient, url: str, *, timeout_s: float = 5.0) -> tuple[str, bytes]:
    """Content type and first bytes of what is at `url`, to tell a playlist from a stream. Raises SourceError."""
    async with stream(session, url, deadline_s=timeout_s) as answer:
        begin = b""
        # What trickles in, a silent Ogg stream say, is told by what there is of it.
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                async for chunk in answer.chunks():
                    begin += chunk
                    if len(begin) >= SNIFFED:
                        break
        return answer.headers.get("content-type", "").partition(";")[0].strip().lower(), begin[:SNIFFED]

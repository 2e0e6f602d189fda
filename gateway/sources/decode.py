"""Encoded sound to PCM with PyAV: a segment at once, whatever state it is in. What is broken is counted, not raised."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import av
import numpy as np
from numpy.typing import NDArray

from gateway.sources.id3 import Id3, read_id3
from tonewatch.errors import SourceError

#: No segment lasts longer; more is a decompression bomb.
MAX_SECONDS = 120.0
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Pcm:
    """Sound. `samples`: float32, shape (frames, channels), full scale 1.0."""

    rate: int
    samples: NDArray[np.float32]

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.rate


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came out of one segment. `pcm` is None when nothing did; `errors`: packets that could not be decoded."""

    pcm: Pcm | None
    errors: int = 0
    codec: str = ""
    timestamp_s: float | None = None  # ID3 transport stream timestamp of packed audio, seconds modulo 2**33 / 90000
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How much sound came out."""
        return self.pcm.seconds if self.pcm is not None else 0.0


def decode(data: bytes, init: bytes = b"") -> Decoded:
    """Decode one segment that stands alone; see SegmentDecoder."""
    return SegmentDecoder().decode(data, init)


class SegmentDecoder:
    """Decodes the segments of one rendition, carrying the codec's state from each to the next.

    A transform codec begun anew in mid-stream gives a wrong first frame, whose peaks are not in the programme.
    """

    def __init__(self) -> None:
        self._context: av.AudioCodecContext | None = None
        self._kind: tuple[object, ...] = ()

    def decode(self, data: bytes, init: bytes = b"", *, follows: bool = False) -> Decoded:
        """Decode a segment (`init`: its EXT-X-MAP section); `follows`: it continues the one decoded before.

        Truncated or damaged data gives what can be had of it.
        Raises SourceError when the bytes are no audio at all (an HTML page, nothing).
        """
        tag, audio = read_id3(data)
        kind = container_of(init or audio)
        if kind is None:
            raise SourceError(f"not audio: the segment begins with {data[:_SHOWN]!r}" if data else "an empty segment")
        try:
            with av.open(io.BytesIO(init + audio), mode="r", format=kind) as container:
                return self._decode(container, tag, follows)
        except (av.FFmpegError, ValueError) as error:  # ValueError: PyAV's word for a stream without parameters
            raise SourceError(f"not decodable as {kind}: {error}") from error

    def _decode(self, container: av.container.InputContainer, tag: Id3, follows: bool) -> Decoded:
        if not container.streams.audio:
            raise SourceError("the segment holds no audio stream")
        stream = container.streams.audio[0]
        context, anew = self._context_for(stream, follows)
        blocks: list[Pcm] = []
        errors, seconds = 0, 0.0
        for frames in _frames(container, stream, context):
            if frames is None:
                errors += 1
                continue
            blocks += [_faded_in(block) for block in frames] if anew and not blocks else frames
            seconds += sum(block.seconds for block in frames)
            if seconds > MAX_SECONDS:
                errors += 1
                break
        if errors:
            self._context = None
        return Decoded(join(blocks), errors, context.name, tag.timestamp_s, {**container.metadata, **tag.texts})

    def _context_for(self, stream: av.AudioStream, follows: bool) -> tuple[av.AudioCodecContext, bool]:
        """The codec to decode `stream` with, and whether it begins anew."""
        fresh = stream.codec_context
        kind = (fresh.name, fresh.sample_rate, fresh.layout.nb_channels, fresh.extradata)
        if follows and self._context is not None and kind == self._kind:
            return self._context, False
        self._context, self._kind = fresh, kind
        return fresh, True


def container_of(data: bytes) -> str | None:
    """FFmpeg's name of the container, from the first bytes alone.

    FFmpeg is never left to guess: some of its formats (playlists, concatenations) would open other files and addresses.
    """
    if len(data) < 8:
        return None
    if data[4:8] in {b"ftyp", b"styp", b"moof", b"moov", b"sidx", b"emsg"}:
        return "mp4"
    if data[:4] in _MAGIC:
        return _MAGIC[data[:4]]
    if data[:2] == b"\x0b\x77":
        return "ac3"
    if data[0] == 0xFF and data[1] & 0xE0 == 0xE0:
        return "aac" if data[1] & 0xF6 == 0xF0 else "mp3"
    return "mpegts" if data[0] == 0x47 and (len(data) <= 188 or data[188] == 0x47) else None


_MAGIC = {b"OggS": "ogg", b"fLaC": "flac", b"RIFF": "wav"}


def _frames(
    container: av.container.InputContainer, stream: av.AudioStream, context: av.AudioCodecContext
) -> Iterator[list[Pcm] | None]:
    """The PCM of each packet; None for a packet that could not be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:  # the container itself is damaged here: nothing further can be found in it
            yield None
            return
        if packet is None:
            return
        if not packet.size:  # asks the codec to end, but the next segment goes on with it
            continue
        try:
            yield [to_pcm(frame) for frame in context.decode(packet)]
        except (av.FFmpegError, ValueError):
            yield None


def _faded_in(block: Pcm) -> Pcm:
    """The first frame of a codec begun anew lacks what overlaps it: its wrong peaks are taken down."""
    return Pcm(block.rate, block.samples * np.linspace(0, 1, len(block.samples), dtype=np.float32)[:, None])


def to_pcm(frame: av.AudioFrame) -> Pcm:
    """One decoded frame as float32 (frames, channels), whatever its sample format; ValueError on an unknown one."""
    array = frame.to_ndarray()
    if not frame.format.is_planar:
        array = array.reshape(-1, frame.layout.nb_channels).T
    return Pcm(frame.sample_rate, np.ascontiguousarray(_to_float(array).T))


def _to_float(array: NDArray[np.generic]) -> NDArray[np.float32]:
    if array.dtype.kind == "f":
        # A damaged packet may decode to infinities; they are no sound.
        return np.nan_to_num(array.astype(np.float32, copy=False), nan=0.0, posinf=1.0, neginf=-1.0)
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128.0) / 128.0
    scale = float(np.iinfo(array.dtype).max) + 1.0  # type: ignore[type-var]  # kind "i" is left: s16, s32, s64
    return (array.astype(np.float64) / scale).astype(np.float32)


def join(blocks: list[Pcm]) -> Pcm | None:
    """Blocks of the same shape as one; what differs in rate or channels from the last block is left out."""
    if not blocks:
        return None
    rate, channels = blocks[-1].rate, blocks[-1].samples.shape[1]
    like = [block.samples for block in blocks if block.rate == rate and block.samples.shape[1] == channels]
    return Pcm(rate, np.concatenate(like))

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
    """Decode one segment (`init`: its EXT-X-MAP section). Truncated or damaged data gives what can be had of it.

    Raises SourceError when the bytes are no audio at all (an HTML page, nothing).
    """
    tag, audio = read_id3(data)
    kind = container_of(init or audio)
    if kind is None:
        raise SourceError(f"not audio: the segment begins with {data[:_SHOWN]!r}" if data else "an empty segment")
    try:
        with av.open(io.BytesIO(init + audio), mode="r", format=kind) as container:
            return _decode(container, tag)
    except (av.FFmpegError, ValueError) as error:  # ValueError: PyAV's word for a stream without parameters
        raise SourceError(f"not decodable as {kind}: {error}") from error


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


def _decode(container: av.container.InputContainer, tag: Id3) -> Decoded:
    if not container.streams.audio:
        raise SourceError("the segment holds no audio stream")
    stream = container.streams.audio[0]
    blocks: list[Pcm] = []
    errors, seconds = 0, 0.0
    for frames in _frames(container, stream):
        if frames is None:
            errors += 1
            continue
        blocks += frames
        seconds += sum(block.seconds for block in frames)
        if seconds > MAX_SECONDS:
            errors += 1
            break
    return Decoded(
        join(blocks), errors, stream.codec_context.name, tag.timestamp_s, {**container.metadata, **tag.texts}
    )


def _frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[list[Pcm] | None]:
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
        try:
            yield [to_pcm(frame) for frame in packet.decode() if isinstance(frame, av.AudioFrame)]
        except (av.FFmpegError, ValueError):
            yield None


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

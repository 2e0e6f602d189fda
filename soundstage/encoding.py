"""PCM in, segments of encoded packets out; one encoder per rendition (PyAV)."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import av

from soundstage.plan import RATE, SEGMENT_SECONDS, Rendition

_BYTES_PER_SAMPLE = 4  # 16 bit, two channels
_CODEC_NAMES = {"aac": "aac", "opus": "libopus"}
_OPTIONS = {
    "aac": {},
    # Constrained, since plain VBR misses its target by up to a third; complexity 5 costs two thirds of the default.
    "opus": {"vbr": "constrained", "compression_level": "5"},
}


@dataclass(frozen=True)
class Segment:
    """Encoded packets without a container. `start_us`: capture time of its first sample in Unix microseconds."""

    rendition: str
    start_us: int
    samples: int
    frame_samples: int
    packets: tuple[bytes, ...]


@dataclass
class _Open:
    first_pts: int
    packets: list[bytes] = field(default_factory=list)


class Encoder:
    """One rendition from one unbroken stretch of audio that begins at `base_us` (Unix microseconds)."""

    def __init__(self, rendition: Rendition, base_us: int) -> None:
        self.rendition = rendition
        self._base_us = base_us
        context = cast("av.AudioCodecContext", av.CodecContext.create(_CODEC_NAMES[rendition.codec], "w"))
        context.sample_rate = RATE
        context.layout = "stereo"
        context.format = av.AudioFormat("fltp" if rendition.codec == "aac" else "s16")
        context.bit_rate = rendition.bitrate_bps
        context.options = _OPTIONS[rendition.codec]
        context.time_base = Fraction(1, RATE)
        context.open()
        self._context = context
        self._fed = 0
        self._open: _Open | None = None
        self._cut_at = SEGMENT_SECONDS * RATE

    @property
    def config(self) -> bytes:
        """The codec's own description: an AudioSpecificConfig or an OpusHead."""
        return self._context.extradata or b""

    def feed(self, pcm: bytes) -> tuple[int, list[Segment]]:
        """Encode interleaved 16-bit stereo; the number of packets made and the segments that are now complete."""
        samples = len(pcm) // _BYTES_PER_SAMPLE
        frame = av.AudioFrame(format="s16", layout="stereo", samples=samples)
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._fed, Fraction(1, RATE)
        frame.planes[0].update(pcm)
        self._fed += samples
        return self._collect(frame)

    def flush(self) -> list[Segment]:
        """What is left when the audio has come to an end; the encoder cannot be fed again."""
        _, segments = self._collect(None)
        return [*segments, *self._close()]

    def _collect(self, frame: av.AudioFrame | None) -> tuple[int, list[Segment]]:
        packets = self._context.encode(frame)
        segments: list[Segment] = []
        for packet in packets:
            pts = packet.pts or 0
            if pts >= self._cut_at:
                segments += self._close()
                self._cut_at += SEGMENT_SECONDS * RATE
            if self._open is None:
                self._open = _Open(pts)
            self._open.packets.append(bytes(packet))
        return len(packets), segments

    def _close(self) -> list[Segment]:
        done, self._open = self._open, None
        if done is None:
            return []
        frame = self._context.frame_size
        start_us = self._base_us + round(done.first_pts * 1_000_000 / RATE)
        return [Segment(self.rendition.name, start_us, len(done.packets) * frame, frame, tuple(done.packets))]

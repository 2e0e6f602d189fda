from __future__ import annotations

import numpy as np
import pytest

from soundstage import containers
from soundstage.encoding import Encoder, Segment
from soundstage.hearing import silent_spans
from soundstage.plan import RATE, RENDITIONS, Rendition
from soundstage.programme import Music, Programme, Samples, _rng
from soundstage.source import dbfs, to_pcm

CHUNK = RATE // 4


def segments(rendition: Rendition, samples: Samples) -> list[tuple[bytes, float]]:
    """Segments as players get them, with their seconds."""
    encoder, made = Encoder(rendition, 1_790_000_000_000_000), []
    for start in range(0, len(samples), CHUNK):
        made += encoder.feed(to_pcm(samples[start : start + CHUNK]))[1]
    return [(contained(rendition, segment), segment.samples / RATE) for segment in [*made, *encoder.flush()]]


def contained(rendition: Rendition, segment: Segment) -> bytes:
    if rendition.codec == "aac":
        return containers.packed_aac(segment.packets, segment.start_us)
    return containers.opus_fragment(segment.packets, segment.start_us, segment.frame_samples, 1)


def silent_s(rendition: Rendition, samples: Samples) -> float:
    spans = [silent_spans(body, rendition.codec, seconds) for body, seconds in segments(rendition, samples)]
    return sum(end - begin for found in spans for begin, end in found)


@pytest.mark.parametrize("rendition", RENDITIONS, ids=lambda rendition: rendition.name)
def test_silent_line_is_heard_as_silence_for_as_long_as_it_lasts(rendition: Rendition) -> None:
    samples = Programme(1_000).render(0, 14 * RATE)
    samples[4 * RATE : 10 * RATE] = 0.0
    assert silent_s(rendition, samples) == pytest.approx(6.0, abs=0.25)


@pytest.mark.parametrize("level", [-20.0, -47.0, -80.0])
@pytest.mark.parametrize("rendition", RENDITIONS, ids=lambda rendition: rendition.name)
def test_music_is_never_heard_as_silence_however_quiet(rendition: Rendition, level: float) -> None:
    music = Music(_rng(5)).render(0, 8 * RATE)
    music *= np.float32(10 ** ((level - dbfs(music)) / 20))
    assert silent_s(rendition, music) <= 0.05  # an encoder begins with a frame or two of nothing


@pytest.mark.parametrize(
    "body", [b"", b"x" * 1_000, b"ID3", b"ID3\x04\0\0\0\0\0\x01?", b"....trun", b"trun" + b"\xff" * 40]
)
def test_what_is_no_segment_is_not_silent(body: bytes) -> None:
    assert silent_spans(body, "aac", 2.0) == ()
    assert silent_spans(body, "opus", 2.0) == ()

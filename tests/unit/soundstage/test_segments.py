from __future__ import annotations

import io
import itertools

import av
import numpy as np
import pytest

from soundstage.containers import opus_fragment, opus_init, packed_aac, read_id3_timestamp
from soundstage.encoding import Encoder, Segment
from soundstage.errors import Malformed
from soundstage.packager import cut_packets
from soundstage.plan import RATE, RENDITIONS
from soundstage.programme import Programme
from soundstage.source import CHUNK_SAMPLES, to_pcm

BASE_US = 1_790_000_000_000_000
AAC_128 = next(rendition for rendition in RENDITIONS if rendition.name == "aac-128")
OPUS = next(rendition for rendition in RENDITIONS if rendition.codec == "opus")


def encode(encoder: Encoder, seconds: float) -> list[Segment]:
    programme, segments = Programme(1), []
    for index in range(round(seconds * RATE / CHUNK_SAMPLES)):
        segments += encoder.feed(to_pcm(programme.render(index * CHUNK_SAMPLES, CHUNK_SAMPLES)))[1]
    return segments + encoder.flush()


def decode(content: bytes) -> np.ndarray:
    with av.open(io.BytesIO(content)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


def test_aac_segment_has_the_capture_time_and_decodes_to_its_length() -> None:
    for segment in encode(Encoder(AAC_128, BASE_US), 6.0)[:3]:
        content = packed_aac(segment.packets, segment.start_us)
        assert read_id3_timestamp(content) == segment.start_us * 9 // 100 % 2**33
        sound = decode(content)
        assert sound.shape == (2, segment.samples)
        assert segment.samples / RATE == pytest.approx(2.0, abs=0.03)
        assert np.sqrt(np.mean(sound**2)) > 0.03


def test_opus_segment_with_its_init_decodes_to_its_length() -> None:
    encoder = Encoder(OPUS, BASE_US)
    for number, segment in enumerate(encode(encoder, 6.0)[:3]):
        fragment = opus_fragment(segment.packets, segment.start_us, segment.frame_samples, number)
        sound = decode(opus_init(encoder.config) + fragment)
        assert sound.shape[1] == pytest.approx(segment.samples, abs=segment.frame_samples)
        assert np.sqrt(np.mean(sound**2)) > 0.03


def test_opus_fragment_carries_the_capture_time() -> None:
    encoder = Encoder(OPUS, BASE_US)
    segment = encode(encoder, 2.0)[0]
    content = opus_init(encoder.config) + opus_fragment(segment.packets, segment.start_us, segment.frame_samples, 0)
    with av.open(io.BytesIO(content)) as container:
        packet = next(container.demux(audio=0))
        assert packet.pts is not None
        assert packet.pts / RATE == pytest.approx(segment.start_us / 1e6, abs=0.001)


@pytest.mark.parametrize("rendition", RENDITIONS, ids=lambda rendition: rendition.name)
def test_segments_follow_one_another_without_a_gap(rendition) -> None:
    segments = encode(Encoder(rendition, BASE_US), 9.0)
    for before, after in itertools.pairwise(segments):
        assert after.start_us == pytest.approx(before.start_us + before.samples * 1e6 / RATE, abs=1.5)
    assert segments[-1].start_us + segments[-1].samples * 1e6 / RATE == pytest.approx(BASE_US + 9e6, abs=30_000)


@pytest.mark.parametrize("rendition", RENDITIONS, ids=lambda rendition: rendition.name)
def test_bitrate_is_near_what_the_rendition_promises(rendition) -> None:
    segment = encode(Encoder(rendition, BASE_US), 5.0)[1]
    bitrate = sum(map(len, segment.packets)) * 8 / (segment.samples / RATE)
    assert bitrate == pytest.approx(rendition.bitrate_bps, rel=0.12)


def test_encoded_sound_lies_at_its_capture_time() -> None:
    """A click half a second in must be found half a second after the capture time that the segment states."""
    pcm = np.zeros((2 * RATE, 2), np.float32)
    pcm[RATE // 2] = 0.9
    encoder = Encoder(AAC_128, BASE_US)
    segments = encoder.feed(to_pcm(pcm))[1] + encoder.flush()
    sound = decode(packed_aac(segments[0].packets, segments[0].start_us))
    click_us = segments[0].start_us + np.argmax(np.abs(sound[0])) / RATE * 1e6
    assert click_us == pytest.approx(BASE_US + 500_000, abs=2_000)


def test_packets_that_do_not_add_up_are_refused() -> None:
    assert cut_packets(b"abcde", [2, 3]) == [b"ab", b"cde"]
    with pytest.raises(Malformed):
        cut_packets(b"abcde", [2, 2])


def test_segment_without_a_timestamp_is_refused() -> None:
    with pytest.raises(Malformed):
        read_id3_timestamp(b"\xff\xf1 no tag")


def test_init_of_something_else_than_opus_is_refused() -> None:
    with pytest.raises(Malformed):
        opus_init(b"\x11\x90")

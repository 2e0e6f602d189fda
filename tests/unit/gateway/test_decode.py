from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sources.decode import SegmentDecoder, decode
from gateway.sources.id3 import TIMESTAMP_OWNER, read_id3
from gateway.sources.ogg import OggReader
from gateway.sources.stream import IcyReader, StreamDecoder
from tests.integration.broadcast import adts_frames, encode, segments, tone
from tonewatch.errors import SourceError

SOUND = tone(2.0)
AAC = encode(SOUND)


def frame(name: bytes, value: bytes) -> bytes:
    return name + len(value).to_bytes(4, "big") + b"\0\0" + value


def id3(*frames: bytes) -> bytes:
    body = b"".join(frames)
    size = bytes([len(body) >> 21 & 127, len(body) >> 14 & 127, len(body) >> 7 & 127, len(body) & 127])
    return b"ID3\x04\0\0" + size + body


@pytest.mark.parametrize(
    ("codec", "container", "name"),
    [
        ("aac", "adts", "aac"),
        ("libmp3lame", "mp3", "mp3float"),
        ("libopus", "mp4", "opus"),
        ("libopus", "ogg", "opus"),
        ("flac", "ogg", "flac"),
        ("aac", "mpegts", "aac"),
    ],
)
def test_a_segment_of_any_usual_kind_is_decoded(codec: str, container: str, name: str) -> None:
    decoded = decode(encode(SOUND, codec, container))
    assert decoded.codec == name
    assert decoded.errors == 0
    assert decoded.seconds == pytest.approx(2.0, abs=0.05)
    assert decoded.pcm.samples.dtype == np.float32
    assert decoded.pcm.samples.shape[1] == 2
    assert np.abs(decoded.pcm.samples[4800:-4800]).max() == pytest.approx(0.1, rel=0.1)


def test_a_fragment_is_decoded_with_its_init_section() -> None:
    whole = encode(SOUND, "libopus", "mp4", movflags="frag_keyframe+empty_moov+default_base_moof")
    at = whole.index(b"moof") - 4
    decoded = decode(whole[at:], whole[:at])
    assert decoded.seconds == pytest.approx(2.0, abs=0.05)


def test_a_segment_that_follows_has_no_seam() -> None:
    parts = [data for _, data in segments((("tone", 8.0),), 2.0)]
    decoder = SegmentDecoder()
    heard = [decoder.decode(data, follows=number > 0) for number, data in enumerate(parts)]
    peaks = [float(np.abs(decoded.pcm.samples).max()) for decoded in heard]
    assert peaks[1:] == pytest.approx([0.1] * (len(parts) - 1), rel=0.02)
    alone = decode(parts[1]).pcm.samples
    assert np.abs(alone[:1024]).max() < 0.12


def test_a_damaged_segment_does_not_spoil_the_next() -> None:
    parts = [data for _, data in segments((("tone", 8.0),), 2.0)]
    decoder = SegmentDecoder()
    decoder.decode(parts[0])
    assert decoder.decode(b"".join([parts[1][:9000], b"\0" * 999, parts[1][9999:]]), follows=True).errors > 0
    after = decoder.decode(parts[2], follows=True)
    assert (after.errors, after.seconds) == (0, pytest.approx(2.0, abs=0.03))


def test_a_mono_segment_has_one_channel() -> None:
    assert decode(encode(SOUND[:, :1])).pcm.samples.shape[1] == 1


def test_a_truncated_segment_gives_what_is_there() -> None:
    decoded = decode(AAC[: int(len(AAC) * 0.6)])
    assert decoded.seconds == pytest.approx(1.2, abs=0.1)


def test_damaged_bytes_are_counted_and_the_rest_is_heard() -> None:
    damaged = bytearray(AAC)
    for at in np.random.default_rng(3).integers(len(damaged) // 4, len(damaged), 40):
        damaged[at] ^= 0xFF
    decoded = decode(bytes(damaged))
    assert decoded.errors > 0
    assert decoded.seconds > 1.0


@pytest.mark.parametrize(
    "data", [b"", b"<html><body>502 Bad Gateway</body></html>", b"#EXTM3U\nfile:///etc/passwd\n", b"\0" * 500]
)
def test_what_is_no_audio_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError):
        decode(data)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([b"", AAC[:400], b"\xff\xf1", b"OggS", b"\0\0\0\x18ftyp", b"ID3\x04\0\0\0\0", b"G", b"RIFF"]),
    st.binary(max_size=400),
)
def test_garbage_is_a_source_error_or_sound_never_another_error(head: bytes, tail: bytes) -> None:
    try:
        decoded = decode(head + tail)
    except SourceError:
        return
    assert decoded.errors >= 0


def test_the_timestamp_and_the_title_come_from_id3() -> None:
    stamp = frame(b"PRIV", TIMESTAMP_OWNER + b"\0" + (90_000 * 5).to_bytes(8, "big"))
    decoded = decode(id3(stamp, frame(b"TIT2", b"\x03A \x1b[31mSong")) + AAC)
    assert decoded.timestamp_s == pytest.approx(5.0)
    assert decoded.metadata["title"] == "A [31mSong"
    assert decoded.seconds == pytest.approx(2.0, abs=0.05)


@given(st.binary(max_size=200))
def test_a_damaged_id3_tag_is_survived(body: bytes) -> None:
    tag, rest = read_id3(b"ID3\x04\0\0\0\0\x01\x48" + body)
    assert len(rest) <= len(body)
    assert tag.timestamp_s is None or tag.timestamp_s >= 0


@pytest.mark.parametrize(
    ("codec", "container", "kind"),
    [("aac", "adts", "aac"), ("libmp3lame", "mp3", "mp3"), ("libopus", "ogg", "ogg"), ("flac", "ogg", "ogg")],
)
@pytest.mark.parametrize("step", [417, 10_000])
def test_a_stream_is_decoded_as_it_comes(codec: str, container: str, kind: str, step: int) -> None:
    data = encode(SOUND, codec, container)
    decoder = StreamDecoder(kind)
    heard = [decoder.feed(data[at : at + step]) for at in range(0, len(data), step)]
    assert sum(pcm.seconds for pcm in heard if pcm is not None) == pytest.approx(2.0, abs=0.1)
    assert decoder.errors == 0


@pytest.mark.parametrize(("codec", "container", "kind"), [("libmp3lame", "mp3", "mp3"), ("aac", "adts", "aac")])
def test_a_chunk_that_was_all_metadata_breaks_no_frame(codec: str, container: str, kind: str) -> None:
    decoder, data, heard = StreamDecoder(kind), encode(SOUND, codec, container), 0.0
    for start in range(0, len(data), 500):
        for chunk in (data[start : start + 500], b""):
            pcm = decoder.feed(chunk)
            heard += pcm.seconds if pcm else 0.0
    assert decoder.errors == 0
    assert heard == pytest.approx(2.0, abs=0.15)


def test_joining_a_stream_in_mid_frame_is_no_error() -> None:
    decoder = StreamDecoder("aac")
    assert decoder.feed(AAC[1000:]).seconds > 1.0
    assert decoder.errors == 0


def test_a_chained_ogg_stream_brings_the_next_title() -> None:
    decoder = StreamDecoder("ogg")
    seconds = 0.0
    for title in ("First", "Second"):
        data = with_title(encode(SOUND, "libopus", "ogg"), title)
        seconds += decoder.feed(data).seconds
        assert decoder.metadata["title"] == title
    assert seconds == pytest.approx(4.0, abs=0.1)


def with_title(ogg: bytes, title: str) -> bytes:
    """The second page with a title in it; our reader does not look at check sums."""
    comment = f"TITLE={title}".encode()
    tags = (
        b"OpusTags"
        + (0).to_bytes(4, "little")
        + (1).to_bytes(4, "little")
        + len(comment).to_bytes(4, "little")
        + comment
    )
    second = ogg.index(b"OggS", 4)
    third = ogg.index(b"OggS", second + 4)
    return ogg[:second] + ogg[second : second + 26] + bytes([1, len(tags)]) + tags + ogg[third:]


@given(st.binary(max_size=300), st.integers(1, 50))
def test_bytes_that_are_no_ogg_page_are_skipped(junk: bytes, step: int) -> None:
    reader = OggReader()
    for at in range(0, len(junk), step):
        list(reader.feed(junk[at : at + step]))


@given(st.lists(st.integers(1, 40), max_size=20), st.integers(5, 60))
def test_icy_metadata_is_taken_out_of_the_sound(steps: list[int], interval: int) -> None:
    sound = bytes(range(256)) * 2
    text = b"StreamTitle='It's a title';"
    block = bytes([2]) + text.ljust(32, b"\0")
    parts = [sound[at : at + interval] for at in range(0, len(sound), interval)]
    stream = b"".join(
        part + (block if number % 2 == 0 else b"\0") for number, part in enumerate(parts) if len(part) == interval
    )
    reader, heard = IcyReader(interval), b""
    for step in [*steps, len(stream)]:
        heard += reader.feed(stream[:step])
        stream = stream[step:]
    assert heard == b"".join(part for part in parts if len(part) == interval)
    assert reader.title == "It's a title"


def test_a_stream_without_metadata_passes_unchanged() -> None:
    assert IcyReader(0).feed(b"abc") == b"abc"


def test_an_adts_stream_is_cut_at_its_frames() -> None:
    assert b"".join(adts_frames(AAC)) == AAC

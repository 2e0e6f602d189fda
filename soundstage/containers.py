"""Segments as players read them: packed-audio AAC (ADTS after an ID3 tag) and Opus in fragmented MP4.

Sources of the layouts: RFC 8216 section 3.4 (packed audio, PRIV frame), ISO/IEC 13818-7 (ADTS), ISO/IEC 14496-12
(boxes), "Encapsulation of Opus in ISO Base Media File Format" (dOps).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from soundstage.errors import Malformed
from soundstage.plan import RATE

TIMESTAMP_OWNER = b"com.apple.streaming.transportStreamTimestamp"
_ADTS_RATE_48K = 3
_TRACK = 1


def _syncsafe(number: int) -> bytes:
    return bytes((number >> shift) & 0x7F for shift in (21, 14, 7, 0))


def id3_timestamp(start_us: int) -> bytes:
    """An ID3v2.4 tag with the segment's start as a 33-bit MPEG-2 timestamp of 90 kHz."""
    ticks = start_us * 9 // 100 & (1 << 33) - 1
    frame = TIMESTAMP_OWNER + b"\0" + struct.pack("!Q", ticks)
    body = b"PRIV" + _syncsafe(len(frame)) + b"\0\0" + frame
    return b"ID3\x04\0\0" + _syncsafe(len(body)) + body


def read_id3_timestamp(segment: bytes) -> int:
    """The 90-kHz timestamp of a packed-audio segment; raises Malformed when there is none."""
    at = segment.find(TIMESTAMP_OWNER)
    if not segment.startswith(b"ID3") or at < 0 or len(segment) < at + len(TIMESTAMP_OWNER) + 9:
        raise Malformed("no transportStreamTimestamp at the head of the segment")
    return int(struct.unpack_from("!Q", segment, at + len(TIMESTAMP_OWNER) + 1)[0])


def _adts(size: int) -> bytes:
    """The ADTS header of one AAC-LC frame, 48 kHz, stereo, without checksum."""
    length = size + 7
    return bytes(
        (
            0xFF,
            0xF1,
            1 << 6 | _ADTS_RATE_48K << 2,
            2 << 6 | length >> 11,
            length >> 3 & 0xFF,
            (length & 7) << 5 | 0x1F,
            0xFC,
        )
    )


def packed_aac(packets: Sequence[bytes], start_us: int) -> bytes:
    """A packed-audio segment."""
    return id3_timestamp(start_us) + b"".join(_adts(len(packet)) + packet for packet in packets)


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack("!I", len(body) + 8) + kind + body


def _full(kind: bytes, version: int, flags: int, *content: bytes) -> bytes:
    return _box(kind, struct.pack("!I", version << 24 | flags), *content)


_MATRIX = struct.pack("!9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def _opus_entry(opus_head: bytes) -> bytes:
    """The sample entry; dOps is OpusHead with its numbers in network order and version 0."""
    if not opus_head.startswith(b"OpusHead") or len(opus_head) < 19:
        raise Malformed("an OpusHead was expected as the codec's configuration")
    channels, pre_skip, rate, gain, family = struct.unpack_from("<BHIhB", opus_head, 9)
    dops = _box(b"dOps", struct.pack("!BBHIhB", 0, channels, pre_skip, rate, gain, family))
    return _box(b"Opus", struct.pack("!6xH8xHHHHI", 1, channels, 16, 0, 0, RATE << 16), dops)


def opus_init(opus_head: bytes) -> bytes:
    """The initialisation segment (EXT-X-MAP) for a codec configuration."""
    empty = [_full(kind, 0, 0, struct.pack("!I", 0)) for kind in (b"stts", b"stsc", b"stco")]
    table = _box(
        b"stbl",
        _full(b"stsd", 0, 0, struct.pack("!I", 1), _opus_entry(opus_head)),
        *empty,
        _full(b"stsz", 0, 0, struct.pack("!II", 0, 0)),
    )
    reference = _full(b"dref", 0, 0, struct.pack("!I", 1), _full(b"url ", 0, 1))
    media = _box(
        b"mdia",
        _full(b"mdhd", 0, 0, struct.pack("!IIIIHH", 0, 0, RATE, 0, 0x55C4, 0)),
        _full(b"hdlr", 0, 0, struct.pack("!I4s12x", 0, b"soun"), b"sound\0"),
        _box(b"minf", _full(b"smhd", 0, 0, struct.pack("!I", 0)), _box(b"dinf", reference), table),
    )
    track_head = struct.pack("!IIIII8xHHHH", 0, 0, _TRACK, 0, 0, 0, 0, 0x100, 0) + _MATRIX + struct.pack("!II", 0, 0)
    movie_head = struct.pack("!IIIIIH10x", 0, 0, RATE, 0, 0x10000, 0x100) + _MATRIX + struct.pack("!24xI", _TRACK + 1)
    return _box(b"ftyp", b"iso6", struct.pack("!I", 0), b"iso6", b"mp41") + _box(
        b"moov",
        _full(b"mvhd", 0, 0, movie_head),
        _box(b"trak", _full(b"tkhd", 0, 7, track_head), media),
        _box(b"mvex", _full(b"trex", 0, 0, struct.pack("!IIIII", _TRACK, 1, 0, 0, 0))),
    )


def opus_fragment(packets: Sequence[bytes], start_us: int, frame_samples: int, sequence: int) -> bytes:
    """A media segment whose decode time is the capture time in samples since the Unix epoch."""
    sizes = struct.pack(f"!{len(packets)}I", *(len(packet) for packet in packets))

    def moof(offset: int) -> bytes:
        run = struct.pack("!Ii", len(packets), offset) + sizes
        return _box(
            b"moof",
            _full(b"mfhd", 0, 0, struct.pack("!I", sequence & 0xFFFFFFFF)),
            _box(
                b"traf",
                # default-base-is-moof, default duration and flags
                _full(b"tfhd", 0, 0x020028, struct.pack("!III", _TRACK, frame_samples, 0x02000000)),
                _full(b"tfdt", 1, 0, struct.pack("!Q", round(start_us * RATE / 1_000_000))),
                _full(b"trun", 0, 0x000201, run),
            ),
        )

    return moof(len(moof(0)) + 8) + _box(b"mdat", *packets)

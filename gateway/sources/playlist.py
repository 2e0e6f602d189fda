"""HLS playlists (RFC 8216) as records. Pure: no network, no clock; garbage becomes problems of the record."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urljoin

from tonewatch.errors import SourceError

#: A playlist of more bytes, lines or longer lines than these is garbage or an attack.
MAX_BYTES = 2 * 1024 * 1024
MAX_LINES = 50_000
MAX_LINE = 8192
MAX_PROBLEMS = 20
#: No number in a playlist means anything beyond these (seconds; a count).
MAX_DURATION = 86_400.0
MAX_COUNT = 2**63 - 1
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')


@dataclass(frozen=True, slots=True)
class Segment:
    """One media segment. `started` is its EXT-X-PROGRAM-DATE-TIME, given (`dated`) or counted on from the last."""

    sequence: int
    uri: str  # absolute
    duration: float  # EXTINF, seconds
    started: datetime | None = None
    dated: bool = False
    discontinuity: bool = False
    init_uri: str | None = None
    byte_range: tuple[int, int] | None = None  # (first, last) byte
    encrypted: bool = False
    gap: bool = False

    @property
    def ended(self) -> datetime | None:
        """When its last sample was due, by programme date-time."""
        return None if self.started is None else self.started + timedelta(seconds=self.duration)


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """One fetch of one rendition's playlist. `problems` are lines that could not be read, as sentences."""

    url: str
    target_duration: float
    sequence: int
    discontinuity_sequence: int
    ended: bool
    segments: tuple[Segment, ...]
    problems: tuple[str, ...] = ()

    @property
    def window_s(self) -> float:
        """Seconds of sound that the playlist offers."""
        return sum(segment.duration for segment in self.segments)

    @property
    def newest(self) -> Segment | None:
        """The last segment, if there is one."""
        return self.segments[-1] if self.segments else None

    def behind(self, seconds: float) -> Segment | None:
        """Where a player begins that stays `seconds` behind the end (RFC 8216 6.3.3: three target durations)."""
        left = 0.0
        for segment in reversed(self.segments):
            left += segment.duration
            if left >= seconds - self.target_duration / 2:  # durations are rounded: do not flutter by a whole segment
                return segment
        return self.segments[0] if self.segments else None


@dataclass(frozen=True, slots=True)
class Variant:
    """One rendition that a master playlist offers."""

    uri: str
    bandwidth: int = 0
    codecs: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class MasterPlaylist:
    """What renditions there are."""

    url: str
    variants: tuple[Variant, ...]
    problems: tuple[str, ...] = ()

    @property
    def best(self) -> Variant:
        """The variant of the highest bandwidth. Raises SourceError when there is none."""
        if not self.variants:
            raise SourceError(f"{self.url} is a master playlist without a rendition")
        return max(self.variants, key=lambda variant: variant.bandwidth)


@dataclass
class _Reader:
    """What has been read so far, and what the next segment line will get."""

    url: str
    target: float | None = None
    sequence: int = 0
    discontinuities: int = 0
    ended: bool = False
    media: bool = False
    segments: list[Segment] = field(default_factory=list)
    variants: list[Variant] = field(default_factory=list)
    audio_groups: dict[str, Variant] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    duration: float | None = None
    started: datetime | None = None
    discontinuity: bool = False
    gap: bool = False
    byte_range: tuple[int, int] | None = None
    init_uri: str | None = None
    encrypted: bool = False
    stream_inf: Mapping[str, str] | None = None

    def problem(self, number: int, what: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"line {number}: {what}")


def parse(text: str, url: str) -> MasterPlaylist | MediaPlaylist:
    """Read a playlist fetched from `url`; what cannot be read of it becomes a problem of the record.

    Raises SourceError when it is not a playlist at all, or larger than any playlist is.
    """
    reader = _Reader(url)
    for number, line in _lines(text, url):
        if line.startswith("#EXT"):
            _read_tag(reader, number, line)
        elif not line.startswith("#"):
            _read_uri(reader, number, line)
    if reader.variants or (reader.audio_groups and not reader.media):
        return MasterPlaylist(url, tuple(reader.variants or reader.audio_groups.values()), tuple(reader.problems))
    return _media(reader)


def _lines(text: str, url: str) -> Iterator[tuple[int, str]]:
    if len(text) > MAX_BYTES:
        raise SourceError(f"{url} is no playlist: it is longer than {MAX_BYTES} characters", kind="too-large")
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or not lines[0].startswith("#EXTM3U"):
        begins = text[:40].strip() or "nothing"
        raise SourceError(f"{url} is no HLS playlist: the first line must be #EXTM3U, but it begins with {begins!r}")
    if len(lines) > MAX_LINES:
        raise SourceError(f"{url} is no playlist: it has more than {MAX_LINES} lines", kind="too-large")
    for number, line in enumerate(lines[1:], start=2):
        if stripped := line.strip()[:MAX_LINE]:
            yield number, stripped


def _read_tag(reader: _Reader, number: int, line: str) -> None:
    name, _, value = line.partition(":")
    try:
        if name in _MASTER_TAGS:
            _read_master_tag(reader, name, value)
        elif name in _SEGMENT_TAGS:
            reader.media = True
            _read_segment_tag(reader, name, value)
        else:
            _read_playlist_tag(reader, name, value)
    except (ValueError, OverflowError):
        reader.problem(number, f"{name} cannot be read: {value[:60]!r}")


_MASTER_TAGS = frozenset({"#EXT-X-STREAM-INF", "#EXT-X-MEDIA"})
_SEGMENT_TAGS = frozenset(
    {
        "#EXTINF",
        "#EXT-X-PROGRAM-DATE-TIME",
        "#EXT-X-DISCONTINUITY",
        "#EXT-X-GAP",
        "#EXT-X-MAP",
        "#EXT-X-BYTERANGE",
        "#EXT-X-KEY",
    }
)


def _read_playlist_tag(reader: _Reader, name: str, value: str) -> None:
    if name == "#EXT-X-TARGETDURATION":
        reader.media, reader.target = True, _seconds(value)
    elif name == "#EXT-X-MEDIA-SEQUENCE":
        reader.media, reader.sequence = True, _count(value)
    elif name == "#EXT-X-DISCONTINUITY-SEQUENCE":
        reader.media, reader.discontinuities = True, _count(value)
    elif name == "#EXT-X-ENDLIST":
        reader.media = reader.ended = True


def _read_segment_tag(reader: _Reader, name: str, value: str) -> None:
    if name == "#EXTINF":
        reader.duration = _seconds(value.split(",", 1)[0])
    elif name == "#EXT-X-PROGRAM-DATE-TIME":
        reader.started = _date_time(value)
    elif name == "#EXT-X-DISCONTINUITY":
        reader.discontinuity = True
    elif name == "#EXT-X-GAP":
        reader.gap = True
    elif name == "#EXT-X-MAP":
        reader.init_uri = _absolute(reader.url, _attributes(value).get("URI", ""))
    elif name == "#EXT-X-BYTERANGE":
        reader.byte_range = _byte_range(value, reader.segments)
    else:
        reader.encrypted = _attributes(value).get("METHOD", "NONE") != "NONE"


def _read_master_tag(reader: _Reader, name: str, value: str) -> None:
    attributes = _attributes(value)
    if name == "#EXT-X-STREAM-INF":
        reader.stream_inf = attributes
    elif attributes.get("TYPE") == "AUDIO" and attributes.get("URI"):
        group = attributes.get("GROUP-ID", "")
        if group not in reader.audio_groups or attributes.get("DEFAULT") == "YES":
            uri = _absolute(reader.url, attributes["URI"])
            reader.audio_groups[group] = Variant(uri, name=attributes.get("NAME", ""))


def _read_uri(reader: _Reader, number: int, line: str) -> None:
    if reader.stream_inf is not None:
        reader.variants.append(_variant(reader, reader.stream_inf, _absolute(reader.url, line)))
        reader.stream_inf = None
        return
    if reader.duration is None:
        reader.problem(number, f"a segment without a readable #EXTINF: {line[:60]!r}")
    else:
        _add_segment(reader, line, reader.duration)
    reader.duration = reader.started = reader.byte_range = None
    reader.discontinuity = reader.gap = False


def _add_segment(reader: _Reader, uri: str, duration: float) -> None:
    last = reader.segments[-1] if reader.segments else None
    counted_on = last.ended if last is not None and not reader.discontinuity else None
    reader.segments.append(
        Segment(
            sequence=reader.sequence + len(reader.segments),
            uri=_absolute(reader.url, uri),
            duration=duration,
            started=reader.started or counted_on,
            dated=reader.started is not None,
            discontinuity=reader.discontinuity,
            init_uri=reader.init_uri,
            byte_range=reader.byte_range,
            encrypted=reader.encrypted,
            gap=reader.gap,
        )
    )


def _variant(reader: _Reader, attributes: Mapping[str, str], uri: str) -> Variant:
    sound = reader.audio_groups.get(attributes.get("AUDIO", ""))
    bandwidth = attributes.get("BANDWIDTH", "")
    return Variant(
        uri=sound.uri if sound else uri,
        bandwidth=int(bandwidth[:12]) if bandwidth.isdecimal() else 0,
        codecs=attributes.get("CODECS", ""),
        name=attributes.get("NAME", "") or (sound.name if sound else ""),
    )


def _media(reader: _Reader) -> MediaPlaylist:
    if not reader.media:
        raise SourceError(f"{reader.url} is an HLS playlist with neither renditions nor segments")
    if reader.target is None:
        reader.problem(1, "#EXT-X-TARGETDURATION is missing")
    longest = max((segment.duration for segment in reader.segments), default=0.0)
    return MediaPlaylist(
        url=reader.url,
        target_duration=reader.target or float(math.ceil(longest)) or 1.0,
        sequence=reader.sequence,
        discontinuity_sequence=reader.discontinuities,
        ended=reader.ended,
        segments=tuple(reader.segments),
        problems=tuple(reader.problems),
    )


def _attributes(text: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(text)}


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= MAX_DURATION:
        raise ValueError(text)
    return seconds


def _count(text: str) -> int:
    count = int(text[:24])
    if not 0 <= count <= MAX_COUNT:
        raise ValueError(text)
    return count


def _date_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text.strip())
    if not 1970 <= moment.year < 9000:  # beyond these, adding a duration leaves the calendar
        raise ValueError(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _byte_range(text: str, segments: list[Segment]) -> tuple[int, int]:
    length, _, offset = text.partition("@")
    earlier = segments[-1].byte_range if segments else None
    first = _count(offset) if offset else (earlier[1] + 1 if earlier else 0)
    return first, first + _count(length) - 1


def _absolute(url: str, uri: str) -> str:
    return urljoin(url, uri)

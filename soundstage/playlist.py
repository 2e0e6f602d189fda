"""HLS live playlists (RFC 8216): written by the packager, read by the players and by a packager that starts again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from soundstage.errors import Malformed
from soundstage.plan import SEGMENT_SECONDS, Rendition

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """One listed segment. `start_us`: its PROGRAM-DATE-TIME in Unix microseconds; `duration` in seconds."""

    uri: str
    start_us: int
    duration: float
    discontinuity: bool = False

    @property
    def end_us(self) -> int:
        """When its last sample was captured."""
        return self.start_us + round(self.duration * 1_000_000)


@dataclass(frozen=True)
class Playlist:
    """A media playlist."""

    media_sequence: int
    discontinuity_sequence: int
    entries: tuple[Entry, ...]
    map_uri: str | None = None
    target_duration: float = SEGMENT_SECONDS

    def add(self, entry: Entry, window: int) -> Playlist:
        """The playlist with one more segment at its end, and at most `window` segments."""
        return replace(self, entries=(*self.entries, entry)).cut(window)

    def cut(self, window: int) -> Playlist:
        """The playlist with its newest `window` segments."""
        entries = self.entries
        gone = entries[: max(0, len(entries) - window)]
        return replace(
            self,
            media_sequence=self.media_sequence + len(gone),
            discontinuity_sequence=self.discontinuity_sequence + sum(old.discontinuity for old in gone),
            entries=entries[len(gone) :],
        )

    @property
    def next_sequence(self) -> int:
        """The number that the next segment will have."""
        return self.media_sequence + len(self.entries)

    def render(self) -> str:
        """The playlist's text."""
        lines = [
            "#EXTM3U",
            f"#EXT-X-VERSION:{7 if self.map_uri else 3}",
            f"#EXT-X-TARGETDURATION:{round(self.target_duration)}",
            f"#EXT-X-MEDIA-SEQUENCE:{self.media_sequence}",
            f"#EXT-X-DISCONTINUITY-SEQUENCE:{self.discontinuity_sequence}",
        ]
        if self.map_uri:
            lines.append(f'#EXT-X-MAP:URI="{self.map_uri}"')
        for entry in self.entries:
            if entry.discontinuity:
                lines.append("#EXT-X-DISCONTINUITY")
            lines += [
                f"#EXT-X-PROGRAM-DATE-TIME:{_date(entry.start_us)}",
                f"#EXTINF:{entry.duration:.6f},",
                entry.uri,
            ]
        return "\n".join(lines) + "\n"


def _date(start_us: int) -> str:
    moment = _EPOCH + timedelta(microseconds=start_us)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _microseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


class _Reader:
    """Collects what the lines say; the tags we do not know are passed over, as RFC 8216 asks."""

    def __init__(self) -> None:
        self.numbers = {
            "#EXT-X-MEDIA-SEQUENCE": 0,
            "#EXT-X-DISCONTINUITY-SEQUENCE": 0,
            "#EXT-X-TARGETDURATION": SEGMENT_SECONDS,
        }
        self.map_uri: str | None = None
        self.entries: list[Entry] = []
        self._start_us = 0
        self._duration = 0.0
        self._discontinuity = False

    def line(self, line: str) -> None:
        tag, _, value = line.partition(":")
        if tag in self.numbers:
            self.numbers[tag] = int(value)
        elif tag == "#EXT-X-MAP":
            self.map_uri = value.partition('URI="')[2].partition('"')[0]
        elif tag == "#EXT-X-PROGRAM-DATE-TIME":
            self._start_us = _microseconds(value)
        elif tag == "#EXTINF":
            self._duration = float(value.partition(",")[0])
        elif tag == "#EXT-X-DISCONTINUITY":
            self._discontinuity = True
        elif line and not line.startswith("#"):
            self.entries.append(Entry(line, self._start_us, self._duration, self._discontinuity))
            self._start_us += round(self._duration * 1_000_000)
            self._discontinuity = False


def parse(text: str) -> Playlist:
    """Read a media playlist; raises Malformed when it is none."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != "#EXTM3U":
        raise Malformed("a playlist must begin with #EXTM3U")
    reader = _Reader()
    try:
        for line in lines[1:]:
            reader.line(line.strip())
    except ValueError as error:
        raise Malformed(f"a playlist's tag cannot be read: {error}") from error
    sequence, discontinuities, target = reader.numbers.values()
    return Playlist(sequence, discontinuities, tuple(reader.entries), reader.map_uri, target)


def render_master(renditions: Sequence[Rendition]) -> str:
    """A master playlist that lists each rendition's media playlist."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7"]
    for rendition in renditions:
        bandwidth = round(rendition.bitrate_bps * 1.25)
        lines += [
            f"#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},AVERAGE-BANDWIDTH={rendition.bitrate_bps},"
            f'CODECS="{rendition.codecs_attribute}"',
            f"{rendition.name}/index.m3u8",
        ]
    return "\n".join(lines) + "\n"


def parse_master(text: str) -> tuple[str, ...]:
    """The addresses of the media playlists in a master playlist."""
    return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))

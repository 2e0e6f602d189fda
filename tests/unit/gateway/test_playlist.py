from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sources.playlist import MAX_PROBLEMS, MasterPlaylist, MediaPlaylist, parse
from gateway.sources.playlist_faults import PlaylistFaultKind, check
from tonewatch.errors import SourceError

URL = "http://host/ch1/index.m3u8"


def media(
    first: int = 10,
    count: int = 6,
    *,
    target: int = 2,
    duration: float = 2.0,
    discontinuity_sequence: int = 0,
    broken_at: frozenset[int] = frozenset(),
    renamed: dict[int, str] | None = None,
    clock_jump_at: int | None = None,
) -> MediaPlaylist:
    lines = ["#EXTM3U", f"#EXT-X-TARGETDURATION:{target}", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity_sequence}")
    for number in range(first, first + count):
        lines += ["#EXT-X-DISCONTINUITY"] if number in broken_at else []
        jump = 30.0 if clock_jump_at is not None and number >= clock_jump_at else 0.0
        moment = datetime.fromtimestamp(1_700_000_000 + number * duration + jump, UTC)
        lines += [f"#EXT-X-PROGRAM-DATE-TIME:{moment.isoformat()}", f"#EXTINF:{duration},"]
        lines.append((renamed or {}).get(number, f"{number}.aac"))
    playlist = parse("\n".join(lines), URL)
    assert isinstance(playlist, MediaPlaylist)
    return playlist


def kinds(before: MediaPlaylist | None, after: MediaPlaylist) -> list[str]:
    return [str(fault.kind) for fault in check(before, after)]


def test_a_media_playlist_is_read_with_its_times() -> None:
    playlist = media()
    newest = playlist.newest
    assert (playlist.target_duration, playlist.sequence, playlist.window_s) == (2.0, 10, 12.0)
    assert newest.uri == "http://host/ch1/15.aac"
    assert newest.ended == datetime.fromtimestamp(1_700_000_000 + 16 * 2.0, UTC)


def test_a_date_time_is_counted_on_until_a_discontinuity() -> None:
    text = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z\n#EXTINF:2,\na\n#EXTINF:2,\nb\n"
        "#EXT-X-DISCONTINUITY\n#EXTINF:2,\nc\n"
    )
    starts = [segment.started for segment in parse(text, URL).segments]
    assert starts == [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC), None]


def test_map_byte_range_key_and_gap_are_read() -> None:
    text = (
        '#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MAP:URI="init.mp4"\n#EXTINF:4,\n#EXT-X-BYTERANGE:100@50\na.mp4\n'
        '#EXTINF:4,\n#EXT-X-BYTERANGE:10\na.mp4\n#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXT-X-GAP\n#EXTINF:4,\nb.mp4\n'
    )
    first, second, third = parse(text, URL).segments
    assert (first.init_uri, first.byte_range) == ("http://host/ch1/init.mp4", (50, 149))
    assert second.byte_range == (150, 159)
    assert (third.encrypted, third.gap, third.byte_range) == (True, True, None)


def test_the_best_rendition_is_that_of_the_highest_bandwidth() -> None:
    text = (
        '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="hi",NAME="hi",URI="hi.m3u8",DEFAULT=YES\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2"\nlow.m3u8\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=128000,AUDIO="hi"\nvideo.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=junk\nodd.m3u8\n'
    )
    playlist = parse(text, URL)
    assert isinstance(playlist, MasterPlaylist)
    assert playlist.best.uri == "http://host/ch1/hi.m3u8"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("<html><body>502</body></html>", id="html"),
        pytest.param("#EXTM3U\n", id="bare"),
        pytest.param("#EXTM3U\n#EXT-X-VERSION:3\n", id="no segments"),
        pytest.param("x" * 3_000_000, id="huge"),
        pytest.param("#EXTM3U\n" + "\n" * 60_000, id="many lines"),
    ],
)
def test_what_is_no_playlist_is_refused(text: str) -> None:
    with pytest.raises(SourceError):
        parse(text, URL)


def test_unreadable_lines_become_problems_and_the_rest_is_read() -> None:
    text = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:two\n#EXT-X-MEDIA-SEQUENCE:-4\n#EXTINF:nan,\na\n#EXTINF:1e9,\nb\n#EXTINF:\nc\n"
        "#EXT-X-PROGRAM-DATE-TIME:yesterday\n#EXTINF:2.0,\nd\n#EXT-X-PROGRAM-DATE-TIME:9999-12-31T00:00:00Z\n#EXTI"
    )
    playlist = parse(text, URL)
    assert isinstance(playlist, MediaPlaylist)
    assert [segment.uri for segment in playlist.segments] == ["http://host/ch1/d"]
    assert playlist.target_duration == 2.0
    assert len(playlist.problems) == 11
    assert kinds(None, playlist).count("syntax") == 11
    assert "syntax" not in kinds(playlist, playlist)


def test_no_more_problems_are_kept_than_anyone_reads() -> None:
    playlist = parse("#EXTM3U\n#EXT-X-TARGETDURATION:2\n" + "#EXTINF:x,\na\n" * 500, URL)
    assert len(playlist.problems) == MAX_PROBLEMS


VALID = "\n".join(
    ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXT-X-MEDIA-SEQUENCE:7", '#EXT-X-MAP:URI="i"', "#EXT-X-BYTERANGE:1@2"]
    + ["#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z", "#EXTINF:2.0,", "a.aac", "#EXT-X-DISCONTINUITY"] * 3
)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(VALID)), st.integers(0, 30), st.text(max_size=20))
def test_a_damaged_playlist_never_leads_to_another_error(at: int, removed: int, inserted: str) -> None:
    damaged = VALID[:at] + inserted + VALID[at + removed :]
    try:
        playlist = parse(damaged, URL)
    except SourceError:
        return
    if isinstance(playlist, MediaPlaylist):
        whole = parse(VALID, URL)
        for before, after in ((None, playlist), (whole, playlist), (playlist, whole), (playlist, playlist)):
            assert all(isinstance(fault.kind, PlaylistFaultKind) for fault in check(before, after))
        assert playlist.behind(6.0) in (*playlist.segments, None)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_a_playlist_or_a_source_error(text: str) -> None:
    try:
        parse("#EXTM3U\n" + text, URL)
    except SourceError:
        return


def test_a_window_that_slides_is_without_fault() -> None:
    assert kinds(None, media(10)) == []
    assert kinds(media(10), media(10)) == []
    assert kinds(media(10), media(10, 7)) == []
    assert kinds(media(10), media(12)) == []
    assert kinds(media(10), media(40)) == []  # we polled late: that is not the packager's fault


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (media(10), media(4), "media-sequence"),
        (media(10, 6), media(10, 5), "playlist-size"),
        (media(10), media(10, renamed={12: "other.aac"}), "playlist-content"),
        (media(10), media(11, renamed={11: "other.aac"}), "continuity"),
        (media(10, broken_at=frozenset({10})), media(11), "discontinuity-sequence"),
        (media(10), media(10, discontinuity_sequence=1), "discontinuity-sequence"),
        (media(10), media(11, clock_jump_at=16), "date-time-gap"),
        (media(10, duration=2.0), media(11, duration=2.6), "segment-too-long"),
        (media(10, 4), media(13, 2), "short-window"),
        (media(10, target=2), media(11, target=3), "target-duration"),
    ],
)
def test_each_broken_rule_is_told(before: MediaPlaylist, after: MediaPlaylist, kind: str) -> None:
    assert kind in kinds(before, after)


def test_a_discontinuity_that_left_with_its_segment_is_counted() -> None:
    assert kinds(media(10, broken_at=frozenset({10})), media(11, discontinuity_sequence=1)) == []


def test_a_clock_jump_behind_a_discontinuity_is_allowed() -> None:
    assert kinds(media(10), media(11, broken_at=frozenset({16}), clock_jump_at=16)) == []


def test_a_player_begins_three_target_durations_behind() -> None:
    assert media(10, 6).behind(6.0).sequence == 13
    assert media(10, 6, duration=1.99).behind(6.0).sequence == 13
    assert media(10, 2).behind(6.0).sequence == 10

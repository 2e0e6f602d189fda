from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soundstage.errors import Malformed
from soundstage.packager import KEPT_BEYOND, WINDOW, Shelf
from soundstage.plan import RATE, RENDITIONS
from soundstage.playlist import Entry, Playlist, parse, parse_master, render_master

AAC, OPUS = RENDITIONS[1], RENDITIONS[2]
START_US = 1_790_000_000_000_000


def header(start_us: int, epoch: str = "a", samples: int = 96_256) -> dict:
    return {"start_us": start_us, "samples": samples, "epoch": epoch, "frame_samples": 1024, "config": OPUS_HEAD.hex()}


OPUS_HEAD = b"OpusHead\x01\x028\x01\x80\xbb\x00\x00\x00\x00\x00"


def fill(shelf: Shelf, count: int, start_us: int = START_US, epoch: str = "a") -> int:
    for _ in range(count):
        assert shelf.add(header(start_us, epoch), [b"x" * 10])
        start_us += round(96_256 * 1e6 / RATE)
    return start_us


def test_playlist_obeys_rfc_8216(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "aac-128", AAC)
    fill(shelf, 20)
    lines = (tmp_path / "aac-128" / "index.m3u8").read_text().splitlines()
    assert lines[0] == "#EXTM3U"
    target = next(int(line.partition(":")[2]) for line in lines if line.startswith("#EXT-X-TARGETDURATION"))
    durations = [float(line[8:].rstrip(",")) for line in lines if line.startswith("#EXTINF:")]
    assert all(round(duration) <= target for duration in durations)
    assert sum(durations) >= 3 * target
    assert sum(line.startswith("#EXT-X-PROGRAM-DATE-TIME:") for line in lines) == len(durations) == WINDOW
    assert lines.count("#EXT-X-ENDLIST") == 0
    uris = [line for line in lines if line and not line.startswith("#")]
    assert all((tmp_path / "aac-128" / uri).exists() for uri in uris)


def test_media_sequence_grows_by_what_leaves_the_window(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, AAC)
    fill(shelf, WINDOW)
    first = shelf.playlist.media_sequence
    fill(shelf, 3, shelf.playlist.entries[-1].end_us)
    assert shelf.playlist.media_sequence == first + 3
    assert shelf.playlist.entries[0].uri == f"{first + 3}.aac"


def test_dates_are_continuous_and_survive_the_text(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, AAC)
    fill(shelf, 6)
    entries = parse((tmp_path / "index.m3u8").read_text()).entries
    for before, after in itertools.pairwise(entries):
        assert after.start_us == pytest.approx(before.end_us, abs=1_500)
        assert not after.discontinuity


def test_removed_segments_stay_for_the_longest_playlist_and_are_deleted_then(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, AAC)
    fill(shelf, 2 * WINDOW + KEPT_BEYOND + 5)
    assert len(list(tmp_path.glob("*.aac"))) == 2 * WINDOW + KEPT_BEYOND


def test_new_run_of_the_transcoder_is_marked_and_counted_when_it_leaves(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, AAC)
    end = fill(shelf, 3)
    fill(shelf, WINDOW, end + 7_000_000, epoch="b")
    assert [entry.discontinuity for entry in shelf.playlist.entries] == [True] + [False] * (WINDOW - 1)
    assert shelf.playlist.discontinuity_sequence == 0
    fill(shelf, 1, shelf.playlist.entries[-1].end_us, epoch="b")
    assert shelf.playlist.discontinuity_sequence == 1


def test_hole_within_a_run_is_marked(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, AAC)
    end = fill(shelf, 2)
    fill(shelf, 1, end + 2_000_000)
    assert shelf.playlist.entries[-1].discontinuity


def test_repeated_segment_is_not_listed_twice(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, AAC)
    fill(shelf, 3)
    assert not shelf.add(header(shelf.playlist.entries[-1].start_us), [b"x"])
    assert len(shelf.playlist.entries) == 3


def test_packager_that_starts_again_goes_on_where_it_was(tmp_path: Path) -> None:
    before = Shelf(tmp_path, OPUS)
    end = fill(before, 5)
    after = Shelf(tmp_path, OPUS)
    assert after.playlist.next_sequence == before.playlist.next_sequence
    fill(after, 1, end)
    assert not after.playlist.entries[-1].discontinuity
    assert after.playlist.map_uri == "init.mp4"


def test_packager_whose_folder_was_lost_uses_no_number_again(tmp_path: Path) -> None:
    assert Shelf(tmp_path, AAC).playlist.media_sequence == pytest.approx(time.time() / 2, abs=3)


@given(
    st.lists(st.tuples(st.integers(1, 3_000), st.booleans()), max_size=12),
    st.integers(0, 2**40),
    st.integers(0, 1_000),
    st.sampled_from([None, "init.mp4"]),
)
def test_what_is_written_is_what_is_read(pieces, sequence, discontinuities, map_uri) -> None:
    entries = tuple(
        Entry(f"{n}.aac", START_US + n * 2_000_000, milliseconds / 1000, broken)
        for n, (milliseconds, broken) in enumerate(pieces)
    )
    playlist = Playlist(sequence, discontinuities, entries, map_uri)
    assert parse(playlist.render()) == playlist


@pytest.mark.parametrize("text", ["", "<html>502</html>", "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:many\n"])
def test_what_is_no_playlist_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


def test_master_lists_every_rendition_with_its_codec() -> None:
    text = render_master(RENDITIONS)
    assert parse_master(text) == tuple(f"{rendition.name}/index.m3u8" for rendition in RENDITIONS)
    assert 'CODECS="opus"' in text
    assert 'CODECS="mp4a.40.2"' in text

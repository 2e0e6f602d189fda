from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.platform_parts import START
from tonewatch.cases import FILE, FOLLOWED, VERSION, Expected, library, open_case, write_case
from tonewatch.errors import RecordingError
from tonewatch.settings import load_profile

STATION = load_profile("station")
CRASH = Expected(START, START + timedelta(seconds=40), ("component:packager",), "component:packager:crash")


def test_a_case_is_read_as_it_was_written(tmp_path: Path) -> None:
    for name, expected in (("b-crash", CRASH), ("a-calm", None)):
        (tmp_path / name).mkdir()
        write_case(tmp_path / name, "soundstage", STATION, expected)
    calm, crash = library(tmp_path)
    assert (calm.name, calm.expected, calm.profile) == ("a-calm", None, STATION)
    assert (crash.name, crash.expected, crash.source) == ("b-crash", CRASH, "soundstage")


def test_a_folder_without_a_case_is_no_library(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no such folder"):
        library(tmp_path / "nowhere")
    (tmp_path / "half").mkdir()
    with pytest.raises(RecordingError, match="holds no case"):
        library(tmp_path)


@pytest.mark.parametrize(
    "broken",
    [
        {"until": "2020-01-01T00:00:00+00:00"},
        {"onset": "2026-07-06T12:00:00"},
        {"entities": []},
        {"entities": "component:packager"},
    ],
)
def test_a_case_that_says_nothing_usable_is_refused(tmp_path: Path, broken: dict[str, object]) -> None:
    write_case(tmp_path, "soundstage", STATION, CRASH)
    told = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    told["expected"] |= broken
    (tmp_path / FILE).write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(RecordingError, match="is no case"):
        open_case(tmp_path)


def test_a_case_by_a_profile_that_is_none_is_refused(tmp_path: Path) -> None:
    write_case(tmp_path, "soundstage", STATION, None)
    told = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    (tmp_path / FILE).write_text(json.dumps(told | {"profile": {"tick_seconds": "soon"}}), encoding="utf-8")
    with pytest.raises(RecordingError, match="tick_seconds"):
        open_case(tmp_path)


def test_a_case_of_another_version_is_refused_and_one_that_tells_none_is_of_the_first(tmp_path: Path) -> None:
    write_case(tmp_path, "soundstage", STATION, None)
    told = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    del told["version"]
    (tmp_path / FILE).write_text(json.dumps(told), encoding="utf-8")
    assert open_case(tmp_path).profile == STATION
    (tmp_path / FILE).write_text(json.dumps(told | {"version": VERSION + 1}), encoding="utf-8")
    with pytest.raises(RecordingError, match=f"of version {VERSION + 1}.*remove the folder"):
        open_case(tmp_path)


def test_what_was_known_of_single_series_is_kept_with_the_case_and_seen_to_be_whole(tmp_path: Path) -> None:
    for name, followed in (("with", b"much"), ("without", None)):
        (tmp_path / name).mkdir()
        write_case(tmp_path / name, "simulator", STATION, CRASH, followed)
    kept, other = library(tmp_path)
    assert (kept.followed(), other.followed()) == (b"much", None)
    (tmp_path / "with" / FOLLOWED).write_bytes(b"more")
    with pytest.raises(RecordingError, match="was changed"):
        kept.followed()
    (tmp_path / "with" / FOLLOWED).unlink()
    with pytest.raises(RecordingError, match="cannot be read"):
        kept.followed()

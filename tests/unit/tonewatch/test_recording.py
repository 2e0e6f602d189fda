"""Recordings by path: what is asked of one, and what a damaged one is refused with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tonewatch.clock import microseconds
from tonewatch.errors import RecordingError
from tonewatch.keeping import CHANGES, ENTITIES, SESSIONS, Keeper
from tonewatch.recording import Recording, open_recording
from tonewatch.records import Change, Entity, Sample, Series, SessionReport

START = datetime(2026, 1, 5, tzinfo=UTC)
LAG, UP = Series("component:a", "lag", unit="s"), Series("component:a", "up")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def write(folder: Path, seconds: int = 120) -> Recording:
    """Two series, one read every second, one every other; two chunks."""
    keeper = Keeper(folder, [UP, LAG])
    keeper.lines(ENTITIES, [{"id": "component:a", "stage": "origin", "labels": {}, "feeds": [], "depends_on": []}])
    told = {"kind": "release", "entity": "component:a", "author": "x", "summary": "y", "ended": None}
    keeper.lines(CHANGES, [{"id": "c1", **told, "started": at(3).isoformat()}])
    report = {"session": "s", "channel": "channel:ch1", "edge": "", "event": "t", "state": "p"}
    keeper.lines(SESSIONS, [{**report, "time": at(4).isoformat()}])
    for begin in (0, seconds // 2):
        there = range(begin, begin + seconds // 2)
        lags = [Sample(LAG, at(second), second / 8) for second in there]
        keeper.chunk([*lags, *(Sample(UP, at(second), 1.0) for second in there if second % 2 == 0)])
    keeper.close(START, at(seconds), 1.0, {"scrape_seconds": 1.0}, "a test", "a test")
    return open_recording(folder)


def test_what_was_told_beside_the_samples_comes_back_as_nouns(tmp_path: Path) -> None:
    found = write(tmp_path / "a")
    assert found.entities == (Entity("component:a", "origin"),)
    assert found.changes == (Change("c1", "release", "component:a", at(3), None, "x", "y"),)
    assert found.sessions == (SessionReport("s", "channel:ch1", "", at(4), "t", "p"),)
    assert found.beacons == ()
    assert found.counts == {"series": 2, "samples": 180, "entities": 1, "changes": 1, "sessions": 1}


def test_a_grid_has_a_row_per_step_and_nan_where_nothing_came(tmp_path: Path) -> None:
    grid = write(tmp_path / "a").grid()
    assert grid.series == (LAG, UP)
    assert grid.values.shape == (120, 2)
    assert grid.times.tolist() == [microseconds(START) + second * 1_000_000 for second in range(120)]
    assert grid.values[:, 0].tolist() == [second / 8 for second in range(120)]
    assert np.flatnonzero(np.isnan(grid.values[:, 1])).tolist() == list(range(1, 120, 2))


def test_a_sample_stands_at_the_nearest_step_and_of_several_the_latest(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "a", [UP])
    keeper.chunk([Sample(UP, at(0.6), 1.0), Sample(UP, at(1.4), 2.0), Sample(UP, at(2.0), 3.0)])
    keeper.close(START, at(4), 1.0, {}, "", "")
    assert open_recording(tmp_path / "a").grid().values[:, 0].tolist()[1:3] == [2.0, 3.0]


def test_a_part_is_read_by_its_times(tmp_path: Path) -> None:
    found = write(tmp_path / "a")
    part = found.grid(start=at(50), end=at(70))
    assert part.values[:, 0].tolist() == [second / 8 for second in range(50, 70)]
    told = list(found.samples(at(58), at(62)))
    assert told == [
        Sample(each, at(second), second / 8 if each is LAG else 1.0)
        for second in range(58, 62)
        for each in (LAG, UP)
        if each is LAG or second % 2 == 0
    ]
    assert list(found.samples(at(500), at(600))) == []
    assert found.grid(every_s=60).values.shape == (2, 2)


def test_a_grid_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="ask for a part"):
        write(tmp_path / "a").grid(every_s=1e-6, end=START + timedelta(days=365))


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(RecordingError, match="not empty"):
        Keeper(tmp_path, [UP])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(RecordingError, match="cannot be written"):
        Keeper(tmp_path / "mine", [UP])


def test_a_chunk_must_be_later_and_its_series_known(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "a", [UP])
    keeper.chunk([Sample(UP, at(5), 1.0)])
    with pytest.raises(RecordingError, match="later than those of the chunk before"):
        keeper.chunk([Sample(UP, at(5), 1.0)])
    with pytest.raises(RecordingError, match="was not named"):
        keeper.chunk([Sample(LAG, at(6), 1.0)])


def test_of_two_samples_of_one_time_the_last_counts(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "a", [UP, UP])
    keeper.chunk([Sample(UP, at(1), 1.0), Sample(UP, at(1), 0.0)])
    keeper.close(START, at(2), 1.0, {}, "", "")
    assert list(open_recording(tmp_path / "a").samples()) == [Sample(UP, at(1), 0.0)]


def test_a_recording_that_was_not_finished_is_none(tmp_path: Path) -> None:
    Keeper(tmp_path / "a", [UP]).chunk([Sample(UP, at(1), 1.0)])
    with pytest.raises(RecordingError, match="not written to its end"):
        open_recording(tmp_path / "a")
    with pytest.raises(RecordingError, match="is no recording"):
        open_recording(tmp_path / "nowhere")


def _manifest(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        told = json.loads((folder / "manifest.json").read_text())
        change(told)
        (folder / "manifest.json").write_text(json.dumps(told))

    return damage


def _swap_series(folder: Path) -> None:
    told = json.loads((folder / "series.json").read_text())
    (folder / "series.json").write_text(json.dumps(told[::-1]))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_manifest(lambda m: m.update(version=2)), "of version 2; this Tonewatch reads version 1"),
        (_manifest(lambda m: m.update(format="x")), "is no recording's"),
        (_manifest(lambda m: m.pop("hash")), "lack what they need"),
        (_manifest(lambda m: m.update(start="yesterday")), "lack what they need"),
        (_manifest(lambda m: m.update(end="2020-01-01T00:00:00+00:00")), "make no stretch of time"),
        (_manifest(lambda m: m["chunks"].reverse()), "do not follow one another"),
        (_manifest(lambda m: m["chunks"][0].update(file="../../etc/passwd")), "is no file of samples"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "is no JSON"),
        (lambda folder: (folder / "series.json").unlink(), "cannot be read"),
        (_swap_series, "not in order"),
    ],
)
def test_what_is_no_recording_is_refused_when_it_is_opened(
    tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    write(tmp_path / "a")
    damage(tmp_path / "a")
    with pytest.raises(RecordingError, match=told):
        open_recording(tmp_path / "a")


def _cut_chunk(folder: Path) -> None:
    chunk = folder / "samples" / "000000.npz"
    chunk.write_bytes(chunk.read_bytes()[:100])


def _other_chunk(folder: Path) -> None:
    shutil.copy(folder / "samples" / "000001.npz", folder / "samples" / "000000.npz")


def _other_columns(folder: Path) -> None:
    np.savez(folder / "samples" / "000000.npz", series=np.zeros(1), counts=[1], times=[1], values=[1.0])


def _pickled(folder: Path) -> None:
    np.savez(folder / "samples" / "000000.npz", series=np.array([{}]), counts=[1], times=[1], values=[1.0])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_cut_chunk, "cannot be read"),
        (_other_chunk, "do not fit one another"),
        (_other_columns, "do not fit one another"),
        (_pickled, "cannot be read"),
        (lambda folder: (folder / "samples" / "000001.npz").unlink(), "cannot be read"),
        (lambda folder: (folder / "changes.jsonl").write_text(""), "damaged or was changed"),
        (lambda folder: (folder / "entities.jsonl").unlink(), "damaged or was changed"),
        (_manifest(lambda m: m.update(watched={})), "damaged or was changed"),
        (_manifest(lambda m: m.update(every_seconds=2.0)), "damaged or was changed"),
    ],
)
def test_what_was_changed_does_not_verify(tmp_path: Path, damage: Callable[[Path], None], told: str) -> None:
    write(tmp_path / "a")
    damage(tmp_path / "a")
    with pytest.raises(RecordingError, match=told):
        open_recording(tmp_path / "a").verify()


@pytest.mark.parametrize("text", ["[]\n", '{"id": "c1"}\n', "{\n", '{"started": 3, "ended": null}\n'])
def test_a_line_that_is_no_noun_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path / "a")
    (tmp_path / "a" / CHANGES).write_text(text)
    with pytest.raises(RecordingError, match=r"changes\.jsonl"):
        _ = open_recording(tmp_path / "a").changes

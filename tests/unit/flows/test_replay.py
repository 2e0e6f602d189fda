"""Replay: the same recording gives the same findings, bit for bit, here and in another process."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flows.following import play
from flows.replay import Replayed, batches, finding_document, moments, replay
from flows.ticks import TICKED
from tasks.follow import Follower
from tasks.preserve import snapshot
from tasks.tell import Teller
from tests.benchmarks import _recording
from tests.unit.platform_parts import START, at
from tests.unit.tasks.followed import RUN, ended, fit, noise, sampled
from tonewatch.clock import ManualClock
from tonewatch.errors import ModelError, RecordingError
from tonewatch.keeping import ENTITIES, Keeper
from tonewatch.recording import Recording, open_recording
from tonewatch.records import FindingKind, Sample, Series
from tonewatch.settings import load_profile
from tonewatch.topology import Topology
from tonewatch.watched import judged_by, watched

DEMO = load_profile("demo")
FAILING = ("up", "scrape_failed")
TRANSCODER, HOST = "component:transcoder-ch1", "host:watcher"
#: From this second to before that one the transcoder refuses to be scraped.
DOWN = range(30, 42)


def soundstage() -> tuple[_recording.Recording, list[Sample]]:
    """A recorded minute of a real soundstage in which a transcoder then fails, as its watcher would have told it."""
    told = _recording.load()
    samples = [
        Sample(line.series, START + timedelta(milliseconds=time), value)
        for line in told.lines
        for time, value in zip(line.times, line.values, strict=True)
    ]
    kept = [
        sample
        for sample in samples
        if sample.series.entity != TRANSCODER or not at(DOWN.start) <= sample.time < at(DOWN.stop)
    ]
    refused = Series(TRANSCODER, "scrape_failed", (("reason", "refused"),))
    for second in DOWN:
        kept += [Sample(Series(TRANSCODER, "up"), at(second), 0.0), Sample(refused, at(second), 1.0)]
    return told, kept


def write(
    folder: Path, samples: list[Sample], told: _recording.Recording, *, first: float = 0.0, **changed: float
) -> Recording:
    keeper = Keeper(folder, {sample.series for sample in samples})
    lists = ("feeds", "depends_on")
    keeper.lines(
        ENTITIES,
        [
            {"id": each.id, "stage": each.stage, "labels": dict(each.labels)}
            | {name: list(getattr(each, name)) for name in lists}
            for each in told.entities
        ],
    )
    keeper.chunk(samples)
    keeper.close(at(first), at(told.seconds), 1.0, {**watched(DEMO), **changed}, told.about, "a test")
    return open_recording(folder)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    told, samples = soundstage()
    return write(tmp_path_factory.mktemp("recorded") / "a", samples, told)


@pytest.fixture(scope="module")
def found(recording: Recording) -> Replayed:
    return replay(recording, DEMO)


def test_what_was_wrong_is_found_once(found: Replayed, recording: Recording) -> None:
    downs = [each for each in found.findings if each.entity == TRANSCODER and each.detector == "rule:scrape-down"]
    assert [(each.symptom, each.started) for each in downs] == [("scrape-refused", at(DOWN.start))]
    assert found.samples == recording.counts["samples"]
    assert found.ticks == 12


def test_a_replay_gives_the_same_hash_twice_and_in_another_process(found: Replayed, recording: Recording) -> None:
    assert replay(recording, load_profile("platform")).hash == found.hash
    said = subprocess.run(
        [sys.executable, "-m", "console.cli", "replay", str(recording.folder), "--json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=Path(__file__).parents[3],
    )
    told = json.loads(said.stdout)
    assert told["hash"] == found.hash
    assert [each["id"] for each in told["findings"]] == [each.id for each in found.findings]
    assert told["recording"] == recording.hash


def test_the_order_in_which_samples_came_changes_nothing(tmp_path: Path, found: Replayed, recording: Recording) -> None:
    told, samples = soundstage()
    random.Random(1).shuffle(samples)
    again = write(tmp_path / "b", samples, told)
    assert again.hash == recording.hash
    assert replay(again, DEMO).hash == found.hash


def test_another_sample_can_be_another_hash(tmp_path: Path, found: Replayed) -> None:
    told, samples = soundstage()
    later = [
        Sample(each.series, each.time, 1.0) if (each.series.entity, each.time) == (TRANSCODER, at(30)) else each
        for each in samples
        if each.series.metric == "up" or each.time != at(30) or each.series.entity != TRANSCODER
    ]
    assert replay(write(tmp_path / "b", later, told), DEMO).hash != found.hash


def test_what_began_while_the_watcher_starved_is_told_apart(tmp_path: Path) -> None:
    told, samples = soundstage()
    starved = [Sample(Series(HOST, "host_starved_seconds", unit="s"), at(second), 1.0) for second in range(20, 41)]
    slow = [Sample(Series("rendition:ch1/aac-128", "probe_playlist_overdue_seconds"), at(s), 9.0) for s in (31, 32)]
    kept = [each for each in samples if each.series.metric != "probe_playlist_overdue_seconds"]
    again = replay(write(tmp_path / "b", [*kept, *starved, *slow], told), DEMO)
    by_symptom = {each.symptom: each.id for each in again.findings}
    assert by_symptom["playlist-stale"] in again.excused
    assert by_symptom["scrape-refused"] not in again.excused


def test_it_ticks_when_the_recorded_watcher_did(tmp_path: Path) -> None:
    """A failure of five seconds between two ticks that are ten seconds apart is seen by nobody."""
    told, samples = soundstage()
    short = [each for each in samples if each.series.entity != TRANSCODER or each.series.metric not in FAILING]
    short += [Sample(Series(TRANSCODER, "up"), at(second), float(not 31 <= second < 36)) for second in range(60)]
    ticks = {"seen": (5, 20, 35), "unseen": (5, 30, 40)}
    symptoms = {}
    for name, seconds in ticks.items():
        clock = [Sample(TICKED, at(second), 5.0) for second in seconds]
        again = replay(write(tmp_path / name, [*short, *clock], told), DEMO)
        assert again.ticks == len(seconds)
        symptoms[name] = {each.symptom for each in again.findings if each.entity == TRANSCODER}
    assert symptoms["seen"] - symptoms["unseen"] == {"scrape-unknown"}


def test_where_nobody_watched_it_ticks_evenly(tmp_path: Path) -> None:
    """The watcher ticked up to the tenth second and from the fiftieth on; what failed in between is found."""
    told, samples = soundstage()
    ends = [5, 10, *range(50, 60, 5)]
    silent = write(tmp_path / "a", [*samples, *(Sample(TICKED, at(second), 5.0) for second in ends)], told)
    clock = ManualClock(silent.start)
    assert list(moments(silent, clock, 5.0)) == [at(second) for second in range(5, 60, 5)]
    assert clock.now() == at(55)
    assert [each for each in replay(silent, DEMO).findings if each.symptom == "scrape-refused"]


@pytest.mark.parametrize(("ends", "expected"), [((30,), 5 + 1 + 6), ((5, 30), 2 + 6), ((25, 50), 2)])
def test_the_ends_of_a_recording_and_long_pauses_are_watched_too(
    tmp_path: Path, ends: tuple[int, ...], expected: int
) -> None:
    told, samples = soundstage()
    silent = write(tmp_path / "a", [*samples, *(Sample(TICKED, at(second), 5.0) for second in ends)], told)
    ticks = list(moments(silent, ManualClock(silent.start), 5.0))
    assert len(ticks) == expected
    assert set(map(at, ends)) <= set(ticks)


def test_the_recordings_own_figures_win_over_the_profile(tmp_path: Path) -> None:
    told, samples = soundstage()
    patient = write(tmp_path / "b", samples, told, scrapes_failed=20)
    assert not [each for each in replay(patient, DEMO).findings if each.symptom == "scrape-refused"]


def test_what_a_recording_is_watched_by_must_be_known_and_fit() -> None:
    assert judged_by(load_profile("platform"), watched(DEMO)).tick_seconds == DEMO.tick_seconds
    with pytest.raises(RecordingError, match="'slo', which is none of tick_seconds"):
        judged_by(DEMO, {"slo": 0.5})
    with pytest.raises(RecordingError, match="tick_seconds: Input should be greater than 0"):
        judged_by(DEMO, {"tick_seconds": 0.0})


def test_samples_are_cut_where_the_ticks_are() -> None:
    told = [Sample(Series("a:b", "up"), at(second), 1.0) for second in (0, 5, 6, 30)]
    cut = batches(told, [at(5), at(10), at(15)])
    assert [[(each.time - START).seconds for each in batch] for batch in cut] == [[0, 5], [6], []]


def test_a_damaged_recording_is_not_replayed(tmp_path: Path) -> None:
    told, samples = soundstage()
    write(tmp_path / "b", samples, told)
    (tmp_path / "b" / "entities.jsonl").write_text("")
    said = subprocess.run(
        [sys.executable, "-m", "console.cli", "replay", str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=Path(__file__).parents[3],
    )
    assert said.returncode == 2
    assert "damaged or was changed" in said.stderr
    assert said.stdout == ""


def test_single_series_are_followed_where_there_are_thresholds_and_the_same_each_time(tmp_path: Path) -> None:
    told = replace(soundstage()[0], seconds=1_000)
    values = noise(1, 200)
    values[0, 150:] += 20.0
    lag = Series(TRANSCODER, "lag_seconds", unit="s")
    samples = [each for tick in sampled([lag], values) for each in tick]
    kept = write(tmp_path / "a", samples, told)
    fits = {each.family: each for each in [fit("lag_seconds")]}
    assert [each for each in replay(kept, DEMO).findings if each.kind is FindingKind.SIGNAL] == []
    found = replay(kept, DEMO, series=fits)
    (strange,) = [each for each in found.findings if each.kind is FindingKind.SIGNAL]
    assert (strange.entity, strange.detector) == (TRANSCODER, "series:lag_seconds")
    assert strange.started == samples[150].time
    assert (found.held[strange.id].first - strange.started).total_seconds() == (RUN - 1) * 5 + 1
    assert replay(kept, DEMO, series=fits).hash == found.hash


def test_what_was_known_of_single_series_goes_on_as_if_the_recording_had_begun_before(tmp_path: Path) -> None:
    told, cut = replace(soundstage()[0], seconds=1_000), 140
    values = noise(1, 200)
    values[0, 150:] += 20.0
    ticks = sampled([Series(TRANSCODER, "lag_seconds", unit="s")], values)
    fits = {each.family: each for each in [fit("lag_seconds")]}
    whole = write(tmp_path / "a", [each for tick in ticks for each in tick], told)
    known = Teller(Follower(DEMO.followed_series))
    play(known, ((ended(number), ticks[number]) for number in range(cut)), Topology(whole.entities), DEMO)
    late = write(tmp_path / "b", [each for tick in ticks[cut:] for each in tick], told, first=cut * DEMO.tick_seconds)
    found, strange = (
        [finding_document(each) for each in again.findings if each.kind is FindingKind.SIGNAL]
        for again in (replay(late, DEMO, series=fits, followed=snapshot(known)), replay(whole, DEMO, series=fits))
    )
    assert found == strange
    assert len(found) == 1
    assert not [each for each in replay(late, DEMO, series=fits).findings if each.kind is FindingKind.SIGNAL]
    with pytest.raises(ModelError, match="not laid out"):
        replay(late, DEMO, series=fits, followed=b"another thing")

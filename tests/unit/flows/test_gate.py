from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from console.cases import compare as compare_command
from console.cases import run_
from flows.gate import Judges, Ruling, figures, hold, judge_all
from ml.champion import Champion
from tasks.compare import compare
from tests.unit.flows.test_replay import DEMO, DOWN, TRANSCODER, soundstage, write
from tests.unit.platform_parts import at
from tests.unit.transcoders import forest
from tonewatch.cases import FILE, RECORDING, Case, Expected, folders, library, write_case
from tonewatch.errors import ModelFails, RecordingError, SettingsError

CRASH = Expected(at(DOWN.start), at(DOWN.stop), (TRANSCODER,), f"{TRANSCODER}:crash")
LATER = at(3600)
#: With so much patience no scrape that fails is told in a minute.
BLIND = DEMO.model_copy(update={"scrapes_failed": 1 + len(DOWN)})


def make_library(folder: Path) -> list[Case]:
    """A minute with a transcoder that fails, and the same minute without it."""
    told, samples = soundstage()
    well = [sample for sample in samples if sample.series.entity != TRANSCODER]
    for name, kept, expected in (("crash", samples, CRASH), ("calm", well, None)):
        (folder / name).mkdir(parents=True)
        write(folder / name / RECORDING, kept, told)
        write_case(folder / name, "soundstage", DEMO, expected)
    return library(folder)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return make_library(tmp_path_factory.mktemp("cases"))


def test_cases_replay_bit_for_bit_and_the_incident_is_found(cases: list[Case]) -> None:
    first, second = (judge_all(cases, Judges({})) for _ in range(2))
    assert first == second
    calm, crash = first
    assert (calm.calm, calm.besides) == (True, 0)
    assert crash.found_s is not None
    assert 0 < crash.found_s < 15
    assert figures(first)["found"] == 1.0


def test_a_change_that_misses_a_recorded_incident_is_refused_by_name(
    cases: list[Case], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = (judge_all(cases, Judges({}, profile)) for profile in (None, BLIND))
    assert compare(before, after).worse.keys() == {"crash"}
    for name, told in (("before", before), ("after", after)):
        (tmp_path / name).write_text(json.dumps({"outcomes": [asdict(each) for each in told]}), encoding="utf-8")
    with pytest.raises(typer.Exit) as left:
        compare_command(tmp_path / "before", tmp_path / "after", False)
    assert left.value.exit_code == 1
    assert "worse   crash: found after" in capsys.readouterr().out
    compare_command(tmp_path / "before", tmp_path / "before", False)
    assert "nothing got worse" in capsys.readouterr().out


def test_a_case_whose_recording_was_changed_judges_nothing(tmp_path: Path) -> None:
    cases = make_library(tmp_path)
    (tmp_path / "crash" / RECORDING / "changes.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(RecordingError):
        judge_all(cases, Judges({}))


def test_outcomes_are_written_for_the_next_comparison(
    cases: list[Case], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_(cases[0].folder.parent, tmp_path / "now", None, None, None, None, False)
    assert "crash" in capsys.readouterr().out
    compare_command(tmp_path / "now", tmp_path / "now", True)
    assert json.loads(capsys.readouterr().out)["same"] == 2
    with pytest.raises(RecordingError, match="holds no outcomes"):
        compare_command(tmp_path / "now", cases[0].folder / "case.json", True)


def held(folder: Path, after: Judges, now: datetime = LATER) -> Ruling:
    return hold(folders(folder), Judges({}), after, now)


def test_what_changes_nothing_passes_and_what_misses_an_incident_is_held(cases: list[Case]) -> None:
    folder = cases[0].folder.parent
    assert held(folder, Judges({})) == Ruling(cases=2)
    assert held(folder, Judges({}, BLIND)).worse.keys() == {"crash"}
    early = held(folder, Judges({}, BLIND), at(DOWN.stop - 1))
    assert (early.cases, early.worse) == (1, {}), "the incident was not over"


def test_a_library_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert held(tmp_path / "nowhere", Judges({}, BLIND)) == Ruling()


def test_a_damaged_case_or_one_of_another_schema_holds_and_keeps_no_other_from_being_replayed(tmp_path: Path) -> None:
    make_library(tmp_path)
    (tmp_path / "crash" / RECORDING / "changes.jsonl").write_text("{}\n", encoding="utf-8")
    told = json.loads((tmp_path / "calm" / FILE).read_text(encoding="utf-8"))
    for name, document in {"old": told | {"profile": {"tick": 5}}, "broken": "calm"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE).write_text(json.dumps(document), encoding="utf-8")
    ruling = held(tmp_path, Judges({}))
    assert ruling.cases == 4
    assert ruling.worse.keys() == {"crash", "old", "broken"}
    assert all(why.startswith("cannot be replayed") for why in ruling.worse.values())


def test_a_challenger_that_crashes_on_a_case_is_held_by_it(cases: list[Case]) -> None:
    broken = forest()
    broken.names = ("no such feature",)
    after = Judges({"transcode": Champion("transcode", broken, 0.5, 0.1)})
    ruling = held(cases[0].folder.parent, after)
    assert ruling.worse
    assert all(why.startswith("what is new fails on it") for why in ruling.worse.values())


def failing() -> Champion:
    broken = forest()
    broken.names = ("no such feature",)
    return Champion("transcode", broken, 0.5, 0.1)


def test_a_model_that_both_have_and_that_fails_on_a_case_decides_nothing_about_the_change(cases: list[Case]) -> None:
    kept, champions = folders(cases[0].folder.parent), {"transcode": failing()}
    with pytest.raises(ModelFails, match="1 features") as told:
        judge_all(cases, Judges(champions))
    assert told.value.family == "transcode"
    assert hold(kept, Judges(champions), Judges(champions), LATER) == Ruling(cases=2)
    blind = hold(kept, Judges(champions), Judges(champions, BLIND), LATER)
    assert (blind.worse.keys(), blind.broken) == ({"crash"}, {})


def test_a_champion_that_fails_on_a_case_judges_nothing_in_it_and_its_challenger_is_held_against_the_rest(
    cases: list[Case],
) -> None:
    kept, good = folders(cases[0].folder.parent), Champion("transcode", forest(), 0.999, 0.1)
    before, after = Judges({"transcode": failing()}), Judges({"transcode": good})
    assert hold(kept, before, after, LATER) == Ruling(cases=2)
    worse = hold(kept, before, Judges({"transcode": failing()}), LATER).worse
    assert worse
    assert all(why.startswith("what is new fails on it") for why in worse.values())


STEADIER: dict[str, Any] = {"guardrails": {"steady_readings": 50}}


def test_a_guardrail_is_replayed_too_what_it_keeps_from_being_mended_and_what_it_lets_be_done(
    cases: list[Case],
) -> None:
    now, steadier, ungranted = (judge_all(cases, Judges({}, own=own)) for own in ({}, STEADIER, {"grants": []}))
    assert [(each.case, each.acts, each.refusals) for each in now] == [("calm", "", ()), ("crash", "restart", ())]
    assert compare(now, steadier).worse == {"crash": "restart by itself -> left to people (steady-fault)"}
    assert compare(steadier, now).worse == {"crash": "steady-fault said no -> restart by itself"}
    assert compare(now, ungranted).worse == {"crash": "restart by itself -> left to people (consent)"}
    assert not compare(ungranted, now).refused


def test_settings_are_laid_over_each_cases_own_profile(
    cases: list[Case], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text("guardrails: {steady_readings: 50}\nscrapes_failed: 3\n", encoding="utf-8")
    folder = cases[0].folder.parent
    run_(folder, tmp_path / "before", None, None, None, None, False)
    run_(folder, tmp_path / "after", None, ["scrapes_failed=99"], tmp_path / "own.yaml", None, False)
    assert json.loads((tmp_path / "after").read_text())["judges"]["settings"] == {
        "guardrails": {"steady_readings": 50},
        "scrapes_failed": 99,
    }
    capsys.readouterr()
    with pytest.raises(typer.Exit):
        compare_command(tmp_path / "before", tmp_path / "after", False)
    assert "-> missed" in capsys.readouterr().out
    with pytest.raises(SettingsError, match="scrapes"):
        run_(folder, None, None, ["scrapes=1"], None, None, False)

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from soundstage import outcome, records
from soundstage.errors import Malformed, NotRunning
from soundstage.outcome import Outcome, attributable, judge
from soundstage.records import Stretch

INJECTED = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return INJECTED + timedelta(seconds=seconds)


def stretch(start: float, end: float | None, name: str = "a", channel: str = "channel:ch1") -> Stretch:
    ended = None if end is None else at(end)
    return Stretch(name, 0, "session", channel, "edge:edge-1", "stall", at(start), ended)


def test_nobody_lost_sound() -> None:
    assert judge([], INJECTED, at(60)) == Outcome(None, 0.0, 0.0)


def test_loss_is_summed_and_counted_from_the_injection() -> None:
    found = judge([stretch(5, 17), stretch(6, 15, "b")], INJECTED, at(60))
    assert found == Outcome(5.0, 17.0, pytest.approx(21 / 60, abs=1e-4))


def test_sound_that_is_still_missing_has_no_end() -> None:
    assert judge([stretch(5, 17), stretch(6, None, "b")], INJECTED, at(30)) == Outcome(5.0, None, 0.6)


def test_what_ends_after_until_is_still_missing_then() -> None:
    assert judge([stretch(5, 17)], INJECTED, at(11)) == Outcome(5.0, None, 0.1)


def test_stretch_that_was_open_before_or_is_of_another_channel_is_not_the_faults() -> None:
    stretches = [stretch(-1, 40), stretch(3, 4, "b", "channel:ch2"), stretch(70, 71, "c"), stretch(2, 3, "d")]
    assert [found.id for found in attributable(stretches, INJECTED, at(60), ["channel:ch1"])] == ["d"]
    assert [found.id for found in attributable(stretches, INJECTED, at(60), [])] == ["b", "d"]


def write(folder: Path, stretches: list[Stretch], *injected: float, path: tuple[str, ...] = ()) -> None:
    (folder / "players.jsonl").write_text("".join(found.line() for found in stretches))
    truths = [
        {"id": f"f{n}", "name": "f", "injected": at(s).isoformat(), "path": list(path)} for n, s in enumerate(injected)
    ]
    (folder / "truth.jsonl").write_text("".join(json.dumps(truth) + "\n" for truth in truths))


def test_records_of_players_give_the_outcome_of_a_fault(tmp_path: Path) -> None:
    write(tmp_path, [stretch(5, None), stretch(5, 17), stretch(8, 9, "b", "channel:ch2")], 0, path=("channel:ch1",))
    assert outcome.of_fault("f0", tmp_path) == Outcome(5.0, 17.0, 0.2)


def test_next_faults_stretches_are_not_this_ones(tmp_path: Path) -> None:
    write(tmp_path, [stretch(5, 17), stretch(105, 120, "b")], 0, 100)
    assert outcome.of_fault("f0", tmp_path) == Outcome(5.0, 17.0, 0.2)
    assert outcome.of_fault("f1", tmp_path) == Outcome(5.0, 20.0, 0.25)


def test_unknown_fault_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    write(tmp_path, [], 0)
    with pytest.raises(NotRunning, match="f0"):
        outcome.of_fault("other", tmp_path)


def test_line_that_is_being_written_is_left_out_and_a_strange_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "players.jsonl"
    path.write_text(stretch(1, 2).line() + '{"id": "half')
    assert len(records.read(path)) == 1
    path.write_text("hello\n")
    with pytest.raises(Malformed, match="line 1"):
        records.read(path)


def test_stretches_of_killed_players_end_when_they_last_wrote(tmp_path: Path) -> None:
    path = tmp_path / "players.jsonl"
    path.write_text(stretch(1, None).line())
    records.close_left_open(path)
    (found,) = records.read(path)
    assert found.end is not None
    assert abs((found.end - datetime.now(UTC)).total_seconds()) < 5

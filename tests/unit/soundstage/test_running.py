from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from soundstage import running, web
from soundstage.errors import AlreadyRunning, PortTaken, SoundstageError, StartFailed
from soundstage.plan import Plan, make
from soundstage.process import Log

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make(tmp_path, tmp_path / "soundstage-media", channels=1, players=1)


def test_process_that_finds_its_port_taken_says_so_and_another_try_is_made(plan: Plan) -> None:
    running._prepare(plan)
    part = plan.part("origin")
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        server = loop.run_until_complete(web.listen(lambda request: None, part.http_port))  # type: ignore[arg-type]
        words = [
            sys.executable,
            "-m",
            "soundstage.origin",
            "--plan",
            str(plan.folder / "plan.json"),
            "--name",
            "origin",
        ]
        done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
        server.close()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert isinstance(running._failure(plan, "origin"), PortTaken)


def test_process_that_ends_otherwise_is_named_with_its_last_words(plan: Plan) -> None:
    (plan.folder / "logs").mkdir()
    (plan.folder / "logs" / "edge-1.out").write_text("Traceback\nModuleNotFoundError: No module named 'x'\n")
    failure = running._failure(plan, "edge-1")
    assert type(failure) is StartFailed
    assert "edge-1 ended: ModuleNotFoundError" in str(failure)


def test_folder_is_held_by_one_run_at_a_time(tmp_path: Path) -> None:
    with running._lock(tmp_path), pytest.raises(AlreadyRunning, match="already"), running._lock(tmp_path):
        pass
    with running._lock(tmp_path):
        pass


def test_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SoundstageError, match="cannot be written"), running._lock(tmp_path / "file" / "x"):
        pass


def test_logs_of_an_earlier_run_are_removed_and_its_records_kept(tmp_path: Path) -> None:
    Log(tmp_path / "logs" / "origin.jsonl", "component:origin").info("started")
    (tmp_path / "players.jsonl").write_text("old\n")
    running._clean_leftovers(tmp_path, tmp_path / "soundstage-media")
    assert list((tmp_path / "logs").iterdir()) == []
    assert (tmp_path / "players.old.jsonl").read_text() == "old\n"


def test_log_writes_a_repeated_event_once_a_second_with_the_number_left_out(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl", "component:origin")
    for _ in range(50):
        log.warning("not_found", path="/x")
    log.info("other")
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2

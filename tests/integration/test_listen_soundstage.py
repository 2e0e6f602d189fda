"""`tonewatch listen` on the soundstage: it hears the sound, a silent studio line, and a playlist that stops."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_soundstage import EXAMPLES, PROJECT, Running, begin, command, end, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    started = begin(tmp_path_factory.mktemp("listened"))
    yield started
    end(started)


class Listening:
    """The command as a user runs it, and the lines that it has told."""

    def __init__(self, url: str) -> None:
        words = [sys.executable, "-m", "console.cli", "listen", url, "--json", "--for", "60s"]
        self.process = subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def until(self, wanted: str, seconds: float) -> dict[str, Any]:
        """The first line that names the broken threshold `wanted`."""
        found = wait_for(
            lambda: [line for line in list(self.lines) if wanted in json.dumps(line.get("broken", []))], seconds, wanted
        )
        return dict(found[0])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def listening(running: Running) -> Iterator[Listening]:
    base = running.inventory["edges"][0]["base_url"]
    listening = Listening(f"{base}{running.inventory['channels'][0]['master']}")
    wait_for(lambda: len(listening.lines) >= 3, 60, "the sound is heard")
    yield listening
    listening.stop()


def when(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_sound_is_heard_and_ten_seconds_of_silence_are_found_within_sixteen(
    running: Running, listening: Listening
) -> None:
    wait_for(lambda: listening.lines[-1].get("momentary_lufs", -120) > -60, 20, "loudness")
    truth = command("inject", "source-silent", "--dir", str(running.folder))
    try:
        line = listening.until("silence", 30)
        assert 10 <= when(line["time"]) - when(truth["injected"]) <= 16
    finally:
        command("heal", truth["id"], "--dir", str(running.folder))


def test_stopped_playlist_is_found_within_one_and_a_half_target_durations_of_being_overdue(
    running: Running, listening: Listening
) -> None:
    truth = command("inject", "transcoder-crash", "--dir", str(running.folder))
    try:
        line = listening.until("overdue", 30)
        assert line["overdue_s"] <= 1.5 * 2.0
    finally:
        command("heal", truth["id"], "--dir", str(running.folder))


def test_examples_folder_holds_what_the_page_names() -> None:
    page = (Path(PROJECT) / "docs" / "faults.md").read_text(encoding="utf-8")
    assert all(path.name in page for path in EXAMPLES.glob("*.py"))

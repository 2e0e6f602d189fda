from __future__ import annotations

import os
from pathlib import Path

import pytest

from tonewatch import switch
from tonewatch.errors import StateFolderError


def test_a_switch_is_read_as_it_was_turned(tmp_path: Path) -> None:
    for on in (True, False, True):
        switch.turn(tmp_path, on)
        assert switch.read(tmp_path) is on
    assert [each.name for each in switch.path(tmp_path).parent.iterdir()] == ["remediation"]


@pytest.mark.parametrize(
    ("content", "reading"),
    [
        (b"on", True),
        (b"on\n", True),
        (b"off\n", False),
        (b"", None),
        (b"ON\n", None),
        (b"onwards", None),
        (b"on\noff\n", None),
        (b"\xff\xfe", None),
        (b"on" + b" " * 100_000, None),
    ],
)
def test_only_the_words_themselves_are_understood(tmp_path: Path, content: bytes, reading: bool | None) -> None:
    switch.turn(tmp_path, on=True)
    switch.path(tmp_path).write_bytes(content)
    assert switch.read(tmp_path) is reading


def test_a_switch_that_is_not_there_or_is_no_file_cannot_be_read(tmp_path: Path) -> None:
    assert switch.read(tmp_path) is None
    assert switch.read(tmp_path / "nowhere") is None
    switch.path(tmp_path).mkdir(parents=True)
    assert switch.read(tmp_path) is None


def test_a_pipe_in_its_place_does_not_hold_up_who_asks(tmp_path: Path) -> None:
    switch.path(tmp_path).parent.mkdir()
    os.mkfifo(switch.path(tmp_path))
    assert switch.read(tmp_path) is None


def test_a_new_folder_gets_a_switch_that_is_on_and_one_taken_away_stays_away(tmp_path: Path) -> None:
    switch.install(tmp_path)
    assert switch.read(tmp_path) is True
    switch.turn(tmp_path, on=False)
    switch.install(tmp_path)
    assert switch.read(tmp_path) is False
    switch.path(tmp_path).unlink()
    switch.install(tmp_path)
    assert switch.read(tmp_path) is None


def test_a_switch_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "switches").write_text("a file in the folder's place")
    with pytest.raises(StateFolderError, match="cannot be written"):
        switch.turn(tmp_path, on=False)

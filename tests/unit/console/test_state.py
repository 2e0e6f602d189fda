from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from console.stack import state
from console.stack.state import PartRecord, Record, StateFolder, check_machine
from tonewatch.errors import AlreadyUp, StackError, StateFolderError


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "state")
    made.prepare()
    return made


def test_a_new_folder_is_made_with_its_version(folder: StateFolder) -> None:
    assert (folder.path / "version").read_text().strip() == state.LAYOUT
    assert folder.path.stat().st_mode & 0o066 == 0
    assert folder.logs.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_another_version_says_what_to_do(folder: StateFolder) -> None:
    (folder.path / "version").write_text("99\n")
    with pytest.raises(StateFolderError, match=r"layout '99'.*TONEWATCH_STATE_DIR"):
        folder.prepare()


def test_a_folder_of_other_things_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("mine")
    before = tmp_path.stat().st_mode
    with pytest.raises(StateFolderError, match="holds other things"):
        StateFolder(tmp_path).prepare()
    assert tmp_path.stat().st_mode == before


def test_a_folder_that_cannot_be_written_is_told() -> None:
    with pytest.raises(StateFolderError, match=r"/proc/tonewatch cannot be written.*TONEWATCH_STATE_DIR"):
        StateFolder(Path("/proc/tonewatch")).prepare()


def test_a_file_in_the_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateFolderError, match="cannot be written"):
        StateFolder(tmp_path / "state").prepare()


def test_a_held_folder_is_refused_to_the_next(folder: StateFolder) -> None:
    with folder.held(), pytest.raises(AlreadyUp, match="tonewatch down"), folder.held():
        pass
    with folder.held():
        pass


def test_a_killed_holder_leaves_no_lock(folder: StateFolder) -> None:
    program = f"""
import signal
from pathlib import Path
from console.stack.state import StateFolder
with StateFolder(Path({str(folder.path)!r})).held():
    print("held", flush=True)
    signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(AlreadyUp), folder.held():
            pass
        holder.kill()
    with folder.held():
        pass


def test_what_was_written_is_read(folder: StateFolder) -> None:
    record = Record(
        run="r", supervisor=1, supervisor_started=2, boot="b", since="t", parts=[PartRecord("redis", "up", 3)]
    )
    folder.write(record)
    assert folder.read() == record
    folder.forget()
    assert folder.read() is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"parts": 1}', json.dumps({"parts": [], "more": 1})])
def test_a_damaged_record_is_none(folder: StateFolder, content: str) -> None:
    (folder.path / "stack.json").write_text(content)
    assert folder.read() is None


def test_a_log_that_grew_is_put_aside(folder: StateFolder) -> None:
    log = folder.log("redis")
    with log.open("wb") as file:
        file.truncate((state.LOG_MIB << 20) + 1)
    assert folder.rotate("redis") == log
    assert not log.exists()
    assert (folder.logs / "redis.log.1").exists()


def test_a_machine_without_room_is_refused_before_anything_starts(tmp_path: Path) -> None:
    check_machine(tmp_path, disk_mib=1, memory_mib=1)
    with pytest.raises(StackError, match="MiB of free disk"):
        check_machine(tmp_path, disk_mib=1 << 40)
    with pytest.raises(StackError, match="MiB of memory"):
        check_machine(tmp_path, disk_mib=1, memory_mib=1 << 40)


def test_temporary_files_of_a_killed_run_go(folder: StateFolder) -> None:
    folder.clear_scratch()
    (folder.scratch / "left").write_text("")
    folder.clear_scratch()
    assert list(folder.scratch.iterdir()) == []
    assert folder.scratch.stat().st_mode & 0o777 == 0o700

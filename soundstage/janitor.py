"""Leaves nothing behind: ends a soundstage's processes and removes its media, whatever happened to `run`.

`run` starts one as a process of its own and holds the writing end of its standard input: when that closes, by an
orderly end or by kill -9, the janitor does its work.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

TERM_WAIT_S = 5.0
KILL_WAIT_S = 3.0
_STEP_S = 0.05
MEDIA_PREFIX = "soundstage-"


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _is_ours(pid: int, folder: Path) -> bool:
    """Whether the process is one that `run` started for `folder`: by its module and the folder's own files."""
    words = _arguments(pid)
    plan, conf = str(folder / "plan.json"), str(folder / "supervisord.conf")
    component = plan in words and any(word.startswith("soundstage.") for word in words)
    return component or (conf in words and "supervisor.supervisord" in words)


def processes_of(folder: Path) -> list[int]:
    """The ids of the platform's processes of `folder`, the supervisor first, so that it starts none meanwhile."""
    own = os.getpid()
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    ours = [pid for pid in pids if pid != own and _is_ours(pid, folder)]
    return sorted(ours, key=lambda pid: "supervisor.supervisord" not in _arguments(pid))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _gone(pids: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(_STEP_S)  # a process that is not our child can only be looked at
    return True


def end_processes(folder: Path) -> int:
    """End every process of `folder`, after TERM_WAIT_S by kill -9; returns how many there were.

    All are told at once: the supervisor alone would end one after the other, a second each.
    """
    pids = processes_of(folder)
    if pids:
        _signal(pids, signal.SIGTERM)
        if not _gone(pids, TERM_WAIT_S):
            left = processes_of(folder)
            _signal(left, signal.SIGKILL)
            _gone(left, KILL_WAIT_S)
    return len(pids)


def remove_media(media: Path) -> None:
    """Remove the media folder; only one that `run` made is touched."""
    if media.name.startswith(MEDIA_PREFIX):
        shutil.rmtree(media, ignore_errors=True)


def clean(folder: Path, media: Path | None) -> int:
    """End the processes, remove the media and what says that a soundstage runs; how many processes there were."""
    ended = end_processes(folder)
    if media is not None:
        remove_media(media)
    for name in ("stage.json", "plan.json", "supervisord.conf", "supervisord.pid"):
        (folder / name).unlink(missing_ok=True)
    return ended


def main() -> None:
    """`python -m soundstage.janitor FOLDER MEDIA`: wait for the end of standard input, then clean."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folder, media = Path(sys.argv[1]), Path(sys.argv[2])
    sys.stdin.buffer.read()
    clean(folder, media)


if __name__ == "__main__":
    main()

"""`run`: starts the platform in the foreground, says when it is well, and takes it down again."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from soundstage import janitor, web
from soundstage.errors import AlreadyRunning, NotRunning, PortTaken, SoundstageError, StartFailed, Unreachable
from soundstage.plan import Plan, make, write_atomically
from soundstage.process import die_with_parent
from soundstage.supervision import Supervisor, write_configuration

START_LIMIT_S = 90.0
START_TRIES = 3
_CHECK_S = 0.5
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own name is made in it, and only where it is writable


@dataclass(frozen=True)
class Wish:
    """What the caller of `run` asked for."""

    folder: Path
    channels: int = 2
    players: int = 20
    seed: int = 1
    day_s: float = 90.0
    beacon_url: str | None = None
    beacon_key_file: Path | None = None
    changes_url: str | None = None
    changes_key_file: Path | None = None


class _Told(Exception):
    """A signal asked us to end."""


def _raise_told(number: int, frame: FrameType | None) -> None:
    raise _Told(signal.Signals(number).name)


def _on_signals(answer: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, answer)


def _media_folder(folder: Path) -> Path:
    """In memory where that can be written to, else beneath the soundstage's folder; a name of its own per folder."""
    name = janitor.MEDIA_PREFIX + hashlib.blake2b(str(folder).encode(), digest_size=6).hexdigest()
    base = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK | os.X_OK) else folder
    return base / f"{name}-{os.getuid()}"


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the folder; raises AlreadyRunning while another `run` does, SoundstageError if it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise SoundstageError(
            f"{folder} cannot be written to ({error.strerror}); give another one with --dir"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyRunning(f"a soundstage runs in {folder} already; end it, or give another --dir") from error
        yield


def _clean_leftovers(folder: Path, media: Path) -> None:
    """Clean up after a run that was killed so hard that even its janitor was."""
    with contextlib.suppress(NotRunning, ValueError, KeyError, TypeError):
        janitor.remove_media(Plan.load(folder / "plan.json").media)
    janitor.clean(folder, media)
    for old in (folder / "logs").glob("*"):
        old.unlink()  # who follows the logs must not take an earlier run's lines for this one's
    shutil.rmtree(folder / "state", ignore_errors=True)  # versions, routing: a new platform begins well
    for old in (folder / "players.jsonl", folder / "truth.jsonl", folder / "changes.jsonl"):
        if old.exists():
            old.replace(old.with_suffix(".old.jsonl"))


def _start_janitor(plan: Plan) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "soundstage.janitor", str(plan.folder), str(plan.media)]
    # A session of its own, so that Ctrl-C at the terminal reaches `run` but not the one who cleans up after it.
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, cwd=_project())


def _project() -> Path:
    return Path(__file__).resolve().parent.parent


def _start_supervisor(folder: Path, configuration: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(configuration)]
    # One thread is enough for each process, and a pool per process costs memory.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with (folder / "logs" / "supervisord.out").open("w") as words:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
            env=environment,
            preexec_fn=lambda: die_with_parent(signal.SIGTERM),
        )


def _last_words(plan: Plan, name: str) -> str:
    """Why a process ended: its log's last line if that says so, else the last line that it printed."""
    with contextlib.suppress(OSError, ValueError, IndexError, KeyError):
        return str(json.loads(plan.log_path(name).read_text().splitlines()[-1])["reason"])
    with contextlib.suppress(OSError, IndexError):
        return (plan.folder / "logs" / f"{name}.out").read_text().strip().splitlines()[-1]
    return "no last words"


def _failure(plan: Plan, name: str) -> StartFailed:
    words = _last_words(plan, name)
    taken = "address already in use" in words or "already listening" in words
    return (PortTaken if taken else StartFailed)(f"{name} ended: {words}")


def _ended(plan: Plan) -> str | None:
    """The name of a process that has ended, if any has."""
    try:
        processes = Supervisor(plan.supervisor_url(credentials=True)).processes()
    except Unreachable:
        return None  # it may still be starting
    for name, info in processes.items():
        if info["statename"] in ("EXITED", "FATAL", "BACKOFF"):
            return name
    return None


def _wait_until_well(plan: Plan, supervisor: subprocess.Popen[bytes]) -> None:
    """Wait for the platform's health; raises StartFailed with what is missing."""
    url = f"{plan.part('director').base_url}/health"
    deadline = time.monotonic() + START_LIMIT_S
    unwell = "the director does not answer"
    while time.monotonic() < deadline:
        if supervisor.poll() is not None:
            raise _failure(plan, "supervisord")
        if name := _ended(plan):
            raise _failure(plan, name)
        with contextlib.suppress(Unreachable, ValueError):
            answer = asyncio.run(web.get(url, timeout=5.0))
            if answer.status == 200:
                return
            unwell = "; ".join(json.loads(answer.body)["unwell"])
        time.sleep(_CHECK_S)  # another process's health can only be asked for
    raise StartFailed(f"not well after {START_LIMIT_S:.0f} s: {unwell}; see {plan.folder / 'logs'}")


def _announce(plan: Plan, started_s: float) -> None:
    stage = {
        "inventory_url": f"{plan.part('director').base_url}/inventory",
        "supervisor_url": plan.supervisor_url(credentials=True),
        "pid": os.getpid(),
        "players_metrics_url": f"{plan.part('players').base_url}/metrics",
        "links_url": f"{plan.part('links').base_url}/links",
        "changes_url": plan.changes_url,
        "changes_key_file": str(plan.changes_key_file) if plan.changes_key_file else None,
        "started_s": round(started_s, 2),
    }
    write_atomically(plan.folder / "stage.json", json.dumps(stage, indent=1).encode(), mode=0o600)


def _stay(supervisor: subprocess.Popen[bytes], parent: int) -> None:
    """Stay until the supervisor ends or the parent is gone; a signal ends it by _Told."""
    while os.getppid() == parent:
        with contextlib.suppress(subprocess.TimeoutExpired):
            supervisor.wait(timeout=1.0)
            raise StartFailed("the supervisor has ended by itself")


def _plan(wish: Wish, folder: Path) -> Plan:
    return make(
        folder,
        _media_folder(folder),
        channels=wish.channels,
        players=wish.players,
        seed=wish.seed,
        day_s=wish.day_s,
        beacon_url=wish.beacon_url,
        beacon_key_file=wish.beacon_key_file,
        changes_url=wish.changes_url,
        changes_key_file=wish.changes_key_file,
    )


def _prepare(plan: Plan) -> Path:
    """Make the folders and write the plan and the supervisor's configuration; returns the latter's path."""
    (plan.folder / "logs").mkdir(exist_ok=True)
    for channel in plan.channels:
        (plan.media / channel).mkdir(parents=True, exist_ok=True)
    plan_path = plan.folder / "plan.json"
    plan.save(plan_path)
    return write_configuration(plan, plan_path)


def _play(wish: Wish, folder: Path, parent: int) -> None:
    began = time.monotonic()
    _clean_leftovers(folder, _media_folder(folder))
    plan = _plan(wish, folder)
    cleaner = _start_janitor(plan)
    try:
        supervisor = _start_supervisor(folder, _prepare(plan))
        _wait_until_well(plan, supervisor)
        _announce(plan, time.monotonic() - began)
        sys.stderr.write(f"soundstage: on air after {time.monotonic() - began:.1f} s; see {folder / 'stage.json'}\n")
        _stay(supervisor, parent)
    finally:
        _on_signals(signal.SIG_IGN)  # a second Ctrl-C must not break the cleaning off
        if cleaner.stdin:
            cleaner.stdin.close()
        cleaner.wait()


def run(wish: Wish) -> None:
    """Run a soundstage until SIGTERM, Ctrl-C or the parent's end.

    Raises AlreadyRunning, StartFailed, SoundstageError.
    """
    parent = os.getppid()
    _on_signals(_raise_told)
    die_with_parent(signal.SIGTERM)
    folder = wish.folder.resolve()
    with _lock(folder), contextlib.suppress(_Told):
        for _ in range(START_TRIES - 1):
            with contextlib.suppress(PortTaken):
                _play(wish, folder, parent)
                return
            _on_signals(_raise_told)
        _play(wish, folder, parent)

"""The soundstage as the demo uses it: a process of its own, spoken to by its command line alone.

No room imports the soundstage, so that nothing of ours can peek at the truth while the loop works.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console.demo.scoring import Loss, Truth, parse_truth
from console.stack import processes
from console.waiting import until
from tonewatch.errors import FaultError, PartFailed
from tonewatch.settings import BARE_NAMES, PREFIX

PROJECT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0
ANSWER_SECONDS = 60.0
GRACE_SECONDS = 15.0
MARK = "SOUNDSTAGE_RUN"  # in the environment of all its processes: what survives its leader is found by it


@dataclass(frozen=True, slots=True)
class Plan:
    """What kind of soundstage is wanted."""

    folder: Path
    channels: int
    players: int
    seed: int
    day_seconds: float
    beacon_url: str
    beacon_key_file: Path  # read by the players once it exists
    changes_url: str  # where releases and maintenance are announced, with the same key
    faults_from: Path | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A running soundstage."""

    plan: Plan
    inventory_url: str
    supervisor_url: str

    async def inject(self, fault: str, seed: int) -> Truth:
        """Inject the fault and return what is true of it. Raises FaultError: no such fault, or it could not be done."""
        return parse_truth(await self._ask("inject", fault, "--seed", str(seed), *_faults_from(self.plan.faults_from)))

    async def heal(self, truth: Truth) -> None:
        """Undo what is left of the fault. Raises FaultError: that did not succeed."""
        await self._ask("heal", truth.id)

    async def outcome(self, truth: Truth) -> Loss:
        """What the players' own records say of the fault by now."""
        told = await self._ask("outcome", truth.id)
        return Loss(*(told.get(name) for name in ("impact_started_s", "impact_ended_s", "listener_minutes_lost")))

    async def _ask(self, *words: str) -> dict[str, Any]:
        return dict(await ask(*words, "--dir", str(self.plan.folder)))


def _faults_from(folder: Path | None) -> list[str]:
    return ["--faults-from", str(folder)] if folder else []


async def fault_names(faults_from: Path | None) -> list[str]:
    """Every fault that can be injected. Raises FaultError: a file of `faults_from` breaks the contract."""
    told = await ask("faults", *_faults_from(faults_from))
    return [str(fault["name"]) for fault in told]


async def ask(*words: str) -> Any:
    """Run `python -m soundstage` with `words`; its answer as JSON.

    Raises FaultError: it refused (with its own words), did not answer within 60 s, or not in JSON.
    """
    process = await asyncio.create_subprocess_exec(
        *_soundstage(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=PROJECT,
        env=environment(),
        start_new_session=True,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), ANSWER_SECONDS)
    except TimeoutError as error:
        raise FaultError(f"soundstage {words[0]} did not answer within {ANSWER_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise FaultError(_last_line(err))
    try:
        return json.loads(out)
    except ValueError as error:
        raise FaultError(f"soundstage {words[0]} answered no JSON: {out[:200]!r}") from error


def _soundstage(*words: str) -> list[str]:
    return [sys.executable, "-m", "soundstage", *words]


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "ended without a word"


def environment() -> dict[str, str]:
    """Our environment without Tonewatch's settings, which are none of its business, and past the user's proxy."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) and k not in BARE_NAMES}
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, (kept.get(name), "127.0.0.1,localhost")))
    return kept


@asynccontextmanager
async def playing(plan: Plan) -> AsyncIterator[Stage]:
    """Start a soundstage and end it with everything it started.

    Raises PartFailed: it ended or was not ready within 60 s; says where its log is.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    log = plan.folder / "soundstage.log"
    marked = environment() | {MARK: str(plan.folder)}
    child = processes.spawn(_run_command(plan), environment=marked, log=log, folder=PROJECT)
    started = processes.identity(child.pid)
    try:
        yield await _ready(plan, child, log)
    finally:
        # Cancelled or not, nothing may be left behind: what waits here waits at most 20 s.
        if started is not None:
            await asyncio.shield(asyncio.to_thread(_end, plan, child, started))


def _run_command(plan: Plan) -> list[str]:
    command = _soundstage("run", "--dir", str(plan.folder), "--channels", str(plan.channels))
    command += ["--players", str(plan.players), "--seed", str(plan.seed), "--day", f"{plan.day_seconds:g}"]
    command += ["--beacon-url", plan.beacon_url, "--beacon-key-file", str(plan.beacon_key_file)]
    command += ["--changes-url", plan.changes_url, "--changes-key-file", str(plan.beacon_key_file)]
    return command + _faults_from(plan.faults_from)


def _end(plan: Plan, child: subprocess.Popen[bytes], started: processes.Identity) -> None:
    # To the leader alone: it ends its processes in order. What is left after that is ended here.
    processes.end({started: signal.SIGTERM}, GRACE_SECONDS, group=False)
    child.wait()
    left = processes.with_variable(MARK, str(plan.folder))
    processes.end(dict.fromkeys(left, signal.SIGTERM), 3.0, group=False)


async def _ready(plan: Plan, child: subprocess.Popen[bytes], log: Path) -> Stage:
    async def described() -> Mapping[str, str] | None:
        if child.poll() is not None:
            said = _last_line(log.read_bytes())
            raise PartFailed(f"the soundstage ended with status {child.returncode}: {said} (log: {log})")
        return _read_stage(plan.folder / "stage.json")

    told = await until(described, READY_SECONDS)
    if told is None:
        raise PartFailed(f"the soundstage was not ready within {READY_SECONDS:.0f} s; see {log}")
    return Stage(plan, told["inventory_url"], told["supervisor_url"])


def _read_stage(path: Path) -> Mapping[str, str] | None:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # not there yet, or half written
    return told if isinstance(told, dict) and {"inventory_url", "supervisor_url"} <= told.keys() else None

"""Supervision: starts the parts in order, looks after them, and takes them all down again."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets as random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from console.stack import guard, processes
from console.stack.parts import PARTS, Part
from console.stack.state import PartRecord, Record, StateFolder, check_machine
from console.stack.status import Status, boot, living_parts, status_of
from console.stack.wiring import Wiring, wire
from tonewatch import secrets, switch
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import PartFailed, StackError
from tonewatch.settings import Settings

log = logging.getLogger(__name__)

#: Told of each step: the part's name and what happened to it.
Progress = Callable[[str, str], None]

HEALTH_SECONDS = 0.2  # between two questions to a server that starts: none of them tells by itself
STOP_SECONDS = 10.0
BACK_OFF_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
CALM_SECONDS = 60.0  # after which a part's crashes are forgotten
TAIL_LINES = 8


def silent(part: str, what: str) -> None:
    """Tell nobody."""


class Stack:
    """All parts of one state folder. Use `running()`, or `start()` and `stop()`, from a loop in the main thread."""

    def __init__(
        self, settings: Settings, parts: Sequence[Part] = PARTS, progress: Progress = silent, clock: Clock = SYSTEM
    ) -> None:
        self.folder = StateFolder(settings.state_dir)
        self.record: Record | None = None
        self._given = settings
        self._parts = tuple(parts)
        self._progress = progress
        self._clock = clock
        self._wiring: Wiring | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ready: dict[str, asyncio.Future[None]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._held = ExitStack()
        self._ending: asyncio.Task[None] | None = None

    @property
    def settings(self) -> Settings:
        """The settings with every address filled in. Raises StackError before the start."""
        return self._wired().settings

    async def start(self) -> Status:
        """Start every part in order; returns when all are healthy.

        Raises AlreadyUp, PortTaken, StateFolderError, PartFailed, StackError; nothing runs then that it started.
        """
        self.folder.prepare()
        self._held.enter_context(self.folder.held())
        try:
            check_machine(self.folder.path)
            await asyncio.to_thread(end_leftovers, self.folder)
            self.folder.clear_scratch()
            run = random.token_hex(6)
            switch.install(self.folder.path)
            self._wiring = wire(self._given, self.folder, secrets.load_or_generate(self.folder.path), run)
            self._begin(self._wiring)
            await asyncio.gather(*self._ready.values())
        except BaseException:
            await self.stop()
            raise
        return self.status()

    async def stop(self) -> None:
        """End every part, the last in the order first, and let go of the folder. Harmless when nothing runs."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._take_down())
        await _to_the_end(self._ending)  # one who presses Ctrl-C twice wants nothing left behind either

    async def _take_down(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for level in reversed(_levels(self._parts)):
            await asyncio.gather(*(self._end(part) for part in level))
        if self._wiring is not None:
            await asyncio.to_thread(_sweep, self._wiring.run)
            self._end_guard()
            self.folder.forget()
        self._held.close()

    def status(self) -> Status:
        """How the parts are."""
        if self.record is None:
            return Status(False, str(self.folder.path), None, ())
        return status_of(self.record, self.folder)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Stack]:
        """Up inside, down after; SIGTERM ends the task that is inside as Ctrl-C does."""
        inside = asyncio.current_task()
        assert inside is not None  # noqa: S101  # a coroutine that runs is in a task
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, inside.cancel)
        try:
            await self.start()
            yield self
        finally:
            await self.stop()
            loop.remove_signal_handler(signal.SIGTERM)

    def _begin(self, wiring: Wiring) -> None:
        us = processes.identity(os.getpid())
        assert us is not None  # noqa: S101  # we run
        self._start_guard(wiring.run)
        self.record = Record(
            run=wiring.run,
            supervisor=us.pid,
            supervisor_started=us.started,
            boot=boot(),
            since=self._clock.now().isoformat(),
            parts=[PartRecord(part.name, url=part.url(wiring)) for part in self._parts],
            guard=self._guard.pid if self._guard else None,
            gateway_url=wiring.settings.gateway_url,
            prefect_api_url=wiring.settings.prefect_api_url,
            mlflow_tracking_uri=wiring.settings.mlflow_tracking_uri,
        )
        self.folder.write(self.record)
        loop = asyncio.get_running_loop()
        self._ready = {part.name: loop.create_future() for part in self._parts}
        self._tasks = {part.name: asyncio.create_task(self._look_after(part)) for part in self._parts}
        self._tasks["guard"] = asyncio.create_task(self._keep_guard(wiring.run))

    async def _look_after(self, part: Part) -> None:
        """The life of one part; a failure before it was ever healthy is the start's failure."""
        ready = self._ready[part.name]
        try:
            await asyncio.gather(*(asyncio.shield(self._ready[name]) for name in part.after if name in self._ready))
            await self._bring_up(part)
            ready.set_result(None)
        except asyncio.CancelledError:
            ready.cancel()
            raise
        except Exception as error:  # noqa: BLE001  # whatever it was: who waits for this part must not wait for ever
            if not ready.done():
                ready.set_exception(error)
                ready.exception()  # taken: a part that fails for another's failure need not tell it again
            self._note(part, "down", str(error).partition("\n")[0])
            return
        if part.name in self._running:
            await self._keep_up(part)

    async def _bring_up(self, part: Part) -> None:
        wiring = self._wired()
        began = self._clock.monotonic()
        if part.external(wiring):
            if not await part.is_healthy(wiring, None):
                raise PartFailed(f"{part.name} at {part.url(wiring) or 'the address in the settings'} does not answer")
            self._note(part, "external")
            return
        self._note(part, "starting")
        await _to_the_end(asyncio.to_thread(part.prepare, wiring))
        process = part.start(wiring)
        self._remember(part, process)
        await self._until_healthy(part, process)
        self._entry(part).started_s = round(self._clock.monotonic() - began, 1)
        self._note(part, "done" if part.once else "up")

    async def _until_healthy(self, part: Part, process: subprocess.Popen[bytes]) -> None:
        wiring, ended = self._wired(), asyncio.create_task(end_of(process))
        try:
            async with asyncio.timeout(part.seconds):
                while not ended.done() and (part.once or not await part.is_healthy(wiring, process.pid)):
                    await asyncio.wait([ended], timeout=None if part.once else HEALTH_SECONDS)
        except TimeoutError:
            raise PartFailed(f"{part.name} was not healthy within {part.seconds:.0f} s; {self._told(part)}") from None
        finally:
            ended.cancel()
        if ended.done() and not ended.cancelled():
            self._running.pop(part.name)
            if not part.once or ended.result() != 0:
                raise PartFailed(f"{part.name} ended with status {ended.result()} while starting; {self._told(part)}")

    async def _keep_up(self, part: Part) -> None:
        """Start it again whenever it ends."""
        crashes = 0
        while True:
            up_since = self._clock.monotonic()
            status = await end_of(self._running[part.name])
            if self._clock.monotonic() - up_since > CALM_SECONDS:
                crashes = 0
            while True:
                pause = BACK_OFF_SECONDS[min(crashes, len(BACK_OFF_SECONDS) - 1)]
                crashes += 1
                self._entry(part).restarts += 1
                self._note(part, "restarting", f"ended with status {status} at {self._clock.now():%H:%M:%S}")
                await asyncio.sleep(pause)
                try:
                    await self._bring_up(part)
                    break
                except (StackError, OSError) as error:  # a full disk ends no supervision: it is tried again
                    await self._end(part)
                    self._note(part, "restarting", str(error).partition("\n")[0])

    async def _end(self, part: Part) -> None:
        process = self._running.pop(part.name, None)
        if process is None:
            return
        running = processes.identity(process.pid)
        if running is not None:
            await asyncio.to_thread(processes.end, {running: part.last_signal}, STOP_SECONDS)
        process.wait()
        self._note(part, "down")

    def _remember(self, part: Part, process: subprocess.Popen[bytes]) -> None:
        self._running[part.name] = process
        entry, running = self._entry(part), processes.identity(process.pid)
        entry.pid, entry.started = process.pid, running.started if running else None
        self._tell_guard(part, process)

    def _note(self, part: Part, state: str, note: str = "") -> None:
        entry = self._entry(part)
        entry.state, entry.note = state, note or entry.note  # type: ignore[assignment]  # the callers' words are states
        if state in ("down", "done", "restarting"):
            entry.pid = entry.started = None
        self._write()
        self._progress(part.name, " ".join(filter(None, (state, note))))

    def _write(self) -> None:
        if self.record is None:
            return
        try:
            self.folder.write(self.record)
        except OSError as error:  # a full disk: what runs goes on running, and the next note is tried again
            log.warning("the record of what runs could not be written: %s", error)

    def _entry(self, part: Part) -> PartRecord:
        assert self.record is not None  # noqa: S101  # written before any part starts
        return next(entry for entry in self.record.parts if entry.name == part.name)

    def _told(self, part: Part) -> str:
        log = self.folder.log(part.name)
        return f"see {log}\n{tail(log)}"

    def _wired(self) -> Wiring:
        if self._wiring is None:
            raise StackError("the stack has not been started")
        return self._wiring

    async def _keep_guard(self, run: str) -> None:
        """See to it that there is always a guard who knows all parts."""
        while True:
            assert self._guard is not None  # noqa: S101  # started before this task
            await end_of(self._guard)
            self._start_guard(run)
            self._write()
            for part in self._parts:
                if part.name in self._running:
                    self._tell_guard(part, self._running[part.name])

    def _start_guard(self, run: str) -> None:
        with self.folder.log("guard").open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-m", guard.__name__, run],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder.work,
                start_new_session=True,
            )
        if self.record is not None:
            self.record.guard = self._guard.pid

    def _tell_guard(self, part: Part, process: subprocess.Popen[bytes]) -> None:
        running = processes.identity(process.pid)
        if running is None or self._guard is None or self._guard.stdin is None:
            return
        try:
            self._guard.stdin.write(f"{running.pid} {running.started} {int(part.last_signal)}\n".encode())
            self._guard.stdin.flush()
        except BrokenPipeError:
            pass  # the guard was killed: the next one is told of every part

    def _end_guard(self) -> None:
        if self._guard is not None:
            self._guard.communicate(b"bye\n")
            self._guard = None


def _levels(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts by how far from the beginning they start: those of one level need nothing of one another."""
    depth: dict[str, int] = {}
    for part in parts:
        depth[part.name] = 1 + max((depth[name] for name in part.after if name in depth), default=-1)
    return [
        [part for part in parts if depth[part.name] == level] for level in range(max(depth.values(), default=-1) + 1)
    ]


async def _to_the_end(work: Coroutine[Any, Any, None] | asyncio.Task[None]) -> None:
    """Await `work` to its end even when cancelled meanwhile; the cancellation comes after."""
    task = asyncio.ensure_future(work)
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
    task.result()


async def end_of(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a child; gives its exit status."""
    loop = asyncio.get_running_loop()
    handle = os.pidfd_open(process.pid)
    ended = loop.create_future()

    def tell() -> None:
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(handle, tell)
    try:
        await ended
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return process.wait()


def end_leftovers(folder: StateFolder) -> list[str]:
    """End what a killed run left; gives the names of the parts that still ran. The caller holds the folder."""
    record = folder.read()
    if record is None:
        return []
    living = living_parts(record)
    processes.end(dict.fromkeys(reversed(living.values()), signal.SIGTERM), STOP_SECONDS)
    _sweep(record.run)
    folder.forget()
    return list(living)


def _sweep(run: str) -> None:
    """End whatever carries the mark of `run`: flow runs and other grandchildren in sessions of their own."""
    marked = dict.fromkeys(processes.with_variable(guard.MARK, run), signal.SIGTERM)
    processes.end(marked, guard.GRACE_SECONDS, group=False)


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of `log`."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"

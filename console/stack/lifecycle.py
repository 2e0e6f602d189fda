"""What the commands call: up, down, status; and, as a program, the supervisor that `up` leaves behind.

python -m console.stack.lifecycle REPORT_FD [PART,PART,...]
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence

from console.stack import processes
from console.stack.parts import PARTS, Part, parts_for
from console.stack.state import StateFolder
from console.stack.status import PartStatus, Status, living_parts, status, supervisor_of
from console.stack.supervision import Progress, Stack, end_leftovers, silent, tail
from console.stack.wiring import storage
from tonewatch import errors, secrets
from tonewatch.errors import AlreadyUp, NotUp, PartFailed, StackError, TonewatchError
from tonewatch.settings import BARE_NAMES, PREFIX, Settings, read, to_environment

__all__ = ["PARTS", "Part", "PartStatus", "Stack", "Status", "connected", "down", "status", "up"]

DOWN_SECONDS = 60.0


async def up(settings: Settings, progress: Progress = silent, parts: Sequence[Part] | None = None) -> Status:
    """Start the stack under a supervisor of its own that stays; returns when all parts are healthy.

    parts: None: those that the settings' profile needs.

    Raises AlreadyUp, PortTaken, StateFolderError, PartFailed, StackError; nothing runs then that it started.
    """
    folder = StateFolder(settings.state_dir)
    folder.prepare()
    if supervisor_of(folder.read()) is not None:
        raise AlreadyUp(f"already up in {folder.path}; see `tonewatch status`, end it with `tonewatch down`")
    supervisor, reading = _detach(settings, folder, parts_for(settings) if parts is None else parts)
    try:
        await _follow(reading, progress, folder)
    except BaseException:
        supervisor.send_signal(signal.SIGTERM)
        await asyncio.to_thread(supervisor.wait)
        raise
    return status(settings)


async def down(settings: Settings, progress: Progress = silent) -> bool:
    """End everything, also what a killed run left; whether there was something to end."""
    folder = StateFolder(settings.state_dir)
    record = folder.read()
    if record is None:
        return False
    supervisor = supervisor_of(record)
    if supervisor is not None:
        progress("supervisor", "ending")
        # Killed, if it does not end: then its guard ends the rest.
        await asyncio.to_thread(processes.end, {supervisor: signal.SIGTERM}, DOWN_SECONDS, False)
        progress("supervisor", "down")
    found = bool(living_parts(record))
    with folder.held():
        for name in await asyncio.to_thread(end_leftovers, folder):
            progress(name, "down")
    return found or supervisor is not None


def connected(settings: Settings) -> Settings:
    """The settings with the addresses and passwords of the stack that runs now filled in. Raises NotUp."""
    folder = StateFolder(settings.state_dir)
    record = folder.read()
    if record is None or supervisor_of(record) is None:
        raise NotUp(f"the stack in {folder.path} is not up; start it with `tonewatch up`")
    addresses = {
        "state_dir": folder.path,
        "gateway_url": record.gateway_url,
        "prefect_api_url": record.prefect_api_url,
        "mlflow_tracking_uri": record.mlflow_tracking_uri,
    }
    return settings.model_copy(update=addresses | storage(settings, folder, secrets.load(folder.path)))


def _detach(settings: Settings, folder: StateFolder, parts: Sequence[Part]) -> tuple[subprocess.Popen[bytes], int]:
    """Start the supervisor in a session of its own; gives it and the end of the pipe on which it reports."""
    reading, writing = os.pipe()
    with folder.rotate("stack").open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "console.stack.lifecycle", str(writing), ",".join(part.name for part in parts)],
            env=_environment(settings),
            pass_fds=(writing,),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder.work,
            start_new_session=True,
        )
    os.close(writing)
    return supervisor, reading


def _environment(settings: Settings) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) and name not in BARE_NAMES}
    return kept | to_environment(settings)


async def _follow(reading: int, progress: Progress, folder: StateFolder) -> None:
    """Hand on what the supervisor reports until it says that all is up, or why not."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0)
    )
    try:
        while line := await reader.readline():
            told = json.loads(line)
            if "up" in told:
                return
            if "error" in told:
                raise _error(told["error"], told["message"])
            progress(told["part"], told["what"])
    finally:
        transport.close()
    raise PartFailed(f"the supervisor ended; see {folder.log('stack')}\n{tail(folder.log('stack'))}")


def _error(name: str, message: str) -> StackError:
    kind = getattr(errors, name, StackError)
    return kind(message) if isinstance(kind, type) and issubclass(kind, StackError) else StackError(message)


class _Report:
    """The pipe to the `up` that started us; when that `up` is gone before all is up, so are we."""

    def __init__(self, handle: int) -> None:
        self._pipe = os.fdopen(handle, "w", encoding="utf-8")

    def step(self, part: str, what: str) -> None:
        self._tell({"part": part, "what": what})

    def up(self) -> None:
        self._tell({"up": True})
        self._pipe.close()

    def failed(self, error: BaseException) -> None:
        if not self._pipe.closed:
            self._tell({"error": type(error).__name__, "message": str(error)})

    def _tell(self, message: dict[str, object]) -> None:
        print(json.dumps(message), file=sys.stderr, flush=True)
        if self._pipe.closed:
            return
        try:
            print(json.dumps(message), file=self._pipe, flush=True)
        except BrokenPipeError:
            os.kill(os.getpid(), signal.SIGTERM)


async def _supervise(settings: Settings, parts: Sequence[Part], report: _Report) -> None:
    async with Stack(settings, parts, report.step).running():
        report.up()
        await asyncio.Event().wait()  # until SIGTERM cancels us


def main(arguments: Sequence[str]) -> int:
    """Start, report, supervise until SIGTERM, take down; the exit status says whether it came up."""
    report = _Report(int(arguments[0]))
    names = arguments[1].split(",") if len(arguments) > 1 else [part.name for part in PARTS]
    try:
        asyncio.run(_supervise(read(), [part for part in PARTS if part.name in names], report))
    except asyncio.CancelledError:
        return 0
    except TonewatchError as error:
        report.failed(error)
        return error.exit_status
    except Exception as error:  # noqa: BLE001  # whoever waits for us must be told, whatever it was; the log has it whole
        traceback.print_exc()
        report.failed(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The state folder: who holds it, what version it is of, what runs in it, and whether a start can succeed at all."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from console.stack.postgres import make_socket_folder, socket_folder
from tonewatch.errors import AlreadyUp, StackError, StateFolderError
from tonewatch.settings import HIGHEST_PORT

LAYOUT = "1"
FREE_DISK_MIB = 1024
FREE_MEMORY_MIB = 1024
LOG_MIB = 16
MEMINFO = Path("/proc/meminfo")

PartState = Literal["starting", "up", "restarting", "down", "external", "done"]


@dataclass
class PartRecord:
    """One part as stack.json keeps it: `started` in clock ticks since boot, `started_s` the seconds until healthy."""

    name: str
    state: PartState = "down"
    pid: int | None = None
    started: int | None = None
    url: str | None = None
    started_s: float | None = None
    restarts: int = 0
    note: str = ""


@dataclass
class Record:
    """What runs: the run's mark, who supervises it, its parts. Holds no secret."""

    run: str
    supervisor: int
    supervisor_started: int
    boot: str
    since: str
    parts: list[PartRecord] = field(default_factory=list)
    guard: int | None = None
    gateway_url: str | None = None
    prefect_api_url: str | None = None
    mlflow_tracking_uri: str | None = None


class StateFolder:
    """The folder `path` and the files in it that every part shares."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.logs = self.path / "logs"
        self.run = socket_folder(self.path)
        self.work = self.path / "work"
        self.scratch = self.path / "tmp"
        self._record = self.path / "stack.json"
        self._ports = self.path / "ports.json"

    def prepare(self) -> None:
        """Make the folder where it is missing and check that it can be used.

        Raises StateFolderError: not writable, of another version, or a folder of other things.
        """
        shared = 0o711 if os.geteuid() == 0 else 0o700
        self._check_version()
        try:
            self.path.mkdir(mode=shared, parents=True, exist_ok=True)
            (self.path / "version").write_text(LAYOUT + "\n", encoding="ascii")
            for folder, mode in ((self.path, shared), (self.logs, 0o700), (self.work, 0o700)):
                folder.mkdir(exist_ok=True)
                folder.chmod(mode)
        except OSError as error:
            raise self._unwritable(error) from error
        make_socket_folder(self.path, shared)

    def log(self, part: str) -> Path:
        """The log of `part`."""
        return self.logs / f"{part}.log"

    def rotate(self, part: str) -> Path:
        """The log of `part`; one that grew beyond LOG_MIB is put aside (one older one is kept)."""
        log = self.log(part)
        try:
            if log.stat().st_size > LOG_MIB << 20:
                log.replace(log.with_suffix(".log.1"))
        except FileNotFoundError:
            pass
        return log

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder; the lock ends with the process, however it ends.

        Raises AlreadyUp: another process holds it.
        """
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyUp(
                    f"already up in {self.path}; see `tonewatch status`, end it with `tonewatch down`"
                ) from None
            yield
        finally:
            os.close(handle)

    def read(self) -> Record | None:
        """What stack.json says; None when there is none or it cannot be used."""
        try:
            content: dict[str, Any] = json.loads(self._record.read_text(encoding="utf-8"))
            parts = [PartRecord(**part) for part in content.pop("parts")]
            return Record(**content, parts=parts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, record: Record) -> None:
        """Replace stack.json as a whole."""
        unfinished = self._record.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
        unfinished.replace(self._record)

    def kept_ports(self) -> dict[str, int]:
        """Server -> the port that it had when it last started; none where that is not known."""
        try:
            kept = json.loads(self._ports.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        known = kept.items() if isinstance(kept, dict) else ()
        return {name: port for name, port in known if isinstance(port, int) and 1 <= port <= HIGHEST_PORT}

    def keep_ports(self, ports: Mapping[str, int]) -> None:
        """Note which ports the servers have, for the next start; those not named stay as they were."""
        self._ports.write_text(json.dumps(self.kept_ports() | dict(ports)), encoding="utf-8")

    def clear_scratch(self) -> None:
        """An empty folder for temporary files: those of a killed run go, and none lie where other users are."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(mode=0o700, exist_ok=True)

    def forget(self) -> None:
        """Nothing runs any more."""
        self._record.unlink(missing_ok=True)

    def _check_version(self) -> None:
        try:
            found = (self.path / "version").read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            self._check_empty()
            return
        except OSError as error:
            raise self._unwritable(error) from error
        if found != LAYOUT:
            raise StateFolderError(
                f"{self.path} has layout {found!r}, this Tonewatch uses {LAYOUT!r}: start the Tonewatch that made it, "
                "or set TONEWATCH_STATE_DIR to a new folder"
            )

    def _check_empty(self) -> None:
        """A folder of other things is left as it is: ours gets other permissions and may be cleared away as a whole."""
        if self.path.is_dir() and any(self.path.iterdir()):
            raise StateFolderError(
                f"{self.path} holds other things and no state of Tonewatch: "
                "set TONEWATCH_STATE_DIR to a new or empty folder"
            )

    def _unwritable(self, error: OSError) -> StateFolderError:
        return StateFolderError(
            f"the state folder {self.path} cannot be written ({error.strerror}): "
            "set TONEWATCH_STATE_DIR to a folder of yours"
        )


def check_machine(path: Path, disk_mib: int = FREE_DISK_MIB, memory_mib: int = FREE_MEMORY_MIB) -> None:
    """Refuse a start that must fail later. Raises StackError: too little free disk at `path`, or free memory."""
    disk = shutil.disk_usage(path).free >> 20
    if disk < disk_mib:
        raise StackError(
            f"{path} has {disk} MiB of free disk, the stack needs {disk_mib}: free some, or set TONEWATCH_STATE_DIR"
        )
    memory = _free_memory_mib()
    if memory is not None and memory < memory_mib:
        raise StackError(f"{memory} MiB of memory are free, the stack needs {memory_mib}: end something else first")


def _free_memory_mib() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) >> 10 for line in lines if line.startswith("MemAvailable:")), None)

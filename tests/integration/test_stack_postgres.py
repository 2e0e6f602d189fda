"""The embedded PostgreSQL, as whoever runs the tests: root's runs it as nobody."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from console.stack import processes
from console.stack.postgres import EmbeddedPostgres, _installed
from tonewatch.errors import StateFolderError

pytestmark = pytest.mark.integration

PASSWORD = "pass/word with@signs"
ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="only root runs it as another user")


def reachable_folder() -> Path:
    """A folder that the server's user can reach: pytest's own is for its owner alone."""
    folder = Path(tempfile.mkdtemp(prefix="tonewatch-test-", dir="/tmp"))
    folder.chmod(0o711)
    return folder


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A state folder with a data folder in it, made once: initdb takes a second or more."""
    folder = reachable_folder()
    EmbeddedPostgres(folder, PASSWORD).prepare()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def empty() -> Iterator[Path]:
    """A folder without anything in it."""
    folder = reachable_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def state_dir(made: Path, empty: Path) -> Path:
    """A copy of the one that was made."""
    subprocess.run(["/bin/cp", "-a", f"{made}/.", empty], check=True)
    return empty


@pytest.fixture
def postgres(state_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A server that runs."""
    server = EmbeddedPostgres(state_dir, PASSWORD)
    server.start()
    yield server
    server.stop()


def asked(server: EmbeddedPostgres, question: str, database: str = "postgres") -> object:
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        row = connection.execute(question.encode()).fetchone()
        return row[0] if row else None


def test_postgres_lets_in_by_password_alone(postgres: EmbeddedPostgres) -> None:
    assert asked(postgres, "select current_user::text") == "postgres"
    for word in ("", "wrong"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(postgres.url("postgres", "postgres", word))


def test_postgres_opens_no_port(postgres: EmbeddedPostgres) -> None:
    assert asked(postgres, "show listen_addresses") == ""
    assert asked(postgres, "show password_encryption") == "scram-sha-256"
    assert postgres.process is not None
    assert "socket:" not in str(_listeners(postgres.process.pid))


def _listeners(pid: int) -> set[str]:
    from console.stack import ports

    nodes = set()
    for port in range(5432, 5434):
        nodes |= ports._listening_nodes(port)
    return nodes & ports._sockets_of(pid)


def test_the_owner_of_a_database_can_have_pg_trgm(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute("create role app login password 'p'")
        admin.execute("create database app owner app")
    with psycopg.connect(postgres.url("app", "app", "p"), autocommit=True) as app:
        app.execute("create extension pg_trgm")
        assert app.execute("select similarity('tone', 'tones') > 0.5").fetchone() == (True,)


def test_the_second_start_finds_what_the_first_wrote(state_dir: Path) -> None:
    for word in ("create table kept as select 7 as seven", "select 1"):
        server = EmbeddedPostgres(state_dir, PASSWORD)
        server.start()
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(word.encode())
            assert connection.execute("select seven from kept").fetchone() == (7,)
        server.stop()
        assert processes.working_in(server.data) == []
    assert not (state_dir / "postgres" / "superuser").exists()


def test_a_killed_server_starts_again_with_its_data(state_dir: Path) -> None:
    server = EmbeddedPostgres(state_dir, PASSWORD)
    server.start()
    with psycopg.connect(server.url("postgres")) as connection:
        connection.execute("create table kept as select 7 as seven")
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    assert (server.data / "postmaster.pid").exists()
    again = EmbeddedPostgres(state_dir, PASSWORD)
    again.start()
    assert asked(again, "select seven from kept") == 7
    again.stop()


def test_a_server_that_a_killed_run_left_is_ended_first(state_dir: Path, postgres: EmbeddedPostgres) -> None:
    left = postgres.process
    assert left is not None
    again = EmbeddedPostgres(state_dir, PASSWORD)
    again.start()
    assert left.wait(5) == 0
    assert asked(again, "select 1") == 1
    again.stop()


def test_a_pid_file_that_names_a_stranger_does_no_harm(state_dir: Path) -> None:
    server = EmbeddedPostgres(state_dir, PASSWORD)
    server.start()
    server.stop()
    with subprocess.Popen(["/bin/sleep", "60"], **processes.run_as(server.user)) as stranger:
        (server.data / "postmaster.pid").write_text(f"{stranger.pid}\n{server.data}\n1\n5432\n\n\n\n")
        server.start()
        server.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_data_of_another_version_is_refused(state_dir: Path) -> None:
    server = EmbeddedPostgres(state_dir, PASSWORD)
    server.prepare()
    (server.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(StateFolderError, match=r"made by PostgreSQL 17.*TONEWATCH_STATE_DIR"):
        server.start()


def test_a_long_path_gets_its_sockets_elsewhere(empty: Path) -> None:
    server = EmbeddedPostgres(empty / ("long" * 25), PASSWORD)
    server.start()
    assert asked(server, "select 1") == 1
    server.stop()
    folder = server.sockets.parent
    assert folder.parent == Path("/tmp")
    shutil.rmtree(folder)


def test_half_made_data_is_made_anew(empty: Path) -> None:
    unfinished = empty / "postgres" / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(empty, PASSWORD)
    server.start()
    assert asked(server, "select 1") == 1
    server.stop()
    assert not unfinished.exists()


@as_root
def test_root_runs_it_as_nobody_and_changes_nothing_else(state_dir: Path) -> None:
    users, parent = Path("/etc/passwd").read_bytes(), state_dir.parent.stat()
    server = EmbeddedPostgres(state_dir, PASSWORD)
    server.start()
    assert server.process is not None
    assert Path(f"/proc/{server.process.pid}").stat().st_uid == server.user != 0
    assert server.data.stat().st_uid == server.user
    assert server.data.stat().st_mode & 0o777 == 0o700
    server.stop()
    after = state_dir.parent.stat()
    assert (Path("/etc/passwd").read_bytes(), parent.st_mode, parent.st_uid) == (users, after.st_mode, after.st_uid)


@as_root
def test_a_folder_that_the_database_cannot_reach_is_named(empty: Path) -> None:
    private = empty / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(StateFolderError, match=rf"may not enter {private},.*TONEWATCH_STATE_DIR"):
        EmbeddedPostgres(private / "state", PASSWORD).start()
    assert private.stat().st_mode & 0o777 == 0o700
    assert not (private / "state").exists()


@as_root
def test_programs_in_a_private_place_are_run_from_a_copy(empty: Path) -> None:
    private = empty / "private"
    private.mkdir(mode=0o700)
    package = _installed().parent
    for folder in (package, package.with_name(package.name + ".libs")):
        shutil.copytree(folder, private / folder.name, symlinks=True)
    program = """
import sys
from pathlib import Path
from console.stack.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), "p")
server.start()
print(Path(f"/proc/{server.process.pid}/exe").readlink())
server.stop()
"""
    state = empty / "state"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(private), *filter(None, sys.path)])}
    said = subprocess.check_output([sys.executable, "-c", program, str(state)], env=environment, text=True)
    assert Path(said.strip()).is_relative_to(state)


@as_root
def test_an_ordinary_user_runs_it_as_himself(empty: Path) -> None:
    program = """
import encodings.idna, os, signal, sys, pwd
from pathlib import Path
import psycopg
from console.stack.postgres import EmbeddedPostgres
psycopg.connect  # everything is imported while it may be read: then the rights are given away for good
ordinary = pwd.getpwnam("daemon")
os.setgroups([]); os.setgid(ordinary.pw_gid); os.setuid(ordinary.pw_uid)
server = EmbeddedPostgres(Path(sys.argv[1]) / "state", "p")
server.start()
print(os.stat(f"/proc/{server.process.pid}").st_uid == ordinary.pw_uid, oct(server.state_dir.stat().st_mode & 0o777))
server.stop()
"""
    empty.chmod(0o777)
    said = subprocess.check_output([sys.executable, "-c", program, str(empty)], text=True)
    assert said.split() == ["True", "0o700"]


def test_a_killed_parent_leaves_no_server(state_dir: Path) -> None:
    program = """
import signal, sys
from pathlib import Path
from console.stack.postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), "p")
server.start()
print(server.process.pid, flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", program, str(state_dir)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        server = processes.identity(int(parent.stdout.readline()))
        assert server is not None
        parent.send_signal(signal.SIGKILL)
        assert processes.gone_within(server, 10)

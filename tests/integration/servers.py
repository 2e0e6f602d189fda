"""Servers that tests start for themselves: an MLflow, what ends one and waits for one, and a flow's own Prefect."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Database


async def flow_told(code: str, *arguments: str, database: Database, folder: Path, **settings: str) -> Any:
    """What `code`, which runs flows under a Prefect server of its own, printed last, as JSON; it must end well.

    folder: where Prefect keeps its things; settings: of Tonewatch, besides the databases.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TONEWATCH_", "PREFECT_"))}
    mine = {
        "TONEWATCH_DATABASE_URL": database.app_url,
        "TONEWATCH_DISPATCHER_DATABASE_URL": database.dispatcher_url,
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    told = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).resolve().parents[2],
        env=kept | mine | settings,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert told.returncode == 0, told.stderr[-3000:]
    return json.loads(told.stdout.splitlines()[-1])


@dataclass
class Mlflow:
    url: str
    process: subprocess.Popen[bytes]
    folder: Path


@contextmanager
def mlflow_in(folder: Path) -> Iterator[Mlflow]:
    """An MLflow server of the test's own on SQLite."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Mlflow(f"http://127.0.0.1:{port}", _started(folder, port), folder)
    try:
        wait_until_healthy(f"{server.url}/health", server.process, folder / "log")
        yield server
    finally:
        end(server.process)


def start_again(server: Mlflow) -> None:
    """Start an MLflow that has ended, where it was and on what it holds."""
    server.process = _started(server.folder, int(server.url.rpartition(":")[2]))
    wait_until_healthy(f"{server.url}/health", server.process, server.folder / "log")


def _started(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    off = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **off}, start_new_session=True
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers: it leads a session of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.2)  # a server that is not there yet can only be asked again
    pytest.fail(f"MLflow did not become healthy:\n{log.read_text()[-2000:]}")

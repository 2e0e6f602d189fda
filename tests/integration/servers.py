"""Servers that tests start for themselves: an MLflow, a Prefect, and what ends one and waits for one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Database
from tests.ports import free_port


@contextmanager
def prefect_in(folder: Path) -> Iterator[str]:
    """The API of a Prefect server of the tests' own."""
    port = free_port()
    server = prefect_started(folder, port)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/api/health", server, folder / "log", "Prefect")
        yield f"http://127.0.0.1:{port}/api"
    finally:
        end(server)


def prefect_started(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A Prefect server on SQLite, as the stack starts it: without the command line's process. It leads a session."""
    told = {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db",
        "PREFECT__SERVER_EPHEMERAL": "1",  # nobody looks at its pages
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "true",
    }
    words = ["--factory", "prefect.server.api.server:create_app", "--timeout-keep-alive", "5", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", *words, "--host", "127.0.0.1", "--port", str(port)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TONEWATCH_", "PREFECT_"))}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=kept | told, start_new_session=True)


def empty(prefect: str) -> None:
    """Take away what flows have left in that Prefect: with each flow go its deployments, runs and their inputs."""
    with httpx.Client(base_url=prefect, timeout=30) as client:
        for kind in ("flows", "artifacts"):
            while found := client.post(f"/{kind}/filter", json={}).raise_for_status().json():
                for each in found:
                    client.delete(f"/{kind}/{each['id']}").raise_for_status()


async def flow_told(code: str, *arguments: str, prefect: str, database: Database, folder: Path, **settings: str) -> Any:
    """What `code`, which runs flows under the server with the API `prefect`, printed last, as JSON; it must end well.

    folder: where Prefect keeps its things; settings: of Tonewatch, besides the databases.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TONEWATCH_", "PREFECT_"))}
    mine = {
        "TONEWATCH_DATABASE_URL": database.app_url,
        "TONEWATCH_DISPATCHER_DATABASE_URL": database.dispatcher_url,
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": prefect,
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
    port = free_port()
    server = Mlflow(f"http://127.0.0.1:{port}", _started(folder, port), folder)
    try:
        _wait_until_it_serves(server)
        yield server
    finally:
        end(server.process)


def start_again(server: Mlflow) -> None:
    """Start an MLflow that has ended, where it was and on what it holds."""
    server.process = _started(server.folder, int(server.url.rpartition(":")[2]))
    _wait_until_it_serves(server)


def _wait_until_it_serves(server: Mlflow) -> None:
    wait_until_healthy(f"{server.url}/health", server.process, server.folder / "log")
    # The first question of its database makes the tables, which may take longer than a watcher waits for an answer.
    httpx.get(f"{server.url}/api/2.0/mlflow/experiments/search?max_results=1", timeout=60).raise_for_status()


def _started(folder: Path, port: int) -> subprocess.Popen[bytes]:
    # As the stack starts it: without the command line's process, which would only import MLflow once more and wait.
    command = [sys.executable, "-m", "uvicorn", "mlflow.server.fastapi_app:app", "--log-level", "warning"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    told = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": (folder / "files").as_uri(),
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **told}, start_new_session=True
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers: it leads a session of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path, what: str = "MLflow") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.2)  # a server that is not there yet can only be asked again
    pytest.fail(f"{what} did not become healthy:\n{log.read_text()[-2000:]}")

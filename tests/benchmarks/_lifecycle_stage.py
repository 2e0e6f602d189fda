"""The servers of the benchmark of the lifecycle, and who carries Prefect's runs out on a virtual clock.

PostgreSQL, Prefect and MLflow are started as the stack starts them, the deployments are those of
deployments/prefect.yaml. Two things stand in for the wall's time: the schedules are switched off, for `Driver` asks for
what they would have asked for, in virtual time; and runs are carried out in one warm process, in the order in which
they were asked for, where the stack's worker starts a process for each, five to ten seconds long.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from console.stack.parts import is_well
from console.stack.postgres import EmbeddedPostgres
from console.stack.provision import DEPLOYMENTS, POOL
from tests.integration.servers import end, mlflow_in
from tests.ports import free_port
from tonewatch.settings import PREFIX
from warehouse.migrate import RolePasswords, create_database, create_role, migrate

#: Of each schedule every so many-th moment is kept: a month of every hour's runs would take days.
EVERY = {"materialization": 12, "validation": 12, "data-quality": 24, "maintenance": 24, "drift": 2}


@dataclass(frozen=True)
class Servers:
    """Where they are. environment: what processes of the house need to find them."""

    app_url: str
    dispatcher_url: str
    mlflow: str
    environment: dict[str, str]


@contextmanager
def servers(tenant: str) -> Iterator[Servers]:
    """PostgreSQL, MLflow, and Prefect with the house's deployments; all ends with it."""
    # Not below a private folder: its parents must be open to the user that PostgreSQL runs as when we are root.
    folder = Path(tempfile.mkdtemp(prefix="tonewatch-lifecycle-"))
    folder.chmod(0o711)
    postgres, words = EmbeddedPostgres(folder, secrets.token_urlsafe()), RolePasswords(*_two())
    for name in ("mlflow", "state"):
        (folder / name).mkdir()
    postgres.start()
    try:
        migrate(create_database(postgres.url("postgres"), "warehouse"), words)
        urls = [
            postgres.url("warehouse", f"tonewatch_{role}", word)
            for role, word in (("app", words.app), ("dispatcher", words.dispatcher))
        ]
        with mlflow_in(folder / "mlflow") as mlflow, _prefect(postgres, folder) as api:
            environment = _environment(urls, mlflow.url, api, tenant, folder)
            for step in ("pool", "deployments"):
                subprocess.run(
                    [sys.executable, "-m", "console.stack.provision", step],
                    check=True,
                    stdout=subprocess.DEVNULL,
                    env=environment,
                )
            yield Servers(urls[0], urls[1], mlflow.url, environment)
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _two() -> tuple[str, str]:
    return secrets.token_urlsafe(), secrets.token_urlsafe()


def _environment(urls: list[str], mlflow: str, api: str, tenant: str, folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "PREFECT_"))}
    mine = {
        "DATABASE_URL": urls[0],
        "DISPATCHER_DATABASE_URL": urls[1],
        "MLFLOW_TRACKING_URI": mlflow,
        "PREFECT_API_URL": api,
        "STATE_DIR": str(folder / "state"),
        "TENANT": tenant,
        "PROFILE": "platform",
    }
    prefect = {"PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "prefect"), "PREFECT_LOGGING_LEVEL": "ERROR"}
    return kept | prefect | {"DO_NOT_TRACK": "true", **{PREFIX + name: value for name, value in mine.items()}}


@contextmanager
def _prefect(postgres: EmbeddedPostgres, folder: Path) -> Iterator[str]:
    word = secrets.token_urlsafe()
    create_role(postgres.url("postgres"), "prefect", word)
    create_database(postgres.url("postgres"), "prefect", owner="prefect")
    port, home = free_port(), folder / "prefect"
    home.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(home),
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_API_DATABASE_CONNECTION_URL": postgres.url("prefect", "prefect", word).replace(
            "postgresql://", "postgresql+asyncpg://", 1
        ),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    words = ["--factory", "prefect.server.api.server:create_app", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", *words, "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("ab") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home, start_new_session=True)
    api = f"http://127.0.0.1:{port}/api"
    try:
        asyncio.run(_ready(f"{api}/ready", server))
        yield api
    finally:
        end(server)


async def _ready(url: str, server: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(180):
        while not await is_well(url):
            if server.poll() is not None:
                raise RuntimeError("the Prefect server ended; see its server.log")
            await asyncio.sleep(0.5)  # a server that is not there yet can only be asked again


def due(start: datetime, days: float) -> list[tuple[datetime, str]]:
    """(virtual moment, deployment) of what the schedules in prefect.yaml ask for, as far as EVERY keeps it."""
    told = yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8"))["deployments"]
    found: list[tuple[datetime, str]] = []
    for each in told:
        if each["name"] in EVERY and each["schedules"]:
            minute, hours, *_ = each["schedules"][0]["cron"].split()
            step = int(hours.removeprefix("*/")) if "/" in hours else 1
            moments = [start + timedelta(hours=hour, minutes=int(minute)) for hour in range(0, int(days * 24), step)]
            found += [(moment, each["name"]) for moment in moments[:: EVERY[each["name"]]]]
    return sorted(found)


@dataclass
class Carrier:
    """Carries out what waits in the work pool, and tells what became of it: a line per run, in order."""

    client: Any
    told: list[dict[str, Any]] = field(default_factory=list)
    _flows: dict[Any, tuple[str, Any]] = field(default_factory=dict)

    async def switch_schedules_off(self) -> None:
        """The wall's time asks for nothing here."""
        for deployment in await self.client.read_deployments():
            for schedule in deployment.schedules:
                await self.client.update_deployment_schedule(deployment.id, schedule.id, active=False)

    async def ask(self, deployment: str, **parameters: Any) -> None:
        """Ask for a run, as a schedule or a person would."""
        from prefect.deployments import arun_deployment

        found = [each for each in await self.deployments() if each.name == deployment]
        flow = await self.client.read_flow(found[0].flow_id)
        await arun_deployment(f"{flow.name}/{deployment}", parameters=parameters, timeout=0, as_subflow=False)

    async def deployments(self) -> Any:
        """Those that the house has registered."""
        if not hasattr(self, "_known"):
            self._known = await self.client.read_deployments()
        return self._known

    async def work(self) -> list[dict[str, Any]]:
        """Carry out all that waits, what it asks for itself included; gives those lines."""
        began = len(self.told)
        while waiting := await self.client.get_scheduled_flow_runs_for_work_pool(
            POOL, scheduled_before=datetime.now(UTC) + timedelta(seconds=1)
        ):
            for each in sorted(waiting, key=lambda one: one.flow_run.created):
                self.told.append(await self._carry_out(each.flow_run.id))
        return self.told[began:]

    async def _carry_out(self, run_id: Any) -> dict[str, Any]:
        from prefect.client.schemas.objects import State
        from prefect.flow_engine import run_flow
        from prefect.states import Pending

        await self.client.set_flow_run_state(run_id, Pending())  # as a worker does before it starts one
        run = await self.client.read_flow_run(run_id)
        name, flow = await self._flow(run.deployment_id)
        began = datetime.now(UTC)
        running = run_flow(flow, flow_run=run, return_type="state")
        assert isinstance(running, Coroutine)  # every flow of the house is async
        state = await running
        assert isinstance(state, State)
        result = await state.aresult(raise_on_failure=False) if state.is_completed() else None
        return {
            "deployment": name,
            "as_of": str(run.parameters.get("as_of")),
            "parameters": run.parameters,
            "id": str(run_id),
            "state": state.name,
            "message": "" if state.is_completed() else (state.message or "")[:500],
            "result": result,
            "seconds": round((datetime.now(UTC) - began).total_seconds(), 1),
        }

    async def _flow(self, deployment_id: Any) -> tuple[str, Any]:
        from prefect.flows import load_flow_from_entrypoint

        if deployment_id not in self._flows:
            deployment = await self.client.read_deployment(deployment_id)
            self._flows[deployment_id] = deployment.name, load_flow_from_entrypoint(deployment.entrypoint)
        return self._flows[deployment_id]

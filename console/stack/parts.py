"""The parts of the stack: what starts after what, with which command, and how one sees that it is healthy."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from console.stack import processes, redis
from console.stack.provision import POOL
from console.stack.wiring import OWN_PREFECT, Wiring
from tonewatch.settings import Settings, load_profile

ANSWER_SECONDS = 5.0
#: Niceness of what may be slow, so that the watched platform and the watcher are not starved.
BEHIND = 10

Words = Sequence[str | Path]


async def _always(_: Wiring) -> bool:
    return True


def _never(_: Wiring) -> bool:
    return False


def _nothing(_: Wiring) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Part:
    """`after` names what must be healthy first; a part that is done `once` is a step: healthy when it ends with 0.

    `external` says that a real server takes its place: then it is only asked whether it is healthy.
    """

    name: str
    command: Callable[[Wiring], Words]
    after: tuple[str, ...] = ()
    healthy: Callable[[Wiring], Awaitable[bool]] = _always
    environment: Callable[[Wiring], Mapping[str, str]] = _nothing
    url: Callable[[Wiring], str | None] = lambda _: None
    external: Callable[[Wiring], bool] = _never
    once: bool = False
    nice: int = 0
    seconds: float = 180.0
    last_signal: signal.Signals = signal.SIGTERM

    def prepare(self, wiring: Wiring) -> None:
        """What must be done before each start; may block. Raises StackError."""
        wiring.folder.rotate(self.name)

    async def is_healthy(self, wiring: Wiring, pid: int | None) -> bool:
        """Whether it does its work; `pid` is its process, None for a real server."""
        return await self.healthy(wiring)

    def start(self, wiring: Wiring) -> subprocess.Popen[bytes]:
        """Start it, from the thread that shall outlive it. Raises PartFailed."""
        return processes.spawn(
            self.command(wiring),
            environment=wiring.environment(self.environment(wiring)),
            log=wiring.folder.log(self.name),
            folder=wiring.folder.work,
            nice=self.nice,
            last_signal=self.last_signal,
        )


class PostgresPart(Part):
    """The embedded PostgreSQL, which runs as another user and with an environment of its own."""

    def prepare(self, wiring: Wiring) -> None:
        super().prepare(wiring)
        if wiring.postgres is not None:
            wiring.postgres.prepare()

    def start(self, wiring: Wiring) -> subprocess.Popen[bytes]:
        assert wiring.postgres is not None  # noqa: S101  # with a real server the part is external
        return wiring.postgres.launch()


class WatcherPart(Part):
    """The watcher, which has no door to knock at: it is set up when it handles SIGTERM itself."""

    async def is_healthy(self, wiring: Wiring, pid: int | None) -> bool:
        return pid is not None and processes.handles(pid, signal.SIGTERM)


async def answers(url: str, body: object = None, headers: Mapping[str, str] | None = None) -> object:
    """The JSON that `url` answers with (None: it has none); POST when there is a `body`. Raises OSError, ValueError."""

    def ask() -> object:
        data = None if body is None else json.dumps(body).encode()
        words = {"content-type": "application/json", **(headers or {})}
        request = urllib.request.Request(url, data=data, headers=words)  # noqa: S310  # the user's setting, or ours
        with _DIRECT.open(request, timeout=ANSWER_SECONDS) as response:
            return json.loads(response.read() or b"null")

    return await asyncio.to_thread(ask)


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


async def is_well(url: str, body: object = None) -> bool:
    """Whether `url` answers with success."""
    try:
        await answers(url, body, _authorization())
    except json.JSONDecodeError:
        return True  # MLflow's /health says OK in plain text
    except (OSError, ValueError):
        return False
    return True


def _authorization() -> dict[str, str]:
    """What the user's own Prefect server asks for, in the names that Prefect gives these."""
    if key := os.environ.get("PREFECT_API_KEY"):
        return {"authorization": f"Bearer {key}"}
    if word := os.environ.get("PREFECT_API_AUTH_STRING"):
        return {"authorization": "Basic " + base64.b64encode(word.encode()).decode()}
    return {}


async def _postgres_is_ready(wiring: Wiring) -> bool:
    return wiring.postgres is None or wiring.postgres.is_ready()


async def _redis_answers(wiring: Wiring) -> bool:
    if wiring.given.redis_url is not None:
        return await redis.is_there(wiring.given.redis_url.get_secret_value())
    return await redis.answers(wiring.redis_socket, wiring.secrets.redis)


def _redis(wiring: Wiring) -> Words:
    redis.remove_socket(wiring.redis_socket)
    folder = wiring.folder.path / "redis"
    return [redis.program(), redis.write_configuration(folder, wiring.redis_socket, wiring.secrets.redis)]


def _prefect(wiring: Wiring) -> Words:
    # What `prefect server start --background` runs, without the command line tool around it.
    words = ["--factory", "prefect.server.api.server:create_app", "--timeout-keep-alive", "5", "--log-level", "warning"]
    return [sys.executable, "-m", "uvicorn", *words, "--host", "127.0.0.1", "--port", str(wiring.prefect_port)]


def _prefect_environment(wiring: Wiring) -> dict[str, str]:
    database = wiring.server_database("prefect").replace("postgresql://", "postgresql+asyncpg://", 1)
    return {
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(wiring.prefect_port),
        "PREFECT_API_DATABASE_CONNECTION_URL": database,
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "OPENBLAS_NUM_THREADS": "1",
    }


async def _prefect_is_ready(wiring: Wiring) -> bool:
    return await is_well(f"{wiring.prefect_api}/ready")


def _mlflow(wiring: Wiring) -> Words:
    # What `mlflow server --workers 1` runs, without the parent process that would only wait for it (180 MiB).
    words = ["mlflow.server.fastapi_app:app", "--host", "127.0.0.1", "--port", str(wiring.mlflow_port)]
    return [sys.executable, "-m", "uvicorn", *words, "--log-level", "warning"]


def _mlflow_environment(wiring: Wiring) -> dict[str, str]:
    artifacts = wiring.folder.path / "mlflow" / "artifacts"
    for folder in (artifacts.parent, artifacts):
        folder.mkdir(mode=0o700, exist_ok=True)
    return {
        "_MLFLOW_SERVER_FILE_STORE": wiring.server_database("mlflow").replace(
            "postgresql://", "postgresql+psycopg://", 1
        ),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": artifacts.as_uri(),
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "OPENBLAS_NUM_THREADS": "1",
    }


async def _mlflow_is_ready(wiring: Wiring) -> bool:
    # Asked for something in its database: the first such question makes its tables, which takes a while.
    search = f"{wiring.mlflow}/api/2.0/mlflow/experiments/search"
    return await is_well(f"{wiring.mlflow}/health") and await is_well(search, {"max_results": 1})


async def _gateway_is_ready(wiring: Wiring) -> bool:
    return await is_well(f"{wiring.gateway}/ready")


def _step(
    name: str,
    after: str,
    environment: Callable[[Wiring], Mapping[str, str]] = _nothing,
    nice: int = 0,
    external: Callable[[Wiring], bool] = _never,
) -> Part:
    def command(_: Wiring) -> Words:
        return [sys.executable, "-m", "console.stack.provision", name]

    return Part(name, command, (after,), environment=environment, external=external, once=True, nice=nice)


def _as_admin(wiring: Wiring) -> dict[str, str]:
    admin = wiring.settings.admin_database_url
    return {} if admin is None else {"TONEWATCH_ADMIN_DATABASE_URL": admin.get_secret_value()}


def _own_prefect(wiring: Wiring) -> dict[str, str]:
    return {OWN_PREFECT: "no" if wiring.given.prefect_api_url else "yes"}


def _worker_name(wiring: Wiring) -> str:
    return f"tonewatch-{wiring.run}"


def _worker(wiring: Wiring) -> Words:
    words = ["worker", "start", "--pool", POOL, "--type", "process", "--name", _worker_name(wiring), "--limit", "2"]
    return [sys.executable, "-m", "prefect", "--no-prompt", *words]


async def _worker_is_online(wiring: Wiring) -> bool:
    try:
        found = await answers(f"{wiring.prefect_api}/work_pools/{POOL}/workers/filter", {"limit": 50}, _authorization())
    except (OSError, ValueError):
        return False
    name = _worker_name(wiring)
    rows = found if isinstance(found, list) else []
    return any(row["name"] == name and row["status"] == "ONLINE" for row in rows)


POSTGRES = PostgresPart(
    "postgres",
    lambda _: (),
    healthy=_postgres_is_ready,
    external=lambda wiring: wiring.postgres is None,
    last_signal=signal.SIGINT,
)
REDIS = Part("redis", _redis, healthy=_redis_answers, external=lambda wiring: wiring.given.redis_url is not None)
DATABASES = _step(
    "databases",
    "postgres",
    _as_admin,
    external=lambda wiring: not (wiring.prefect_port or wiring.mlflow_port),
)
WAREHOUSE = _step("warehouse", "postgres", _as_admin)
PREFECT = Part(
    "prefect",
    _prefect,
    ("databases",),
    _prefect_is_ready,
    _prefect_environment,
    url=lambda wiring: wiring.prefect_api.removesuffix("/api"),
    external=lambda wiring: wiring.given.prefect_api_url is not None,
    nice=BEHIND,
)
MLFLOW = Part(
    "mlflow",
    _mlflow,
    ("databases",),
    _mlflow_is_ready,
    _mlflow_environment,
    url=lambda wiring: wiring.mlflow,
    external=lambda wiring: wiring.given.mlflow_tracking_uri is not None,
    nice=BEHIND,
)
GATEWAY = Part(
    "gateway",
    lambda _: [sys.executable, "-m", "gateway.api"],
    ("warehouse", "redis"),
    _gateway_is_ready,
    url=lambda wiring: wiring.settings.gateway_url,
)
POOL_STEP = _step("pool", "prefect")
WORKER = Part(
    "worker",
    _worker,
    ("pool",),
    _worker_is_online,
    lambda _: {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_LOGGING_LEVEL": "INFO"},
    nice=BEHIND,
)
DEPLOYMENTS = _step("deployments", "pool", _own_prefect, BEHIND)
WATCHER = WatcherPart(
    "watcher",
    lambda _: [sys.executable, "-m", "console.watch"],
    ("warehouse", "redis", "gateway", "mlflow", "prefect"),
)
PARTS = (POSTGRES, DATABASES, WAREHOUSE, REDIS, PREFECT, MLFLOW, GATEWAY, POOL_STEP, WORKER, DEPLOYMENTS, WATCHER)
#: What a light profile does without: no model is asked or trained, and the watcher keeps house itself.
HEAVY = frozenset({"mlflow", "pool", "worker", "deployments"})


def parts_for(settings: Settings) -> tuple[Part, ...]:
    """The parts that the settings' profile needs. Raises SettingsError: no such profile."""
    light = load_profile(settings.profile).light
    return tuple(part for part in PARTS if not (light and part.name in HEAVY))

"""Who reaches whom where: every address and password of one run, settled before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pydantic import SecretStr

from console.stack import ports, redis
from console.stack.guard import MARK
from console.stack.postgres import EmbeddedPostgres
from console.stack.state import StateFolder
from tonewatch.errors import StackError
from tonewatch.secrets import Secrets
from tonewatch.settings import BARE_NAMES, PREFIX, Settings, load_profile, to_environment

ROOT = Path(__file__).resolve().parents[2]
APP_ROLE = "tonewatch_app"
DISPATCHER_ROLE = "tonewatch_dispatcher"
WAREHOUSE = "tonewatch"
OWN_PREFECT = "STACK_OWN_PREFECT"
SERVER_DATABASES = ("prefect", "mlflow")
#: Our servers and the port that each has if nothing else is known.
PORTS = {"gateway": 8414, "prefect": 4200, "mlflow": 5000}
LOCAL_HOSTS = "127.0.0.1,localhost,::1"


@dataclass(frozen=True)
class Wiring:
    """`given` are the settings as the user wrote them, `settings` the same with every address filled in."""

    given: Settings
    settings: Settings
    folder: StateFolder
    secrets: Secrets
    run: str
    postgres: EmbeddedPostgres | None
    prefect_port: int
    mlflow_port: int
    gateway_port: int

    @property
    def redis_socket(self) -> Path:
        """Where our own Redis listens."""
        return self.folder.run / "redis.sock"

    @property
    def prefect_api(self) -> str:
        """The Prefect API's URL without a slash at its end."""
        return (self.settings.prefect_api_url or "").rstrip("/")

    @property
    def mlflow(self) -> str:
        """The MLflow server's URL without a slash at its end."""
        return (self.settings.mlflow_tracking_uri or "").rstrip("/")

    @property
    def gateway(self) -> str:
        """Where our gateway listens."""
        return f"http://{ports.LOOPBACK}:{self.gateway_port}"

    def server_database(self, name: str) -> str:
        """The URL under which the server `name` (prefect, mlflow) reaches its own database with its own role.

        Raises StackError: the database is a real one, and nobody told us how to make databases there.
        """
        password = str(getattr(self.secrets, name))
        return with_login(self.admin_database(f"make the database of {name}"), name, password, name)

    def admin_database(self, purpose: str) -> str:
        """The URL that may make roles and databases. Raises StackError: there is none."""
        if self.settings.admin_database_url is None:
            raise StackError(
                f"TONEWATCH_DATABASE_URL is set, TONEWATCH_ADMIN_DATABASE_URL is not: set it too, to {purpose}, "
                "or set TONEWATCH_PREFECT_API_URL and TONEWATCH_MLFLOW_TRACKING_URI"
            )
        return self.settings.admin_database_url.get_secret_value()

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a process of ours: the caller's, less what could mislead it, plus the settings."""
        return _inherited(self.given) | self._ours() | dict(extra or {})

    def _ours(self) -> dict[str, str]:
        # The admin's URL goes to the provisioning step alone.
        settings = self.settings.model_copy(update={"admin_database_url": None})
        return to_environment(settings) | {
            MARK: self.run,
            "PREFECT_API_URL": self.prefect_api,
            "PREFECT_HOME": str(self.folder.path / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "MLFLOW_TRACKING_URI": self.mlflow,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "DO_NOT_TRACK": "true",
            "GX_ANALYTICS_ENABLED": "false",
            "GIT_PYTHON_REFRESH": "quiet",
            # Prefect's runner has one folder there for all users of the machine: the second user is refused.
            "TMPDIR": str(self.folder.scratch),
            "PYTHONUNBUFFERED": "1",
            # Each thread's own heap is never given back: two are enough for programs that mostly wait.
            "MALLOC_ARENA_MAX": "2",
        }


def wire(given: Settings, folder: StateFolder, secrets: Secrets, run: str) -> Wiring:
    """Choose ports and settle every address. Raises PortTaken, StackError."""
    own_database = given.database_url is None and given.admin_database_url is None
    postgres = EmbeddedPostgres(folder.path, secrets.superuser) if own_database else None
    own_mlflow = not (given.mlflow_tracking_uri or load_profile(given.profile).light)
    gateway = _port("gateway", given.gateway_port, folder)
    prefect = _port("prefect", given.prefect_port, folder) if not given.prefect_api_url else 0
    mlflow = _port("mlflow", given.mlflow_port, folder) if own_mlflow else 0
    folder.keep_ports({name: port for name, port in zip(PORTS, (gateway, prefect, mlflow), strict=True) if port})
    filled: dict[str, Any] = {
        "state_dir": folder.path,
        "gateway_port": gateway,
        "gateway_url": given.gateway_url or f"http://{ports.LOOPBACK}:{gateway}",
        "prefect_api_url": given.prefect_api_url or f"http://{ports.LOOPBACK}:{prefect}/api",
        "mlflow_tracking_uri": f"http://{ports.LOOPBACK}:{mlflow}" if own_mlflow else given.mlflow_tracking_uri,
    }
    filled |= storage(given, folder, secrets)
    settings = given.model_copy(update=filled)
    wiring = Wiring(given, settings, folder, secrets, run, postgres, prefect, mlflow, gateway)
    if own_mlflow or not given.prefect_api_url:
        wiring.admin_database("make the databases of Prefect and MLflow")
    return wiring


def _port(server: str, wanted: int | None, folder: StateFolder) -> int:
    """The port of one server of ours: what is set, else what it had the last time, so that old addresses still lead
    to it, else its usual one, else any. Raises PortTaken.
    """
    usual = PORTS[server]
    kept = folder.kept_ports().get(server, usual)
    return ports.choose(wanted, kept if ports.is_free(kept) else usual, f"TONEWATCH_{server.upper()}_PORT")


def storage(given: Settings, folder: StateFolder, secrets: Secrets) -> dict[str, SecretStr]:
    """The settings of PostgreSQL and Redis, filled in where the user gave none. Raises StackError."""
    redis_url = given.redis_url or SecretStr(redis.socket_url(folder.run / "redis.sock", secrets.redis))
    return _databases(given, folder, secrets) | {"redis_url": redis_url}


def _databases(given: Settings, folder: StateFolder, secrets: Secrets) -> dict[str, SecretStr]:
    admin = given.admin_database_url
    if given.database_url is None and admin is None:
        admin = SecretStr(EmbeddedPostgres(folder.path, secrets.superuser).url("postgres"))
    app, dispatcher = given.database_url, given.dispatcher_database_url
    if admin is None and dispatcher is None:
        raise StackError("TONEWATCH_DATABASE_URL is set: set TONEWATCH_DISPATCHER_DATABASE_URL as well")
    if admin is None:
        return {}
    # Where the app reaches the database, the dispatcher does.
    base = (app or admin).get_secret_value()
    name = unquote(urlsplit(base).path.strip("/")) if app else WAREHOUSE
    return {
        "admin_database_url": admin,
        "database_url": app or SecretStr(with_login(base, APP_ROLE, secrets.app, name)),
        "dispatcher_database_url": dispatcher or SecretStr(with_login(base, DISPATCHER_ROLE, secrets.dispatcher, name)),
    }


def with_login(url: str, user: str, password: str, database: str) -> str:
    """`url` with another user, password and database; host, port and options stay."""
    parts = urlsplit(url)
    if not parts.scheme.startswith("postgres"):
        raise StackError("a database URL must be written postgresql://user:password@host:port/name")
    place = parts.netloc.rpartition("@")[2]
    login = f"{quote(user, '')}:{quote(password, '')}@{place}"
    return urlunsplit(parts._replace(netloc=login, path="/" + quote(database, "")))


def _inherited(given: Settings) -> dict[str, str]:
    dropped = [PREFIX]
    dropped += [] if given.prefect_api_url else ["PREFECT_"]
    dropped += [] if given.mlflow_tracking_uri else ["MLFLOW_", "_MLFLOW_"]
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(tuple(dropped)) and name not in BARE_NAMES
    }
    for name in ("NO_PROXY", "no_proxy"):  # our servers are never behind the user's proxy
        kept[name] = ",".join(filter(None, (kept.get(name), LOCAL_HOSTS)))
    kept.setdefault("PATH", "/usr/bin:/bin")
    return kept

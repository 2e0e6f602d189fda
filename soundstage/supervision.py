"""The supervisor: its configuration, and its control API over XML-RPC."""

from __future__ import annotations

import http.client
import sys
import xmlrpc.client
from pathlib import Path
from typing import Any

from soundstage.errors import SoundstageError, Unreachable
from soundstage.plan import Part, Plan, write_atomically

CALL_TIMEOUT_S = 15.0
_RUNNING = 20


def _escaped(value: object) -> str:
    """A value for supervisord's configuration, where a per cent sign begins an expansion."""
    return str(value).replace("%", "%%")


def _quoted(value: object) -> str:
    return '"' + _escaped(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _program(plan: Plan, plan_path: Path, part: Part) -> str:
    words = (sys.executable, "-m", f"soundstage.{part.module}", "--plan", plan_path, "--name", part.name)
    return f"""
[program:{part.name}]
command={" ".join(_quoted(word) for word in words)}
directory={_escaped(Path(__file__).resolve().parent.parent)}
autostart=true
autorestart=false
startsecs=1
startretries=0
stopwaitsecs=3
redirect_stderr=true
stdout_logfile=logs/{part.name}.out
stdout_logfile_maxbytes=1MB
stdout_logfile_backups=0
"""


def configuration(plan: Plan, plan_path: Path) -> str:
    """supervisord's configuration; it must be started in the plan's folder.

    It restarts nothing by itself: that is for whoever looks after the platform. File names are relative, since
    supervisord expands those of logs twice and so cannot be given a per cent sign in them.
    """
    head = f"""[supervisord]
logfile=logs/supervisord.log
logfile_maxbytes=1MB
logfile_backups=0
pidfile=supervisord.pid
childlogdir=logs
identifier=soundstage

[inet_http_server]
port=127.0.0.1:{plan.supervisor_port}
username={plan.user}
password={plan.password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
    return head + "".join(_program(plan, plan_path, part) for part in plan.parts)


def write_configuration(plan: Plan, plan_path: Path) -> Path:
    """Write the configuration, readable by its owner alone; returns its path."""
    path = plan.folder / "supervisord.conf"
    write_atomically(path, configuration(plan, plan_path).encode(), mode=0o600)
    return path


class _Transport(xmlrpc.client.Transport):
    """HTTP with a time-out: a frozen supervisor must not freeze its callers."""

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = CALL_TIMEOUT_S
        return connection


class Supervisor:
    """Starts, stops and looks at the platform's processes. Raises Unreachable or SoundstageError with the reason."""

    def __init__(self, url: str) -> None:
        self._server = xmlrpc.client.ServerProxy(url, transport=_Transport())

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._server.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as error:
            raise SoundstageError(f"the supervisor refused {method}{arguments}: {error.faultString}") from error
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise Unreachable(f"the supervisor did not answer {method}: {error}") from error

    def processes(self) -> dict[str, dict[str, Any]]:
        """Every process by name, as the supervisor describes it."""
        return {info["name"]: info for info in self._call("getAllProcessInfo")}

    def pid_of(self, process: str) -> int:
        """The process id; raises SoundstageError when it does not run."""
        info = self._call("getProcessInfo", process)
        if not info["pid"]:
            raise SoundstageError(f"{process} does not run (it is {info['statename']})")
        return int(info["pid"])

    def running(self, process: str) -> bool:
        """Whether the supervisor holds the process for running."""
        return bool(self._call("getProcessInfo", process)["state"] == _RUNNING)

    def start(self, process: str) -> None:
        """Start it and wait until it stays up."""
        self._call("startProcess", process, True)

    def stop(self, process: str) -> None:
        """End it and wait until it has ended (kill -9 after 3 s)."""
        self._call("stopProcess", process, True)

"""supervisord by its XML-RPC interface (supervisord.org/api.html): what remedies on the soundstage use.

Before a deed the process is looked up by its exact name: supervisord itself would take a group's name or a wildcard
and act on all of it. A process that does not listen to its stop signal is killed.
"""

from __future__ import annotations

import asyncio
import re
import xmlrpc.client
from collections.abc import Collection
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self
from xml.parsers.expat import ExpatError

import httpx

from gateway.http import client as new_client
from gateway.http import post
from gateway.platforms import ProcessState
from gateway.platforms.credentials import apart
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import OutcomeUnknown, PlatformError, SourceError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}(?::[A-Za-z0-9][A-Za-z0-9_.-]{0,99})?")
_ENDED: Final = frozenset({"STOPPED", "EXITED", "FATAL"})
_ALREADY_STARTED: Final = 60
_NOT_RUNNING: Final = 70
_POLL_S: Final = 0.1


class Supervisor:
    """One supervisord at `url` (http://user:password@host:port/RPC2).

    `grace_s`: how long a process may take to end before it is killed; `start_s`: to be RUNNING.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 5.0,
        grace_s: float = 3.0,
        start_s: float = 15.0,
        clock: Clock = SYSTEM,
    ) -> None:
        self._url, self._headers = apart(url)
        self._client: httpx.AsyncClient = new_client(timeout_s=timeout, connections=4)
        self._timeout = timeout
        self._grace_s = grace_s
        self._start_s = start_s
        self._clock = clock

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def state(self, process: str) -> ProcessState:
        """How `process` is. Raises PlatformError: unknown, or supervisord does not answer."""
        if not _NAME.fullmatch(process):
            raise PlatformError(f"{process!r} is no process name; groups and wildcards are never acted on")
        try:
            found = await self._call("getProcessInfo", process)
        except OutcomeUnknown as error:  # a question that broke off has done nothing
            raise PlatformError(str(error)) from error
        except xmlrpc.client.Fault as fault:
            raise PlatformError(f"supervisord knows no process {process}: {fault.faultString}") from fault
        return _process_state(process, found)

    async def start(self, process: str) -> ProcessState:
        """Start `process` and wait until it is RUNNING; one that is already is left alone.

        Raises PlatformError: refused, or it ended again. OutcomeUnknown: the call broke off.
        """
        if (await self.state(process)).state == "RUNNING":
            return await self.state(process)
        await self._do("startProcess", process, allowed=_ALREADY_STARTED)
        found = await self._reaches(process, {"RUNNING", "EXITED", "FATAL", "STOPPED"}, self._start_s)
        if found is None or found.state != "RUNNING":
            found = found or await self.state(process)
            raise PlatformError(f"{process} did not come up: {found.state} {found.detail}".rstrip())
        return found

    async def stop(self, process: str) -> ProcessState:
        """Stop `process`, by SIGKILL when it has not ended after the grace; one that has ended is left alone.

        Raises PlatformError: refused, or it cannot be ended. OutcomeUnknown: the call broke off.
        """
        found = await self.state(process)
        if found.state in _ENDED:
            return found
        await self._do("stopProcess", process, allowed=_NOT_RUNNING)
        ended = await self._reaches(process, _ENDED, self._grace_s)
        return ended or await self._kill(found)

    async def restart(self, process: str) -> ProcessState:
        """Stop what is left of `process` and bring up a new one. Raises as `stop` and `start` do."""
        await self.stop(process)
        return await self.start(process)

    async def kill_and_restart(self, process: str) -> ProcessState:
        """End `process` by SIGKILL at once, wait until it has ended, and bring up a new one: what hangs hears no other
        signal. Raises as `stop` and `start` do.
        """
        found = await self.state(process)
        if found.state not in _ENDED:
            await self._kill(found)
        return await self.start(process)

    async def _kill(self, running: ProcessState) -> ProcessState:
        process = running.name
        await self._do("signalProcess", process, "KILL", allowed=_NOT_RUNNING)
        ended = await self._reaches(process, _ENDED, self._grace_s, unlike=running.pid)
        if ended is None:
            raise PlatformError(f"{process} cannot be ended, not even by SIGKILL")
        return ended

    async def _reaches(
        self, process: str, states: Collection[str], seconds: float, unlike: int | None = None
    ) -> ProcessState | None:
        """The process once it is in one of `states`, or is another than the pid `unlike`: a supervisor that restarts
        by itself is quicker than we look.
        """
        until = self._clock.monotonic() + seconds
        while True:
            try:
                found = await self.state(process)
            except PlatformError as error:  # something was done before: what came of it is not known
                raise OutcomeUnknown(f"after it was told what to do: {error}") from error
            if found.state in states or (unlike and found.pid and found.pid != unlike):
                return found
            if self._clock.monotonic() >= until:
                return None
            await asyncio.sleep(_POLL_S)  # supervisord tells no one of a change over XML-RPC; it has to be asked

    async def _do(self, method: str, process: str, *more: str, allowed: int) -> None:
        # Without waiting on their side: a call that is held open for seconds is a call that can break off.
        arguments: tuple[str | bool, ...] = more if method == "signalProcess" else (False,)
        try:
            await self._call(method, process, *arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != allowed:
                raise PlatformError(f"supervisord refused {method} of {process}: {fault.faultString}") from fault

    async def _call(self, method: str, *arguments: str | bool) -> Any:
        body = xmlrpc.client.dumps(arguments, f"supervisor.{method}").encode()
        try:
            answer = await post(
                self._client, self._url, body, media_type="text/xml", deadline_s=self._timeout, headers=self._headers
            )
        except SourceError as error:
            sent = error.kind in {"timeout", "broken", "too-large"}
            raise (OutcomeUnknown if sent else PlatformError)(f"supervisord: {error}") from error
        if answer.status != 200:
            hint = ": look at the user and password in supervisor_url" if answer.status == 401 else ""
            raise PlatformError(f"supervisord at {self._url} answered {answer.status}{hint}")
        try:
            (value,), _ = xmlrpc.client.loads(answer.content, use_builtin_types=True)
        except (ExpatError, xmlrpc.client.ResponseError, ValueError, TypeError, LookupError) as error:
            raise OutcomeUnknown(f"supervisord at {self._url} gave an answer that is no XML-RPC") from error
        return value


def _process_state(process: str, found: object) -> ProcessState:
    if not isinstance(found, dict) or not isinstance(found.get("statename"), str):
        raise PlatformError(f"supervisord's answer about {process} is not what its interface promises")
    state = found["statename"]
    return ProcessState(
        name=process,
        state=state,
        pid=_positive(found.get("pid")),
        exit_status=found.get("exitstatus") if state in {"EXITED", "BACKOFF", "FATAL"} else None,
        started=_moment(found.get("start")),
        stopped=_moment(found.get("stop")),
        detail=str(found.get("spawnerr") or found.get("description") or ""),
    )


def _positive(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _moment(value: object) -> datetime | None:
    seconds = _positive(value)
    return datetime.fromtimestamp(seconds, UTC) if seconds else None

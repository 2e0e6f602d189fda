"""What the platform lets others set besides its processes: inputs of an ingest, versions of a configuration, routing.

The addresses come from the inventory, the credentials from `supervisor_url`; they are sent to that host alone, since
whoever could change an inventory could else collect them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.http import Fetched, fetch, post
from gateway.http import client as new_client
from gateway.platforms.credentials import apart
from tonewatch.clock import SYSTEM, Clock
from tonewatch.errors import OutcomeUnknown, PlatformError, SourceError

_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_EDGE: Final = "edge:"
_ANSWER_BYTES: Final = 64 * 1024
#: After these the platform may have done it or not.
_BROKEN_OFF: Final = frozenset({"timeout", "broken", "too-large"})
_SERVER_FAILED: Final = 500


@dataclass(frozen=True, slots=True)
class Versions:
    """Which version of its configuration a component runs, which it ran before, and which there are."""

    running: str
    previous: str | None
    known: tuple[str, ...]


class _Versions(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    running: str
    previous: str | None = None
    known: list[str]


class _Routing(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    drained: list[str]


class Controls:
    """The controls of one platform. `url` is the supervisor's, with user and password; `timeout` in seconds.

    Reading raises PlatformError. Setting raises PlatformError: refused, or never sent, nothing was done; and
    OutcomeUnknown: it broke off after it was sent, read before doing it again.
    """

    def __init__(self, url: str, *, timeout: float = 5.0, clock: Clock = SYSTEM) -> None:
        address, self._headers = apart(url)
        self._host = urlsplit(address).hostname
        self._client: httpx.AsyncClient = new_client(timeout_s=timeout, connections=4)
        self._timeout = timeout
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

    async def read_input(self, url: str) -> str:
        """The name of the input that the ingest at `url` takes now. Raises PlatformError."""
        name = (await self._get(url)).text.strip()
        if not _VALUE.fullmatch(name):
            raise PlatformError(f"{url} does not answer with the name of an input")
        return name

    async def switch_input(self, url: str, name: str) -> None:
        """Let the ingest at `url` take the input `name`. Raises PlatformError, OutcomeUnknown."""
        await self._post(url, name)

    async def versions(self, url: str) -> Versions:
        """The versions of a component's configuration. Raises PlatformError."""
        return _versions(await self._get(url), PlatformError)

    async def run_version(self, url: str, version: str) -> Versions:
        """Let the component at `url` run `version`; gives the versions afterwards.

        Raises PlatformError; OutcomeUnknown, also when the answer tells of another version.
        """
        after = _versions(await self._post(url, version), OutcomeUnknown)
        if after.running != version:
            raise OutcomeUnknown(f"{url} was told to run version {version} and says that it runs {after.running}")
        return after

    async def drained(self, url: str) -> frozenset[str]:
        """Entity ids of the edges to which no listener is sent. Raises PlatformError."""
        return _drained(await self._get(url), PlatformError)

    async def drain(self, url: str, edge: str) -> frozenset[str]:
        """Send listeners past `edge` (entity id); gives what is drained afterwards.

        Raises PlatformError: refused, e.g. because it is the last one; OutcomeUnknown.
        """
        return await self._route(url, "drain", edge, drained=True)

    async def admit(self, url: str, edge: str) -> frozenset[str]:
        """Send listeners to `edge` (entity id) again; gives what is drained afterwards.

        Raises PlatformError, OutcomeUnknown.
        """
        return await self._route(url, "admit", edge, drained=False)

    async def _route(self, url: str, deed: str, edge: str, *, drained: bool) -> frozenset[str]:
        if not edge.startswith(_EDGE):
            raise PlatformError(f"{edge!r} is no edge: only edges are drained and admitted")
        after = _drained(await self._post(url, deed, edge.removeprefix(_EDGE)), OutcomeUnknown)
        if (edge in after) != drained:
            raise OutcomeUnknown(f"{url} was told to {deed} {edge} and says otherwise")
        return after

    async def _get(self, url: str) -> Fetched:
        try:
            return await fetch(self._client, url, deadline_s=self._timeout, max_bytes=_ANSWER_BYTES, clock=self._clock)
        except SourceError as error:
            raise PlatformError(f"the platform does not say how it is set: {error}") from error

    async def _post(self, url: str, *steps: str) -> Fetched:
        for step in steps:
            if not _VALUE.fullmatch(step):
                raise PlatformError(f"{step!r} is no name of something that could be set")
        if urlsplit(url).hostname != self._host:
            raise PlatformError(f"{url} is on another host than supervisor_url: its credentials are not sent there")
        address = "/".join((url.rstrip("/"), *steps))
        try:
            answer = await post(
                self._client, address, b"", deadline_s=self._timeout, headers=self._headers, clock=self._clock
            )
        except SourceError as error:
            raise (OutcomeUnknown if error.kind in _BROKEN_OFF else PlatformError)(str(error)) from error
        if answer.status >= _SERVER_FAILED:
            raise OutcomeUnknown(f"{address} failed while doing it: {answer.status}")
        if answer.status != httpx.codes.OK:
            hint = ": look at the user and password in supervisor_url" if answer.status == 401 else _told(answer)
            raise PlatformError(f"{address} refused with {answer.status}{hint}")
        return answer


def _told(answer: Fetched) -> str:
    text = " ".join(answer.text.split())[:200]
    return f": {text}" if text else ""


def _versions(answer: Fetched, error: type[PlatformError]) -> Versions:
    found: Any = _parsed(_Versions, answer, error)
    return Versions(found.running, found.previous, tuple(found.known))


def _drained(answer: Fetched, error: type[PlatformError]) -> frozenset[str]:
    found: Any = _parsed(_Routing, answer, error)
    return frozenset(found.drained)


def _parsed(model: type[BaseModel], answer: Fetched, error: type[PlatformError]) -> BaseModel:
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as problem:
        raise error(f"{answer.url} gave an answer that is not what docs/inventory.md promises") from problem

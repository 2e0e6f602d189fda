"""An Alertmanager that the user runs: what it knows of alerts, and to whom it tells them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from gateway.http import Session, addressed, fetch
from tonewatch.errors import SourceError

MAX_BYTES: Final = 16 * 1024 * 1024
DEADLINE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class KnownAlert:
    """An alert as it stands there. state: active, suppressed (silenced or inhibited) or unprocessed."""

    labels: Mapping[str, str]
    state: str
    since: str
    receivers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """What it says of itself. configuration: as it runs, its secrets left out by itself."""

    version: str
    configuration: str


class Alertmanager:
    """Asks one Alertmanager by its API, version 2. `url` may carry user and password; they appear in no message."""

    def __init__(self, session: Session, url: str) -> None:
        self._session = session
        self.url, self._headers = addressed(url, "the Alertmanager")

    async def standing(self) -> Standing:
        """Its version and configuration. Raises SourceError: it cannot be reached, or is no Alertmanager."""
        with self._understood("status"):
            found = await self._ask("status")
            return Standing(str(found["versionInfo"]["version"]), str(found["config"]["original"]))

    async def alerts(self) -> list[KnownAlert]:
        """The alerts that fire there, silenced and inhibited ones too. Raises SourceError."""
        with self._understood("alerts"):
            return [
                KnownAlert(
                    {str(name): str(value) for name, value in each["labels"].items()},
                    str(each["status"]["state"]),
                    str(each["startsAt"]),
                    tuple(str(receiver["name"]) for receiver in each["receivers"]),
                )
                for each in await self._ask("alerts")
            ]

    async def receivers(self) -> list[str]:
        """The names of those whom it tells. Raises SourceError."""
        with self._understood("receivers"):
            return [str(each["name"]) for each in await self._ask("receivers")]

    @contextmanager
    def _understood(self, path: str) -> Iterator[None]:
        """Whatever an answer lacks that Alertmanager's API has is told as a fault of the source."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SourceError(f"{self.url}/api/v2/{path} gives no answer of an Alertmanager: {error!r}") from error

    async def _ask(self, path: str) -> Any:
        address = f"{self.url}/api/v2/{path}"
        fetched = await fetch(self._session, address, deadline_s=DEADLINE_S, max_bytes=MAX_BYTES, headers=self._headers)
        try:
            return fetched.document()
        except ValueError as error:
            raise SourceError(f"{address} gives no whole JSON: is this an Alertmanager?") from error

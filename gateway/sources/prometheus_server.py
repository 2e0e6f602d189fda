"""A Prometheus that the user runs: what it scrapes, which rules it has, and its raw samples.

Raw means by range selectors (`up[5m]`), which give each sample once and with its own time; `query_range` repeats the
last one at every step, as if it were fresh.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from gateway.http import Session, addressed, fetch
from gateway.remote_write import NAME, Labelled, kind_of, milliseconds
from tonewatch.errors import SourceError

#: Largest answer that is read: some million samples.
MAX_BYTES: Final = 64 * 1024 * 1024
#: A question about long stretches of time takes Prometheus seconds.
DEADLINE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Target:
    """Something that Prometheus scrapes. health: up, down or unknown; error: why the last scrape failed."""

    labels: Mapping[str, str]
    health: str
    error: str

    @property
    def job(self) -> str:
        """The job that scrapes it."""
        return self.labels.get("job", "")


@dataclass(frozen=True, slots=True)
class AlertingRule:
    """An alerting rule as Prometheus holds it. lasts_s: how long its expression must hold (`for`)."""

    name: str
    expression: str
    lasts_s: float
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """Raw samples of one series in the order of time. times: milliseconds since 1970."""

    told: Labelled
    times: array[int]
    values: array[float]


class PrometheusServer:
    """Asks one Prometheus. `url` may carry user and password; they appear in no message.

    credentials: `user:password`, or a bearer token; those in the address take their place.
    """

    def __init__(self, session: Session, url: str, credentials: str | None = None) -> None:
        self._session = session
        self.url, self._headers = addressed(url, "Prometheus", credentials)

    async def version(self) -> str:
        """Its version. Raises SourceError: it cannot be reached, or is no Prometheus."""
        with self._understood("status/buildinfo"):
            return str((await self._ask("status/buildinfo")).get("version", "unknown"))

    async def series_count(self) -> int | None:
        """How many series it holds now; None: it does not say."""
        with self._understood("status/tsdb"):
            count = ((await self._ask("status/tsdb")).get("headStats") or {}).get("numSeries")
        return count if isinstance(count, int) else None

    async def targets(self) -> list[Target]:
        """What it scrapes now."""
        with self._understood("targets"):
            found = (await self._ask("targets", state="active")).get("activeTargets") or ()
            return [Target(dict(each["labels"]), str(each["health"]), str(each.get("lastError", ""))) for each in found]

    async def alerting_rules(self) -> list[AlertingRule]:
        """Its alerting rules, in its order."""
        with self._understood("rules"):
            found = await self._ask("rules", type="alert")
            return [
                AlertingRule(
                    str(rule["name"]),
                    str(rule["query"]),
                    float(rule.get("duration", 0.0)),
                    dict(rule.get("labels") or {}),
                    dict(rule.get("annotations") or {}),
                )
                for group in found.get("groups") or ()
                for rule in group.get("rules") or ()
                if rule.get("type", "alerting") == "alerting"
            ]

    async def metrics(self) -> list[str]:
        """The names of its metrics."""
        found = await self._ask(f"label/{NAME}/values")
        return [str(name) for name in found] if isinstance(found, list) else []

    async def raw(self, selector: str, start: datetime, end: datetime) -> list[Line]:
        """Every sample with start < time <= end of the series that `selector` names, e.g. `up` or `{job="edge"}`.

        Raises SourceError: also when the answer is not whole; then nothing of it is given.
        """
        span_ms = (end - start) // timedelta(milliseconds=1)
        if span_ms <= 0:
            return []
        first = milliseconds(start)
        with self._understood("query"):
            found = await self._ask("query", query=f"{selector}[{span_ms}ms]", time=_seconds(end))
            if found["resultType"] != "matrix":
                raise SourceError(f"{self.url} answers {selector!r} with no range of samples")
            return [line for line in (_line(each, first) for each in found["result"]) if len(line.times)]

    @contextmanager
    def _understood(self, path: str) -> Iterator[None]:
        """Whatever an answer lacks that Prometheus' API has is told as a fault of the source."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise SourceError(f"{self.url}/api/v1/{path} gives no answer of a Prometheus: {error!r}") from error

    async def _ask(self, path: str, **query: str) -> Any:
        address = f"{self.url}/api/v1/{path}" + (f"?{urlencode(query)}" if query else "")
        fetched = await fetch(self._session, address, deadline_s=DEADLINE_S, max_bytes=MAX_BYTES, headers=self._headers)
        try:
            document = fetched.document()
        except ValueError as error:
            raise SourceError(f"{self.url}/api/v1/{path} gives no whole JSON: is this a Prometheus?") from error
        if not isinstance(document, dict) or document.get("status") != "success":
            told = document.get("error", "") if isinstance(document, dict) else ""
            raise SourceError(f"{self.url}/api/v1/{path} gives no answer of a Prometheus {told}".rstrip())
        return document.get("data") or {}


def _seconds(moment: datetime) -> str:
    return f"{milliseconds(moment) / 1000:.3f}"


def _line(each: Mapping[str, Any], first: int) -> Line:
    """One series of a matrix; of Prometheus before 3.0 a sample at the very start comes too, and is left out."""
    labels = {str(name): str(value) for name, value in each["metric"].items()}
    metric = labels.pop(NAME, "")
    times, values = array("q"), array("d")
    for seconds, value in each.get("values") or ():
        moment = round(float(seconds) * 1000)
        if moment > first:
            times.append(moment)
            values.append(float(value))
    return Line(Labelled(metric, tuple(sorted(labels.items())), kind=kind_of(metric)), times, values)

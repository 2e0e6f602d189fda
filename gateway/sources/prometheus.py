"""Metrics as the watched platform's processes show them: a scrape of /metrics in Prometheus' text format."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from gateway.http import fetch
from tonewatch.errors import SourceError
from tonewatch.records import SeriesKind

#: A larger exposition than this is a fault of its own kind, not telemetry.
MAX_BYTES: Final = 2 * 1024 * 1024
#: Above this the text is parsed in a thread: 64 KiB take some 15 ms, which the loop can spare.
_THREAD_BYTES: Final = 64 * 1024
#: A line with more labels or a longer value costs more to store than it can tell.
_MAX_LABEL: Final = 512
_MAX_NAME: Final = 200
_MAX_LABELS: Final = 30
#: One process that exposes more would crowd out everybody else's samples.
_MAX_SAMPLES: Final = 5_000

Labels = tuple[tuple[str, str], ...]


class Reading(NamedTuple):
    """One line of an exposition; `labels` sorted by name."""

    name: str
    labels: Labels
    value: float
    kind: SeriesKind


@dataclass(frozen=True, slots=True)
class Exposition:
    """What one scrape brought; `seconds` from the request to the last byte."""

    samples: list[Reading]
    seconds: float


async def scrape(
    client: httpx.AsyncClient, url: str, *, timeout: float = 2.0, max_bytes: int = MAX_BYTES
) -> Exposition:
    """Read `url` within `timeout` seconds and `max_bytes` bytes.

    Raises SourceError; its `reason` is refused, timeout, status, garbage, huge, reset, unreachable or address.
    """
    try:
        fetched = await fetch(client, url, deadline_s=timeout, max_bytes=max_bytes)
    except SourceError as error:
        if error.kind == "refused" and not _was_refused(error):
            raise SourceError(str(error), kind="unreachable") from error
        raise
    try:
        text = fetched.content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{url} is no UTF-8 text at byte {error.start}: no Prometheus exposition") from error
    if len(text) > _THREAD_BYTES:
        return Exposition(await asyncio.to_thread(read, text, url), fetched.seconds)
    return Exposition(read(text, url), fetched.seconds)


async def scrape_all(
    client: httpx.AsyncClient,
    targets: Mapping[str, str],
    *,
    timeout: float = 2.0,
    deadline: float | None = None,
    max_bytes: int = MAX_BYTES,
) -> dict[str, Exposition | SourceError]:
    """Scrape all `targets` (name -> address) at once; every name gets its exposition or its error.

    What has not ended after `deadline` seconds (default: timeout + 0.5) is given up as a time-out.
    """
    limit = timeout + 0.5 if deadline is None else deadline
    tasks = {
        name: asyncio.create_task(_outcome(client, url, min(timeout, limit), max_bytes))
        for name, url in targets.items()
    }
    if not tasks:
        return {}
    try:
        await asyncio.wait(tasks.values(), timeout=limit)
    finally:
        late = [task for task in tasks.values() if task.cancel()]
        await asyncio.gather(*late, return_exceptions=True)
    return {
        name: SourceError(f"{targets[name]} did not answer in time", kind="timeout")
        if task.cancelled()
        else task.result()
        for name, task in tasks.items()
    }


async def _outcome(client: httpx.AsyncClient, url: str, timeout: float, max_bytes: int) -> Exposition | SourceError:
    try:
        return await scrape(client, url, timeout=timeout, max_bytes=max_bytes)
    except SourceError as error:
        return error


def read(text: str, origin: str = "the text") -> list[Reading]:
    """Parse a whole exposition; of a line that stands twice the later counts.

    Raises SourceError (garbage): not the format, cut off, or without a single sample.
    """
    if not text.endswith("\n"):
        raise SourceError(f"{origin} does not end with a line end: the exposition is empty or cut off")
    try:
        found = {(reading.name, reading.labels): reading for reading in _readings(text)}
    except Exception as error:  # the library leaves by whatever error garbage leads it to
        raise SourceError(f"{origin} is no Prometheus exposition ({type(error).__name__})") from error
    if not found:
        raise SourceError(f"{origin} holds no sample")
    if len(found) > _MAX_SAMPLES:
        raise SourceError(f"{origin} holds {len(found)} samples, more than {_MAX_SAMPLES}", kind="too-large")
    return list(found.values())


def _readings(text: str) -> Iterator[Reading]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            if any(len(value) > _MAX_LABEL for _, value in labels):
                raise ValueError(f"a label of more than {_MAX_LABEL} characters")
            if len(labels) > _MAX_LABELS or any(len(name) > _MAX_NAME for name in (sample.name, *sample.labels)):
                raise ValueError(f"more than {_MAX_LABELS} labels, or a name of more than {_MAX_NAME} characters")
            yield Reading(sample.name, labels, float(sample.value), _kind(family.type, sample.name))


def _kind(family_type: str, name: str) -> SeriesKind:
    if family_type == "counter" and not name.endswith("_created"):
        return SeriesKind.COUNTER
    if family_type in {"histogram", "summary"} and name.endswith(("_bucket", "_count", "_sum")):
        return SeriesKind.COUNTER
    return SeriesKind.GAUGE


def _was_refused(error: BaseException) -> bool:
    seen: list[BaseException | None] = [error]
    while seen:
        cause = seen.pop()
        if cause is None:
            continue
        if isinstance(cause, ConnectionRefusedError):
            return True
        if isinstance(cause, BaseExceptionGroup):
            seen.extend(cause.exceptions)
        seen.append(cause.__cause__ or cause.__context__)
    return False

"""CMCD beacons (CTA-5004, version 2, event mode): one line per report, sent in batches to the monitoring's door."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

import httpx
from prometheus_client import CollectorRegistry, Counter, Gauge

from soundstage.process import Log

SEND_EVERY_S = 2.0
KEPT_LINES = 5_000
BATCH_LINES = 300
BATCH_BYTES = 60_000


class Token(str):
    """A value that CMCD writes without quotes."""

    __slots__ = ()


Value = int | str | Token


def _text(value: Value) -> str:
    if isinstance(value, int | Token):
        return str(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def line(values: dict[str, Value]) -> str:
    """A CMCD string: keys in alphabetical order, strings in quotes."""
    return ",".join(f"{key}={_text(values[key])}" for key in sorted(values))


class Sender:
    """Keeps the lines until they are taken. The key file may come later: it is read before every batch."""

    def __init__(self, url: str, key_file: Path | None, log: Log, registry: CollectorRegistry) -> None:
        self._url = url
        self._key_file = key_file
        self._log = log
        self._waiting: deque[str] = deque(maxlen=KEPT_LINES)
        self._sent = Counter("player_beacons_sent", "Beacons taken by the gateway", registry=registry)
        self._lost = Counter("player_beacons_lost", "Beacons given up or refused", registry=registry)
        waiting = Gauge("player_beacons_waiting", "Beacons not taken yet", registry=registry)
        waiting.set_function(lambda: len(self._waiting))

    def put(self, text: str) -> None:
        """Queue a line; the oldest is given up when too many wait."""
        if len(self._waiting) == KEPT_LINES:
            self._lost.inc()
        self._waiting.append(text)

    async def run(self, client: httpx.AsyncClient) -> None:
        """Send every SEND_EVERY_S until cancelled."""
        while True:
            await asyncio.sleep(SEND_EVERY_S)
            while self._waiting and await self._send_batch(client):
                pass

    def _key(self) -> str | None:
        if self._key_file is None:
            return ""
        try:
            return self._key_file.read_text().strip() or None
        except OSError:
            return None

    def _batch(self) -> list[str]:
        batch: list[str] = []
        size = 0
        for text in self._waiting:
            size += len(text) + 1
            if len(batch) == BATCH_LINES or size > BATCH_BYTES:
                break
            batch.append(text)
        return batch

    async def _send_batch(self, client: httpx.AsyncClient) -> bool:
        """Send one batch; False when it has to be tried again later."""
        key = self._key()
        if key is None:
            return False
        batch = self._batch()
        headers = {"content-type": "application/cmcd", **({"authorization": f"Bearer {key}"} if key else {})}
        try:
            answer = await client.post(self._url, content="\n".join(batch), headers=headers)
        except httpx.HTTPError as error:
            self._log.warning("beacons_not_sent", reason=repr(error), waiting=len(self._waiting))
            return False
        if answer.is_success or answer.status_code in (400, 413):
            self._settle(batch, answer)
            return True
        self._log.warning("beacons_not_taken", status=answer.status_code, waiting=len(self._waiting))
        return False

    def _settle(self, batch: list[str], answer: httpx.Response) -> None:
        refused = 0 if answer.is_success else len(batch)
        if answer.is_success and answer.content:
            try:
                refused = len(answer.json().get("refused", []))
            except (ValueError, AttributeError):
                refused = 0
        if refused:
            self._log.alarm("beacons_refused", count=refused, answer=answer.text[:400])
        self._lost.inc(refused)
        self._sent.inc(len(batch) - refused)
        for text in batch:
            # A line may have been given up meanwhile, when too many waited.
            if self._waiting and self._waiting[0] is text:
                self._waiting.popleft()

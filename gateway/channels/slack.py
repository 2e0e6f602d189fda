"""Slack by an incoming webhook. The webhook's address is a secret and stands in no message."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from gateway.channels import one_line
from gateway.http import client as new_client
from gateway.http import post
from tonewatch.errors import ChannelError, ChannelRefused
from tonewatch.records import Notice

_HEADER: Final = 150  # Slack's limits, in characters
_SECTION: Final = 3000
_SECTIONS: Final = 10
_TEXT: Final = 3000
_LONGEST_WAIT_S: Final = 3600.0


class Slack:
    """Posts notices to `webhook_url` with `client`, which the caller closes."""

    def __init__(self, client: httpx.AsyncClient, webhook_url: str, *, timeout: float = 10.0) -> None:
        self._client = client
        self._url = webhook_url
        self._timeout = timeout
        logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it writes down every address, this one too

    @classmethod
    @asynccontextmanager
    async def opened(cls, webhook_url: str) -> AsyncIterator[Slack]:
        """With a client of its own, closed at the end."""
        async with new_client(timeout_s=10.0, connections=2) as client:
            yield cls(client, webhook_url)

    async def send(self, notice: Notice) -> None:
        content = json.dumps(compose(notice)).encode()
        try:
            answer = await post(self._client, self._url, content, deadline_s=self._timeout, error=ChannelError)
        except ChannelError as error:
            # `from None`: the cause's text holds the address.
            raise ChannelError(f"Slack cannot be reached: {_without(str(error), self._url)}") from None
        _require_taken(answer.status, answer.text, answer.headers.get("retry-after", ""))


def compose(notice: Notice) -> dict[str, Any]:
    """The payload: blocks for people, `text` for notifications and for readers without blocks."""
    body = _escaped(notice.body.strip())
    sections = [body[start : start + _SECTION] for start in range(0, len(body), _SECTION)][:_SECTIONS]
    title = one_line(notice.subject, _HEADER)
    context = _escaped(one_line(f"{notice.tenant} · incident {notice.incident} · {notice.incident_state}", _SECTION))
    return {
        "text": _escaped(one_line(notice.subject, _TEXT)),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": title or "Tonewatch", "emoji": False}},
            *({"type": "section", "text": {"type": "mrkdwn", "text": part}} for part in sections),
            {"type": "context", "elements": [{"type": "mrkdwn", "text": context}]},
        ],
    }


def _require_taken(status: int, answer: str, retry_after: str) -> None:
    if 200 <= status < 300:
        return
    told = f"Slack answered {status} {one_line(answer, 100)}".rstrip()
    if status == 429:
        raise ChannelError(told, retry_after=_seconds(retry_after))
    if status >= 500 or status == 408:
        raise ChannelError(told)
    raise ChannelRefused(f"{told}: look at slack_webhook_url")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return 30.0
    return min(max(seconds, 1.0), _LONGEST_WAIT_S) if math.isfinite(seconds) else 30.0


def _escaped(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _without(text: str, secret: str) -> str:
    return one_line(text.replace(secret, "the webhook"))

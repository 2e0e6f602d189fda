"""Slack: by an incoming webhook, which can only post, or as a bot, which keeps one message per incident up to date.

A webhook gets no answer by which a message could be found again: its notices are messages of their own, held together
by the same title alone. The webhook's address and the bot's token are secrets and stand in no message.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from gateway.channels import one_line
from gateway.http import Fetched, post
from gateway.http import client as new_client
from gateway.links import Links, without
from tonewatch.errors import ChannelError, ChannelRefused
from tonewatch.records import ActKind, Notice

API: Final = "https://slack.com/api"
_HEADER: Final = 150  # Slack's limits, in characters
_SECTION: Final = 3000
_SECTIONS: Final = 10
_TEXT: Final = 3000
_LONGEST_WAIT_S: Final = 3600.0
#: What is wrong with the message itself: another try would be refused too. All else a person can mend.
_OF_THE_MESSAGE: Final = frozenset({"invalid_blocks", "invalid_blocks_format", "msg_too_long", "no_text"})
#: The message that is to be updated is not there any more, or may not be changed: a new one takes its place.
_GONE: Final = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})


#: In whose name a link in Slack acts.
WHO: Final = "somebody in Slack"
_WORDS: Final = {
    ActKind.ACK: "Acknowledge",
    ActKind.APPROVE: "Approve",
    ActKind.VETO: "Veto",
    ActKind.REAL: "It was real",
    ActKind.FALSE: "False alarm",
    ActKind.NOT_THE_CAUSE: "Not the cause",
}


class Slack:
    """Posts notices to `webhook_url` with `client`, which the caller closes."""

    def __init__(
        self, client: httpx.AsyncClient, webhook_url: str, *, timeout: float = 10.0, links: Links | None = None
    ) -> None:
        self._client = client
        self._url = webhook_url
        self._timeout = timeout
        self._links = links
        _keep_addresses_secret()

    @classmethod
    @asynccontextmanager
    async def opened(cls, webhook_url: str, links: Links | None = None) -> AsyncIterator[Slack]:
        """With a client of its own, closed at the end."""
        async with new_client(timeout_s=10.0, connections=2) as client:
            yield cls(client, webhook_url, links=links)

    async def send(self, notice: Notice) -> None:
        content = json.dumps(compose(notice, self._links)).encode()
        try:
            answer = await post(self._client, self._url, content, deadline_s=self._timeout, error=ChannelError)
        except ChannelError as error:
            # `from None`: the cause's text holds the address.
            raise ChannelError(f"Slack cannot be reached: {_without(str(error), self._url)}") from None
        _require_taken(answer.status, answer.text, answer.headers.get("retry-after", ""))


class SlackBot:
    """Keeps one message per incident in `channel` with the newest state; what changed stands in its thread."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        token: str,
        channel: str,
        *,
        api: str = API,
        timeout: float = 10.0,
        links: Links | None = None,
    ) -> None:
        self._client = client
        self._token = token
        self._channel = channel
        self._api = api
        self._links = links
        self._timeout = timeout
        _keep_addresses_secret()

    @classmethod
    @asynccontextmanager
    async def opened(cls, token: str, channel: str, links: Links | None = None) -> AsyncIterator[SlackBot]:
        """With a client of its own, closed at the end."""
        async with new_client(timeout_s=10.0, connections=2) as client:
            yield cls(client, token, channel, links=links)

    async def send(self, notice: Notice) -> str:
        """The receipt `channel/ts` of the message that shows the incident; a notice with one updates that message."""
        channel, _, shown = notice.receipt.partition("/")
        if shown and await self._update(notice, channel, shown):
            # An update alone calls nobody: the thread does, and for what a person must do the channel as well.
            loud = notice.level != "L1" or notice.incident_state in {"handed-over", "proposed"}
            reply = {"channel": channel, "thread_ts": shown, "text": _headline(notice), "reply_broadcast": loud}
            await self._call("chat.postMessage", reply | _marked(notice))
            return notice.receipt
        answer = await self._call(
            "chat.postMessage", {"channel": self._channel, **compose(notice, self._links), **_marked(notice)}
        )
        return f"{answer.get('channel') or self._channel}/{answer.get('ts', '')}"

    async def _update(self, notice: Notice, channel: str, shown: str) -> bool:
        """Whether the message was there to be updated."""
        answer = await self._call(
            "chat.update", {"channel": channel, "ts": shown, **compose(notice, self._links)}, _GONE
        )
        return bool(answer["ok"])

    async def _call(self, method: str, payload: dict[str, Any], expected: frozenset[str] = frozenset()) -> Any:
        """Slack's answer; with `ok` false only for an error that is `expected`. Raises ChannelError, ChannelRefused."""
        content = json.dumps(payload).encode()
        headers = {"authorization": f"Bearer {self._token}"}
        media_type = "application/json; charset=utf-8"
        answer = await post(
            self._client,
            f"{self._api}/{method}",
            content,
            media_type=media_type,
            headers=headers,
            deadline_s=self._timeout,
            error=ChannelError,
        )
        told = _told(answer, method)
        problem = str(told.get("error", "")) if not told.get("ok") else ""
        if problem in _OF_THE_MESSAGE:
            raise ChannelRefused(f"Slack refused the message: {one_line(problem)}")
        if problem and problem not in expected:
            raise ChannelError(f"Slack's {method} said {one_line(problem)}: look at slack_bot_token and slack_channel")
        return told


def _told(answer: Fetched, method: str) -> dict[str, Any]:
    """The JSON object of an answer. Raises ChannelError: too many requests, Slack is broken, or it is none."""
    if answer.status == 429:
        wait = _seconds(answer.headers.get("retry-after", ""))
        raise ChannelError(f"Slack's {method} wants us to wait", retry_after=wait)
    try:
        told = answer.document()
    except ValueError:
        told = None
    if not 200 <= answer.status < 300 or not isinstance(told, dict):
        raise ChannelError(f"Slack's {method} answered {answer.status} {one_line(answer.text, 100)}".rstrip())
    return told if told.get("ok") else {"ok": False, "error": told.get("error") or "no"}


def _marked(notice: Notice) -> dict[str, Any]:
    """Slack knows no dedup key; a repeat can be told by this one."""
    payload = {"dedup_key": notice.dedup_key, "incident": notice.incident, "state": notice.incident_state}
    return {"metadata": {"event_type": "tonewatch_notice", "event_payload": payload}}


def _headline(notice: Notice) -> str:
    lines = notice.body.strip().splitlines()
    return _escaped(one_line(lines[0] if lines else notice.subject, _TEXT))


def compose(notice: Notice, links: Links | None = None) -> dict[str, Any]:
    """The payload: blocks for people, `text` for notifications and for readers without blocks.

    `links` stand in a block of their own; they act in the name of all who read here.
    """
    body = _escaped(without(notice).body.strip())
    sections = [body[start : start + _SECTION] for start in range(0, len(body), _SECTION)][:_SECTIONS]
    title = one_line(notice.subject, _HEADER)
    context = _escaped(one_line(f"{notice.tenant} · incident {notice.incident} · {notice.incident_state}", _SECTION))
    return {
        "text": _escaped(one_line(notice.subject, _TEXT)),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": title or "Tonewatch", "emoji": False}},
            *({"type": "section", "text": {"type": "mrkdwn", "text": part}} for part in sections),
            *_buttons(notice, links),
            {"type": "context", "elements": [{"type": "mrkdwn", "text": context}]},
        ],
    }


def _buttons(notice: Notice, links: Links | None) -> list[dict[str, Any]]:
    found = links.of(notice, WHO) if links is not None else []
    told = "Once, within 24 hours: " + " · ".join(f"<{url}|{_WORDS[act]}>" for act, url in found)
    return [{"type": "section", "text": {"type": "mrkdwn", "text": told}}] if found else []


def _require_taken(status: int, answer: str, retry_after: str) -> None:
    if 200 <= status < 300:
        return
    told = f"Slack answered {status} {one_line(answer, 100)}".rstrip()
    if status == 429:
        raise ChannelError(told, retry_after=_seconds(retry_after))
    if status >= 500 or status == 408:
        raise ChannelError(told)
    raise ChannelRefused(f"{told}: look at slack_webhook_url")


def _keep_addresses_secret() -> None:
    logging.getLogger("httpx").setLevel(logging.WARNING)  # at INFO it writes down every address, the webhook's too


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

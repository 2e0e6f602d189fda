from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from console.demo.mailbox import Mailbox
from gateway.channels.email import Email, Server
from gateway.channels.slack import Slack, SlackBot, compose
from gateway.http import client
from tests.ports import free_port
from tonewatch.errors import ChannelError, ChannelRefused, PortTaken, SettingsError, StateFolderError
from tonewatch.records import Notice

NOTICE = Notice(
    tenant="demo",
    incident="i1",
    incident_state="opened",
    level="L1",
    channel="email",
    subject="[Tonewatch] major: transcoder-ch1 has ended",
    body="Opened: transcoder-ch1 has ended\n\nListeners\n  ü 3.0\n",
    html="<p>Opened</p>",
    created=datetime(2026, 1, 1, tzinfo=UTC),
)


def email(port: int, *receivers: str) -> Email:
    return Email(Server("smtp", "127.0.0.1", port), "watch@tone.example", receivers or ("op@example.org",), timeout=2)


class Surly:
    """An SMTP handler that answers DATA and RCPT as told."""

    def __init__(self, data: str = "250 ok", rcpt: Callable[[str], str] = lambda _: "250 ok") -> None:
        self.data = data
        self.rcpt = rcpt

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802 - aiosmtpd's name
        answer = self.rcpt(address)
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        return self.data


@contextmanager
def surly(handler: Surly) -> Iterator[int]:
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@contextmanager
def webhook(status: int, headers: dict[str, str] | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/services/SECRET", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def only(messages: list[EmailMessage]) -> EmailMessage:
    (message,) = messages
    return message


async def test_a_notice_arrives_as_text_and_html(tmp_path: Path) -> None:
    with Mailbox(tmp_path) as mailbox:
        await email(mailbox.port, "op@example.org", "two@example.org").send(NOTICE)
        message = only(mailbox.messages())
    assert message["subject"] == NOTICE.subject
    assert message["to"] == "op@example.org, two@example.org"
    assert message["from"] == "Tonewatch <watch@tone.example>"
    assert message["auto-submitted"] == "auto-generated"
    text, rich = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert rich is not None
    assert "ü 3.0" in text.get_content()
    assert "<p>Opened</p>" in rich.get_content()


async def test_a_repeat_carries_the_same_message_id_and_the_mailbox_keeps_both(tmp_path: Path) -> None:
    with Mailbox(tmp_path) as mailbox:
        await email(mailbox.port).send(NOTICE)
        await email(mailbox.port).send(replace(NOTICE, attempts=3))
        first, second = mailbox.messages()
    assert first["message-id"] == second["message-id"] == f"<{NOTICE.dedup_key}@tone.example>"


async def test_notices_of_one_incident_are_one_thread_and_of_another_are_not() -> None:
    channel = email(1)
    opened, mended = channel.compose(NOTICE), channel.compose(replace(NOTICE, incident_state="mended"))
    other = channel.compose(replace(NOTICE, incident="i2"))
    assert opened["message-id"] != mended["message-id"]
    assert opened["references"] == mended["references"] == mended["in-reply-to"]
    assert other["references"] != opened["references"]


@pytest.mark.parametrize(
    "injected", ["x\r\nBcc: evil@example.org", "x\nBcc: evil@example.org", "x\x00\x0b\u2028Bcc: a@b"]
)
def test_a_subject_with_line_ends_injects_no_header(injected: str) -> None:
    message = email(1).compose(replace(NOTICE, subject=injected, incident=injected))
    assert "\n" not in message["subject"]
    assert message["bcc"] is None
    assert b"\nBcc" not in bytes(message)


@pytest.mark.parametrize("body", ["lone \udcff surrogate", "nul \x00", "x" * 5000, "", ".\r\n.\r\n", "\r"])
async def test_any_body_can_be_sent(tmp_path: Path, body: str) -> None:
    with Mailbox(tmp_path) as mailbox:
        await email(mailbox.port).send(replace(NOTICE, body=body))
        assert len(mailbox.messages()) == 1


async def test_a_mail_server_that_is_away_is_worth_another_try() -> None:
    with pytest.raises(ChannelError, match="away") as raised:
        await email(free_port()).send(NOTICE)
    assert not isinstance(raised.value, ChannelRefused)


async def test_a_mail_server_that_is_silent_is_worth_another_try() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        silent = Email(Server("smtp", *listener.getsockname()), "a@b.example", ["op@example.org"], timeout=0.2)
        with pytest.raises(ChannelError, match="away"):
            await silent.send(NOTICE)


async def test_a_message_put_off_with_4xx_is_worth_another_try() -> None:
    with surly(Surly(data="451 try later")) as port, pytest.raises(ChannelError, match="451 try later") as raised:
        await email(port).send(NOTICE)
    assert not isinstance(raised.value, ChannelRefused)


async def test_a_message_refused_with_5xx_is_refused() -> None:
    with surly(Surly(data="554 no")) as port, pytest.raises(ChannelRefused, match="554 no"):
        await email(port).send(NOTICE)


async def test_a_message_with_every_receiver_refused_is_refused() -> None:
    with surly(Surly(rcpt=lambda _: "550 unknown")) as port, pytest.raises(ChannelRefused, match="550 unknown"):
        await email(port).send(NOTICE)


async def test_a_message_with_one_receiver_refused_is_sent_to_the_others() -> None:
    with surly(Surly(rcpt=lambda address: "550 no" if "gone" in address else "250 ok")) as port:
        await email(port, "op@example.org", "gone@example.org").send(NOTICE)


async def test_a_message_with_one_receiver_put_off_is_worth_another_try() -> None:
    handler = Surly(rcpt=lambda address: "450 later" if "grey" in address else "250 ok")
    with surly(handler) as port, pytest.raises(ChannelError, match="450 later"):
        await email(port, "op@example.org", "grey@example.org").send(NOTICE)


async def test_a_refused_login_is_worth_another_try() -> None:
    server = Server.from_url(f"smtp://user:wr%40ng@127.0.0.1:{(port := free_port())}")
    assert server.password == "wr@ng"
    controller = Controller(Surly(), hostname="127.0.0.1", port=port, auth_require_tls=False)
    controller.start()
    try:
        with pytest.raises(ChannelError, match="did not let us in") as raised:
            await Email(server, "a@b.example", ["op@example.org"], timeout=2).send(NOTICE)
    finally:
        controller.stop()
    assert not isinstance(raised.value, ChannelRefused)
    assert "wr@ng" not in f"{raised.value} {server!r}"


@pytest.mark.parametrize(
    "url", ["localhost:25", "http://x", "smtp://", "smtp://h:99999", "smtp://u:SECRET@h/inbox", "smtp://[::1"]
)
def test_an_address_that_is_no_mail_server_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingsError, match="smtp_url must be") as raised:
        Server.from_url(url)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "scheme", "port"),
    [("smtp://h", "smtp", 25), ("smtps://h", "smtps", 465), ("smtp+starttls://u:p@h:2525", "smtp+starttls", 2525)],
)
def test_an_address_of_a_mail_server_is_read(url: str, scheme: str, port: int) -> None:
    server = Server.from_url(url)
    assert (server.scheme, server.host, server.port) == (scheme, "h", port)


@pytest.mark.parametrize("receivers", [[], ["nobody"], ["a@b\r\nBcc: c@d"], ["@"]])
def test_receivers_that_are_no_addresses_are_refused(receivers: list[str]) -> None:
    with pytest.raises(SettingsError, match="mail_to"):
        Email(Server("smtp", "h", 25), "a@b.example", receivers)


async def test_starttls_against_a_server_without_it_sends_nothing_in_clear(tmp_path: Path) -> None:
    with Mailbox(tmp_path) as mailbox:
        channel = Email(
            Server("smtp+starttls", "127.0.0.1", mailbox.port), "a@b.example", ["op@example.org"], timeout=2
        )
        with pytest.raises(ChannelError):
            await channel.send(NOTICE)
        assert mailbox.messages() == []


def test_a_mailbox_on_a_taken_port_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortTaken, match="taken"):
            Mailbox(tmp_path, taken.getsockname()[1]).start()


def test_a_mailbox_where_no_folder_can_be_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateFolderError, match="cannot be made"):
        Mailbox(tmp_path / "file" / "mails").start()


async def test_slack_takes_blocks_and_a_text() -> None:
    with webhook(200) as (url, taken):
        async with Slack.opened(url) as slack:
            await slack.send(replace(NOTICE, channel="slack", body="a <b> & c " * 500))
    (payload,) = taken
    assert payload["text"] == NOTICE.subject
    assert payload["blocks"][0]["type"] == "header"
    sections = [block["text"]["text"] for block in payload["blocks"] if block["type"] == "section"]
    assert all(len(section) <= 3000 for section in sections)
    assert "&lt;b&gt; &amp; c" in "".join(sections)


def test_a_slack_payload_keeps_slacks_limits_whatever_the_notice() -> None:
    payload = compose(replace(NOTICE, subject="s\n" * 900, body="b&" * 90_000))
    assert len(payload["blocks"]) <= 50
    assert len(payload["blocks"][0]["text"]["text"]) <= 150
    assert "\n" not in payload["text"]
    assert json.dumps(payload)


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("soon", 30.0), ("nan", 30.0), ("999999", 3600.0), ("-5", 1.0)]
)
async def test_slack_that_says_when_to_come_again_is_believed(header: str, seconds: float) -> None:
    with webhook(429, {"retry-after": header}) as (url, _):
        async with Slack.opened(url) as slack:
            with pytest.raises(ChannelError) as raised:
                await slack.send(NOTICE)
    assert raised.value.retry_after == seconds
    assert not isinstance(raised.value, ChannelRefused)


@pytest.mark.parametrize(
    ("status", "error"), [(500, ChannelError), (503, ChannelError), (404, ChannelRefused), (302, ChannelRefused)]
)
async def test_slacks_other_answers_are_told_apart(status: int, error: type[ChannelError]) -> None:
    with webhook(status) as (url, _):
        async with Slack.opened(url) as slack:
            with pytest.raises(ChannelError) as raised:
                await slack.send(NOTICE)
    assert type(raised.value) is error


async def test_slack_that_is_away_is_worth_another_try_and_its_address_is_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with Slack.opened(f"http://127.0.0.1:{free_port()}/services/SECRET") as slack:
        with pytest.raises(ChannelError) as raised:
            await slack.send(NOTICE)
    assert "SECRET" not in f"{raised.value} {raised.value.__cause__} {caplog.text}"


@contextmanager
def slack_api(*answers: dict[str, Any] | int) -> Iterator[tuple[str, list[tuple[str, str, dict[str, Any]]]]]:
    """Slack's Web API: gives these answers in turn (a number: that status), then ok with a ts that counts up."""
    asked: list[tuple[str, str, dict[str, Any]]] = []
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append((self.path.rpartition("/")[2], self.headers["authorization"], payload))
            answer = left.pop(0) if left else {"ok": True, "channel": "C1", "ts": f"17.{len(asked)}"}
            self.send_response(answer if isinstance(answer, int) else 200)
            self.send_header("retry-after", "7")
            content = json.dumps(answer).encode()
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def bot_sends(api: str, notice: Notice) -> str:
    async with client() as http:
        return await SlackBot(http, "xoxb-SECRET", "C1", api=api).send(notice)


async def test_a_bots_first_notice_is_posted_with_its_dedup_key() -> None:
    with slack_api() as (api, asked):
        assert await bot_sends(api, NOTICE) == "C1/17.1"
    ((method, authorization, payload),) = asked
    assert (method, authorization, payload["channel"]) == ("chat.postMessage", "Bearer xoxb-SECRET", "C1")
    assert payload["metadata"]["event_payload"]["dedup_key"] == NOTICE.dedup_key
    assert payload["blocks"][0]["type"] == "header"


@pytest.mark.parametrize(
    ("state", "level", "loud"), [("mended", "L1", False), ("handed-over", "L1", True), ("opened", "L2", True)]
)
async def test_a_bots_later_notice_updates_the_message_and_its_thread(state: str, level: str, loud: bool) -> None:
    later = replace(NOTICE, incident_state=state, level=level, receipt="C1/17.1", body="Mended: <it>\n\nmore")
    with slack_api() as (api, asked):
        assert await bot_sends(api, later) == "C1/17.1"
    (update, reply) = asked
    assert (update[0], update[2]["channel"], update[2]["ts"]) == ("chat.update", "C1", "17.1")
    assert (reply[0], reply[2]["thread_ts"], reply[2]["text"]) == ("chat.postMessage", "17.1", "Mended: &lt;it&gt;")
    assert reply[2]["reply_broadcast"] is loud


async def test_a_message_that_is_gone_is_posted_anew() -> None:
    with slack_api({"ok": False, "error": "message_not_found"}) as (api, asked):
        assert await bot_sends(api, replace(NOTICE, receipt="C1/1.0")) == "C1/17.2"
    assert [method for method, _, _ in asked] == ["chat.update", "chat.postMessage"]


@pytest.mark.parametrize(
    ("answer", "error", "wait"),
    [
        ({"ok": False, "error": "invalid_auth"}, ChannelError, None),
        ({"ok": False, "error": "channel_not_found"}, ChannelError, None),
        ({"ok": False, "error": "invalid_blocks"}, ChannelRefused, None),
        ({"ok": False}, ChannelError, None),
        (429, ChannelError, 7.0),
        (503, ChannelError, None),
    ],
)
async def test_what_the_bot_is_answered_is_told_apart(
    answer: dict[str, Any] | int, error: type[ChannelError], wait: float | None
) -> None:
    with slack_api(answer) as (api, _), pytest.raises(ChannelError) as raised:
        await bot_sends(api, NOTICE)
    assert type(raised.value) is error
    assert raised.value.retry_after == wait
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    ("level", "receivers"),
    [
        ("L1", ["op@example.org"]),
        ("L2", ["op@example.org", "two@example.org"]),
        ("L3", ["op@example.org", "two@example.org", "three@example.org"]),
    ],
)
async def test_a_higher_level_calls_further_people(tmp_path: Path, level: str, receivers: list[str]) -> None:
    further = {"L3": ["three@example.org", "op@example.org"], "L2": ["two@example.org"]}
    with Mailbox(tmp_path) as mailbox:
        server = Server("smtp", "127.0.0.1", mailbox.port)
        channel = Email(server, "watch@tone.example", ["op@example.org"], timeout=2, further=further)
        await channel.send(replace(NOTICE, level=level))
        message = only(mailbox.messages())
    assert message["to"] == ", ".join(receivers)

"""Notices from the incident's transaction to a real mail server and a real webhook."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from console.demo.mailbox import Mailbox
from gateway.channels.email import Email, Server
from gateway.channels.slack import SlackBot
from gateway.http import client as new_client
from tasks import notify
from tests.ports import free_port
from tonewatch.clock import ManualClock
from tonewatch.records import (
    Action,
    ActionState,
    ActKind,
    Cause,
    CauseKind,
    Change,
    Entity,
    GuardAnswer,
    Incident,
    IncidentState,
    Notice,
    NoticeState,
    Outcome,
    SessionReport,
    Verdict,
)
from tonewatch.settings import Settings
from warehouse import actions, changes, entities, incidents, notices, sessions, tenants
from warehouse.acts import Wish, do
from warehouse.database import Warehouse

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
PART = "component:transcoder-ch1"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def incident(tenant: str, id_: str = "i1", **more: Any) -> Incident:
    return Incident(id_, tenant, IncidentState.OPEN, START, at(4), "transcoder-ch1 has ended <b>", (PART,), **more)


def settings(tenant: str, smtp: int = 1, channels: tuple[str, ...] = ("email",), slack: str | None = None) -> Settings:
    return Settings(
        tenant=tenant,
        alert_channels=channels,
        smtp_url=f"smtp://127.0.0.1:{smtp}",
        mail_from="watch@tone.example",
        mail_to=("op@example.org",),
        slack_webhook_url=slack,
    )


CAUSE = Cause("i1", 1, PART, CauseKind.CRASH, 0.93, ("its port refuses connections",), (PART, "component:packager"))
DEED = Action(
    "i1",
    "restart",
    PART,
    1,
    ActionState.FINISHED,
    "act",
    guards=(GuardAnswer("grant", True, "owner"),),
    finished=at(9),
    undo="stop it",
)
VERDICT = Verdict(DEED.key, "i1", Outcome.WORKED, False, at(20), reason="three good readings")


async def tell(
    warehouse: Warehouse, tenant: str, state: str, seconds: float = 5, *, chosen: Settings | None = None, **more: Any
) -> int:
    told = more.pop("incident", incident(tenant))
    evidence = more.pop("evidence", ([CAUSE], [DEED], [VERDICT]))
    async with warehouse.as_tenant(tenant) as db:
        await incidents.save(tenant, db, told)
        return await notify.enqueue(tenant, db, told, *evidence, state, chosen or settings(tenant), at(seconds))


async def outbox(warehouse: Warehouse, tenant: str, id_: str = "i1") -> list[Notice]:
    async with warehouse.as_tenant(tenant) as db:
        return await notices.of_incident(tenant, db, id_)


async def send(warehouse: Warehouse, chosen: Settings, clock: ManualClock, holder: str = "w") -> int:
    return await notify.send_due(warehouse, chosen, clock, holder)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(at(10))


@contextmanager
def webhook(*answers: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook that gives these statuses in turn (the last for ever), with Retry-After: 40 beside a 429."""
    taken: list[dict[str, Any]] = []
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status = left.pop(0) if len(left) > 1 else left[0]
            taken.extend([payload] if status == 200 else [])
            self.send_response(status)
            self.send_header("retry-after", "40")
            self.send_header("content-length", "0")
            self.end_headers()

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


async def test_a_notice_says_all_that_its_reader_needs(warehouse: Warehouse, tenant: str) -> None:
    lost = incident(tenant, listener_minutes_lost=7.25, loss_basis="measured", impact_ended=at(15), severity="major")
    assert await tell(warehouse, tenant, "opened") == 1
    assert await tell(warehouse, tenant, "mended", 30, incident=lost) == 1
    text = (await outbox(warehouse, tenant))[-1].body
    for part in (
        "transcoder-ch1 has ended",
        "2026-01-01 12:00:00 UTC",
        "after 15 s",
        "7.2 listener-minutes lost so far (measured by players)",
        "component:transcoder-ch1:crash, 93% sure",
        "its port refuses connections",
        "restart of component:transcoder-ch1: carried out",
        "The remedy worked (uncontrolled",
        "three good readings",
        "What you can do",
    ):
        assert part in text
    rich = (await outbox(warehouse, tenant))[-1].html
    assert "&lt;b&gt;" in rich
    assert "<b>" not in rich


async def test_a_notice_that_hands_over_says_why_nothing_was_done(warehouse: Warehouse, tenant: str) -> None:
    refused = replace(DEED, state=ActionState.REFUSED, guards=(GuardAnswer("grant", False, "nobody granted it"),))
    await tell(warehouse, tenant, "handed-over", evidence=([], [refused], []))
    (notice,) = await outbox(warehouse, tenant)
    for part in ("Not known yet", "not carried out", "grant said no: nobody granted it", "Consider: restart of"):
        assert part in notice.body


@pytest.mark.parametrize("state", list(IncidentState))
async def test_every_state_of_an_incident_can_be_told(warehouse: Warehouse, tenant: str, state: IncidentState) -> None:
    await tell(warehouse, tenant, "opened")
    await tell(warehouse, tenant, state)
    expected = {"opened", notify.TELLS_OF[state]} - {None}
    assert {notice.incident_state for notice in await outbox(warehouse, tenant)} == expected


async def test_a_transaction_that_fails_leaves_no_notice(warehouse: Warehouse, tenant: str) -> None:
    async def failing() -> None:
        async with warehouse.as_tenant(tenant) as db:
            await incidents.save(tenant, db, incident(tenant))
            await notify.enqueue(tenant, db, incident(tenant), [], [], [], "opened", settings(tenant), at(5))
            raise RuntimeError("the watcher dies here")

    with pytest.raises(RuntimeError):
        await failing()
    assert await outbox(warehouse, tenant) == []


async def test_a_state_told_twice_is_one_notice(warehouse: Warehouse, tenant: str) -> None:
    assert await tell(warehouse, tenant, "opened") == 1
    assert await tell(warehouse, tenant, "opened", 9) == 0
    assert len(await outbox(warehouse, tenant)) == 1


async def test_no_channel_means_no_notice(warehouse: Warehouse, tenant: str) -> None:
    assert await tell(warehouse, tenant, "opened", chosen=settings(tenant, channels=())) == 0


@pytest.mark.parametrize(("ended", "expected"), [(at(60), 0), (None, 0), (at(2), 1)])
async def test_maintenance_silences_its_parts_while_it_lasts(
    warehouse: Warehouse, tenant: str, ended: datetime | None, expected: int
) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await changes.save(tenant, db, [Change("m", "maintenance", PART, at(-60), ended, "op", "planned")])
    assert await tell(warehouse, tenant, "opened") == expected


async def test_a_release_silences_nothing(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await changes.save(tenant, db, [Change("r", "release", PART, at(-60), None, "op", "new version")])
    assert await tell(warehouse, tenant, "opened") == 1


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, 0),
        ({"severity": "critical"}, 0),
        ({"entities": ("component:packager",)}, 1),
        ({"opened": at(5)}, 1),
        ({"state": IncidentState.MENDED}, 1),
    ],
)
async def test_an_earlier_incident_over_the_same_parts_inhibits(
    warehouse: Warehouse, tenant: str, other: dict[str, Any], expected: int
) -> None:
    wide = replace(incident(tenant, "i0"), **{"entities": (PART, "component:packager"), "opened": at(1)} | other)
    async with warehouse.as_tenant(tenant) as db:
        await incidents.save(tenant, db, wide)
    assert await tell(warehouse, tenant, "opened") == expected


async def test_a_graver_incident_is_not_inhibited(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await incidents.save(tenant, db, replace(incident(tenant, "i0"), opened=at(1)))
    assert await tell(warehouse, tenant, "opened", incident=incident(tenant, severity="critical")) == 1


async def test_the_good_end_of_what_was_never_told_is_not_told(warehouse: Warehouse, tenant: str) -> None:
    assert await tell(warehouse, tenant, "mended") == 0
    assert await tell(warehouse, tenant, "handed-over") == 1


async def test_one_incident_is_one_mail_thread(
    warehouse: Warehouse, tenant: str, clock: ManualClock, tmp_path: Path
) -> None:
    with Mailbox(tmp_path) as mailbox:
        chosen = settings(tenant, mailbox.port)
        for seconds, state in enumerate(("opened", "acted", "mended"), start=5):
            renamed = replace(incident(tenant), title=f"title {seconds}")
            await tell(warehouse, tenant, state, seconds, incident=renamed, chosen=chosen)
        assert await send(warehouse, chosen, clock) == 3
        assert await send(warehouse, chosen, clock) == 0
        mails = mailbox.messages()
    assert [mail["x-tonewatch-state"] for mail in mails] == ["opened", "acted", "mended"]
    assert len({mail["references"] for mail in mails}) == 1
    assert {mail["subject"].removeprefix("Re: ") for mail in mails} == {mails[0]["subject"]}
    assert len({mail["message-id"] for mail in mails}) == 3
    assert {notice.state for notice in await outbox(warehouse, tenant)} == {NoticeState.SENT}


async def test_a_mail_server_that_is_away_gets_the_notice_when_it_is_back(
    warehouse: Warehouse, tenant: str, clock: ManualClock, tmp_path: Path
) -> None:
    port = free_port()
    chosen = settings(tenant, port)
    await tell(warehouse, tenant, "opened", chosen=chosen)
    for attempt in range(1, 8):
        assert await send(warehouse, chosen, clock) == 0
        assert await send(warehouse, chosen, clock) == 0  # not due again yet
        (notice,) = await outbox(warehouse, tenant)
        assert (notice.state, notice.attempts) == (NoticeState.PENDING, attempt)
        assert "away" in notice.last_error
        assert notice.next_attempt is not None
        wait = (notice.next_attempt - clock.now()).total_seconds()
        assert 1.6 <= wait <= 72
        clock.advance(wait)
    with Mailbox(tmp_path, port) as mailbox:
        assert await send(warehouse, chosen, clock) == 1
        assert await send(warehouse, chosen, clock) == 0
        assert len(mailbox.messages()) == 1
    (notice,) = await outbox(warehouse, tenant)
    assert (notice.state, notice.sent, notice.last_error) == (NoticeState.SENT, clock.now(), "")


class Refusing:
    """An SMTP handler that refuses every message with `answer`."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.asked += 1
        return self.answer


@pytest.mark.parametrize(
    ("answer", "state", "asked"), [("554 never", NoticeState.REFUSED, 1), ("451 later", NoticeState.PENDING, 2)]
)
async def test_a_refusal_for_good_ends_the_attempts_and_another_does_not(
    warehouse: Warehouse, tenant: str, clock: ManualClock, answer: str, state: NoticeState, asked: int
) -> None:
    handler = Refusing(answer)
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        chosen = settings(tenant, controller.port)
        await tell(warehouse, tenant, "opened", chosen=chosen)
        for _ in range(2):
            assert await send(warehouse, chosen, clock) == 0
            clock.advance(100)
    finally:
        controller.stop()
    (notice,) = await outbox(warehouse, tenant)
    assert (notice.state, handler.asked) == (state, asked)
    assert answer in notice.last_error


async def test_slack_is_asked_again_when_it_said(warehouse: Warehouse, tenant: str, clock: ManualClock) -> None:
    with webhook(429, 200) as (url, taken):
        chosen = settings(tenant, channels=("slack",), slack=url)
        await tell(warehouse, tenant, "opened", chosen=chosen)
        assert await send(warehouse, chosen, clock) == 0
        clock.advance(39)
        assert await send(warehouse, chosen, clock) == 0
        clock.advance(1)
        assert await send(warehouse, chosen, clock) == 1
    assert len(taken) == 1
    (notice,) = await outbox(warehouse, tenant)
    assert "SECRET" not in notice.last_error


async def test_a_channel_that_is_away_does_not_hold_up_another(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    with webhook(200) as (url, taken):
        chosen = settings(tenant, free_port(), ("email", "slack"), url)
        assert await tell(warehouse, tenant, "opened", chosen=chosen) == 2
        assert await send(warehouse, chosen, clock) == 1
    assert len(taken) == 1
    states = {notice.channel: notice.state for notice in await outbox(warehouse, tenant)}
    assert states == {"email": NoticeState.PENDING, "slack": NoticeState.SENT}


async def test_a_channel_that_is_not_set_up_keeps_its_notice(
    warehouse: Warehouse, tenant: str, clock: ManualClock, tmp_path: Path
) -> None:
    with Mailbox(tmp_path) as mailbox:
        unset = Settings(tenant=tenant, alert_channels=("email",))
        await tell(warehouse, tenant, "opened", chosen=unset)
        assert await send(warehouse, unset, clock) == 0
        (notice,) = await outbox(warehouse, tenant)
        assert "not set up" in notice.last_error
        clock.advance(10)
        assert await send(warehouse, settings(tenant, mailbox.port), clock) == 1


async def test_a_crash_after_sending_repeats_the_same_message(
    warehouse: Warehouse, tenant: str, clock: ManualClock, tmp_path: Path
) -> None:
    class Dying(Email):
        async def send(self, notice: Notice) -> None:
            await super().send(notice)
            raise asyncio.CancelledError  # the process is gone before it could note that the mail is out

    await tell(warehouse, tenant, "opened")
    with Mailbox(tmp_path) as mailbox:
        server = Server("smtp", "127.0.0.1", mailbox.port)
        for channel in (Dying, Email):
            async with warehouse.as_tenant(tenant) as db:
                due = await notices.lease_due(db, clock.now(), "w", 0, 10)
            sender = notify.Sender(warehouse, {"email": channel(server, "w@tone.example", ["op@example.org"])}, clock)
            if channel is Dying:
                with pytest.raises(asyncio.CancelledError):
                    await sender.send(due)
                continue
            assert await sender.send(due) == 1
        first, second = mailbox.messages()
    assert first["message-id"] == second["message-id"]


async def test_two_senders_at_once_send_each_notice_once(
    warehouse: Warehouse, tenant: str, clock: ManualClock, tmp_path: Path
) -> None:
    with Mailbox(tmp_path) as mailbox:
        chosen = settings(tenant, mailbox.port)
        for number in range(8):
            told = incident(tenant, f"i{number}", severity=("minor", "major")[number % 2])
            await tell(warehouse, tenant, "opened", incident=replace(told, entities=(f"edge:e-{number}",)))
        sent = await asyncio.gather(*(send(warehouse, chosen, clock, f"w{n}") for n in range(3)))
        assert sum(sent) == 8
        assert len({mail["message-id"] for mail in mailbox.messages()}) == len(mailbox.messages()) == 8


async def test_another_tenants_notices_go_to_no_receiver_of_this_one(
    warehouse: Warehouse, tenant: str, clock: ManualClock, tmp_path: Path
) -> None:
    other = f"{tenant}-other"
    async with warehouse.as_tenant(other) as db:
        await tenants.add(other, db, name=other, profile="demo", at=START)
    await tell(warehouse, other, "opened")
    with Mailbox(tmp_path) as mailbox:
        assert await send(warehouse, settings(tenant, mailbox.port), clock) == 0
        assert mailbox.messages() == []
        assert await send(warehouse, settings(other, mailbox.port), clock) == 1


async def test_a_notice_that_no_channel_can_digest_holds_up_no_other(
    warehouse: Warehouse, tenant: str, clock: ManualClock, tmp_path: Path
) -> None:
    class Picky(Email):
        async def send(self, notice: Notice) -> None:
            if notice.incident == "i1":
                raise KeyError(notice.incident)
            await super().send(notice)

    await tell(warehouse, tenant, "opened")
    await tell(warehouse, tenant, "opened", incident=replace(incident(tenant, "i2"), entities=("edge:e",)))
    with Mailbox(tmp_path) as mailbox:
        channel = Picky(Server("smtp", "127.0.0.1", mailbox.port), "w@tone.example", ["op@example.org"])
        async with warehouse.as_tenant(tenant) as db:
            due = await notices.lease_due(db, clock.now(), "w", 60, 10)
        assert await notify.Sender(warehouse, {"email": channel}, clock).send(due) == 1
    assert (await outbox(warehouse, tenant))[0].last_error == "email failed with KeyError"


# Escalation.


async def wait_and_send(warehouse: Warehouse, chosen: Settings, clock: ManualClock, minutes: float) -> int:
    clock.advance(minutes * 60)
    return await send(warehouse, chosen, clock)


async def levels(warehouse: Warehouse, tenant: str) -> list[tuple[str, str]]:
    return [(notice.level, notice.incident_state) for notice in await outbox(warehouse, tenant)]


@pytest.mark.parametrize(("severity", "to_l2", "to_l3"), [("critical", 5, 15), ("major", 15, 45)])
async def test_what_nobody_answers_climbs_to_l3_and_no_further(
    warehouse: Warehouse, tenant: str, tmp_path: Path, severity: str, to_l2: float, to_l3: float
) -> None:
    with Mailbox(tmp_path) as mailbox:
        chosen = settings(tenant, mailbox.port).model_copy(update={"mail_to_l3": ("boss@example.org",)})
        handed = replace(incident(tenant, severity=severity), state=IncidentState.HANDED_OVER)
        await tell(warehouse, tenant, "handed-over", incident=handed, chosen=chosen)
        clock = ManualClock(at(5))
        sent = [await send(warehouse, chosen, clock)]
        sent += [await wait_and_send(warehouse, chosen, clock, m) for m in (to_l2 - 0.1, 0.1, 0.1)]
        sent += [await wait_and_send(warehouse, chosen, clock, m) for m in (to_l3 - to_l2 - 0.1, 60, 600)]
        mails = mailbox.messages()
    assert sent == [1, 0, 1, 0, 1, 0, 0]
    assert await levels(warehouse, tenant) == [(level, "handed-over") for level in ("L1", "L2", "L3")]
    assert f"L2, unanswered for {to_l2} min. Over to you" in mails[1].get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert [mail["to"] for mail in mails] == ["op@example.org"] * 2 + ["op@example.org, boss@example.org"]
    assert len({mail["references"] for mail in mails}) == 1


async def test_an_incident_that_was_acked_climbs_no_further(warehouse: Warehouse, tenant: str, tmp_path: Path) -> None:
    with Mailbox(tmp_path) as mailbox:
        chosen, clock = settings(tenant, mailbox.port), ManualClock(at(5))
        await tell(warehouse, tenant, "opened", chosen=chosen)
        assert await send(warehouse, chosen, clock) == 1
        await do(tenant, warehouse, Wish(ActKind.ACK, "i1", "ann"), clock.now())
        assert await wait_and_send(warehouse, chosen, clock, 600) == 0


async def test_an_incident_that_is_mended_or_closed_climbs_no_further(
    warehouse: Warehouse, tenant: str, tmp_path: Path
) -> None:
    with Mailbox(tmp_path) as mailbox:
        chosen, clock = settings(tenant, mailbox.port), ManualClock(at(40))
        for id_, state in (("i1", IncidentState.MENDED), ("i2", IncidentState.CLOSED)):
            one = replace(incident(tenant, id_), entities=(f"edge:{id_}",))
            await tell(warehouse, tenant, "opened", incident=one, chosen=chosen)
            await tell(warehouse, tenant, state, 30, incident=replace(one, state=state), chosen=chosen)
        assert await send(warehouse, chosen, clock) == 3
        assert await wait_and_send(warehouse, chosen, clock, 600) == 0


async def test_a_step_up_that_is_rolled_back_is_done_after_the_crash(warehouse: Warehouse, tenant: str) -> None:
    await tell(warehouse, tenant, "opened")
    chosen, later = settings(tenant), at(5 + 900)

    async def dying() -> None:
        async with warehouse.as_tenant(tenant) as db:
            assert await notify.escalate(tenant, db, chosen, later) == 1
            raise RuntimeError("the watcher dies here")

    with pytest.raises(RuntimeError):
        await dying()
    assert await levels(warehouse, tenant) == [("L1", "opened")]

    async def climb() -> int:
        async with warehouse.as_tenant(tenant) as db:
            return await notify.escalate(tenant, db, chosen, later)

    assert sorted(await asyncio.gather(*(climb() for _ in range(4)))) == [0, 0, 0, 1]
    assert await levels(warehouse, tenant) == [("L1", "opened"), ("L2", "opened")]


async def test_the_good_end_is_told_to_the_highest_level_that_was_called(warehouse: Warehouse, tenant: str) -> None:
    await tell(warehouse, tenant, "opened")
    async with warehouse.as_tenant(tenant) as db:
        await notify.escalate(tenant, db, settings(tenant), at(905))
    await tell(warehouse, tenant, "mended", 910)
    assert await levels(warehouse, tenant) == [("L1", "opened"), ("L2", "opened"), ("L2", "mended")]


async def test_what_is_handed_over_again_after_an_approval_is_told_again_and_climbs_anew(
    warehouse: Warehouse, tenant: str
) -> None:
    handed = replace(incident(tenant), state=IncidentState.HANDED_OVER)
    refused = replace(DEED, state=ActionState.REFUSED, finished=None)
    await tell(warehouse, tenant, "handed-over", incident=handed)
    async with warehouse.as_tenant(tenant) as db:
        await actions.intend(tenant, db, refused)
    await do(tenant, warehouse, Wish(ActKind.APPROVE, "i1", "ann"), at(100))
    await tell(warehouse, tenant, "acted", 110, incident=handed)
    assert await tell(warehouse, tenant, "handed-over", 200, incident=handed) == 1
    told = await outbox(warehouse, tenant)
    assert [(notice.incident_state, notice.round) for notice in told] == [
        ("handed-over", 1),
        ("acted", 1),
        ("handed-over", 2),
    ]
    assert len({notice.id for notice in told}) == 3
    async with warehouse.as_tenant(tenant) as db:
        assert await notify.escalate(tenant, db, settings(tenant), at(200 + 899)) == 0
        assert await notify.escalate(tenant, db, settings(tenant), at(200 + 900)) == 1


async def test_an_incident_that_comes_back_is_told_again_and_an_undo_opens_nothing(
    warehouse: Warehouse, tenant: str
) -> None:
    for seconds, state in enumerate(("opened", "acted", "opened", "mended", "mended", "opened"), start=5):
        await tell(warehouse, tenant, state, seconds)
    assert [s for _, s in await levels(warehouse, tenant)] == ["opened", "acted", "mended", "opened"]


async def test_what_was_silenced_is_told_when_the_window_is_over(warehouse: Warehouse, tenant: str) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await changes.save(tenant, db, [Change("m", "maintenance", PART, at(-60), at(60), "op", "planned")])
    assert await tell(warehouse, tenant, "opened") == 0
    async with warehouse.as_tenant(tenant) as db:
        assert await notify.escalate(tenant, db, settings(tenant), at(59)) == 0
        assert await notify.escalate(tenant, db, settings(tenant), at(61)) == 1
        assert await notify.escalate(tenant, db, settings(tenant), at(62)) == 0
    assert await levels(warehouse, tenant) == [("L1", "opened")]


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (replace(CAUSE, entity="component:packager"), 1),
        (replace(CAUSE, kind=CauseKind.BAD_RELEASE), 1),
        (CAUSE, 0),
        (replace(CAUSE, kind=CauseKind.PLANNED_WORK), 0),
    ],
)
async def test_maintenance_hides_no_fault_that_it_does_not_explain(
    warehouse: Warehouse, tenant: str, cause: Cause, expected: int
) -> None:
    async with warehouse.as_tenant(tenant) as db:
        await changes.save(tenant, db, [Change("m", "maintenance", PART, at(-60), None, "op", "planned")])
    assert await tell(warehouse, tenant, "opened", evidence=([cause], [], [])) == expected


# Listeners hit.


async def test_a_notice_counts_the_sessions_that_lost_sound_where_it_is_felt(warehouse: Warehouse, tenant: str) -> None:
    parts = [
        Entity(PART, "transcode", {"channel": "channel:ch1"}, ("channel:ch1",)),
        Entity("channel:ch1", "channel"),
        Entity("channel:ch2", "channel"),
    ]
    heard = [("a", "ch1", 1, 500), ("a", "ch1", 2, 0), ("b", "ch1", 2, 0), ("c", "ch1", -3, 900), ("d", "ch2", 1, 700)]
    reports = [
        SessionReport(session, f"channel:{channel}", "edge:e", at(seconds), "t", "p", lost, sequence=place)
        for place, (session, channel, seconds, lost) in enumerate(heard)
    ]
    async with warehouse.as_tenant(tenant) as db:
        await entities.save(tenant, db, parts, at(-60))
        await sessions.save(tenant, db, reports, at(3))
    await tell(warehouse, tenant, "opened")
    (notice,) = await outbox(warehouse, tenant)
    assert "1 of 2 sessions have lost sound since the onset: channel:ch1 1 of 2\n" in notice.body


# Updated, not multiplied.


async def test_what_waited_for_a_channel_that_was_away_goes_out_as_one(
    warehouse: Warehouse, tenant: str, clock: ManualClock, tmp_path: Path
) -> None:
    port = free_port()
    chosen = settings(tenant, port)
    for seconds, state in enumerate(("opened", "acted", "mended"), start=5):
        await tell(warehouse, tenant, state, seconds, chosen=chosen)
        assert await send(warehouse, chosen, clock) == 0
    with Mailbox(tmp_path, port) as mailbox:
        clock.advance(100)
        assert await send(warehouse, chosen, clock) == 1
        clock.advance(1000)
        assert await send(warehouse, chosen, clock) == 0
        (mail,) = mailbox.messages()
    told = await outbox(warehouse, tenant)
    assert [notice.state for notice in told] == [NoticeState.SUPERSEDED, NoticeState.SUPERSEDED, NoticeState.SENT]
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "stands also for: opened at 2026-01-01 12:00:05 UTC, acted at 2026-01-01 12:00:06 UTC" in text
    assert mail["x-tonewatch-state"] == "mended"
    assert not mail["subject"].startswith("Re:")
    assert mail["references"] == f"<{told[0].thread_key}@tone.example>"


async def test_a_channel_that_was_never_away_gets_every_notice(
    warehouse: Warehouse, tenant: str, clock: ManualClock, tmp_path: Path
) -> None:
    with Mailbox(tmp_path) as mailbox:
        chosen = settings(tenant, mailbox.port)
        for seconds, state in enumerate(("opened", "acted", "mended"), start=5):
            await tell(warehouse, tenant, state, seconds, chosen=chosen)
        assert await send(warehouse, chosen, clock) == 3


async def test_incidents_that_wait_together_are_not_put_together(
    warehouse: Warehouse, tenant: str, clock: ManualClock, tmp_path: Path
) -> None:
    port = free_port()
    chosen = settings(tenant, port)
    for number in range(3):
        one = replace(incident(tenant, f"i{number}"), entities=(f"edge:e-{number}",))
        await tell(warehouse, tenant, "opened", 5 + number, incident=one, chosen=chosen)
    assert await send(warehouse, chosen, clock) == 0
    with Mailbox(tmp_path, port):
        clock.advance(100)
        assert await send(warehouse, chosen, clock) == 3


@contextmanager
def slack_api() -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """Slack's Web API as a bot sees it: every call is ok, and every message gets a ts."""
    asked: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append((self.path.rpartition("/")[2], payload))
            content = json.dumps({"ok": True, "channel": "C1", "ts": f"17.{len(asked)}"}).encode()
            self.send_response(200)
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


async def test_a_bot_keeps_one_message_per_incident_also_after_a_restart(
    warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    chosen = settings(tenant, channels=("slack",))
    with slack_api() as (api, asked):
        for round_ in (("opened", "acted"), ("mended",)):
            for seconds, state in enumerate(round_, start=5 + len(asked)):
                await tell(warehouse, tenant, state, seconds, chosen=chosen)
            async with warehouse.as_tenant(tenant) as db:
                due = await notices.lease_due(db, at(60), "w", 60, 10)
            async with new_client() as http:
                sender = notify.Sender(warehouse, {"slack": SlackBot(http, "xoxb", "C1", api=api)}, clock)
                assert await sender.send(due) == len(round_)
    methods = [method for method, _ in asked]
    assert methods == ["chat.postMessage", *["chat.update", "chat.postMessage"] * 2]
    assert {payload["ts"] for method, payload in asked if method == "chat.update"} == {"17.1"}
    assert {payload["thread_ts"] for _, payload in asked if "thread_ts" in payload} == {"17.1"}
    assert {notice.receipt for notice in await outbox(warehouse, tenant)} == {"C1/17.1"}


def test_waiting_grows_to_a_minute_and_is_the_same_for_the_same_attempt() -> None:
    notice = Notice("t", "i", "opened", "L1", "email", "s", "b")
    waits = [notify.wait_s(replace(notice, attempts=attempts)) for attempts in range(2000)]
    assert waits[:100] == [notify.wait_s(replace(notice, attempts=attempts)) for attempts in range(100)]
    assert 1.6 <= waits[0] <= 2.4
    assert all(48 <= wait <= 72 for wait in waits[5:])
    assert notify.wait_s(notice, retry_after=500) == 500

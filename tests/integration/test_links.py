"""Links in notices: a look changes nothing, a click acts once, and nobody can make one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from console.demo.mailbox import Mailbox
from gateway.api.app import create_app
from gateway.channels.slack import compose
from gateway.links import HEADING, LASTS, Link, Links, Signer, place
from tasks import notify
from tests.conftest import new_tenant
from tests.integration.test_acts import PROPOSED, START, kept, open_incident
from tonewatch import secrets
from tonewatch.clock import ManualClock
from tonewatch.records import Action, ActionState, ActKind, IncidentState, Label, Notice
from tonewatch.settings import Settings
from warehouse import approvals, audit, notices, used_links
from warehouse.cache import Cache
from warehouse.database import Warehouse

KEY = b"k" * 32
SIGNER = Signer(KEY)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START + timedelta(minutes=1))


@pytest.fixture
async def door(warehouse: Warehouse, clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(warehouse, Cache(None), KEY, clock=clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        yield client


def link(tenant: str, act: ActKind, who: str = "op@example.org", action: str = PROPOSED.key) -> Link:
    return Link(tenant, "i1", action if act in {ActKind.APPROVE, ActKind.VETO} else "", act, who, START + LASTS)


def path(of: Link) -> str:
    return f"/v1/links/{SIGNER.token(of)}"


async def said(warehouse: Warehouse, tenant: str) -> list[tuple[str, str]]:
    labels: list[Label] = await kept(warehouse, tenant)
    return [(label.value, label.who) for label in labels]


@pytest.mark.parametrize("act", [ActKind.ACK, ActKind.APPROVE, ActKind.VETO, ActKind.FALSE])
async def test_a_look_changes_nothing_and_a_click_acts_once(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str, act: ActKind
) -> None:
    await open_incident(warehouse, tenant)
    address = path(link(tenant, act))
    for _ in range(3):
        seen = await door.get(address)
        assert seen.status_code == 200
        assert seen.text.count("<button>") == 1
        assert "transcoder-ch1 has ended" in seen.text
    assert (seen.headers["cache-control"], seen.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert await said(warehouse, tenant) == []
    assert (await door.post(address)).status_code == 200
    judged = [("verdict:false-alarm", "op@example.org")] if act is ActKind.FALSE else []
    assert sorted(await said(warehouse, tenant)) == [(act.value, "op@example.org"), *judged]
    again, looked = await door.post(address), await door.get(address)
    assert again.status_code == looked.status_code == 409
    assert "used already" in again.text
    assert "<button>" not in looked.text
    assert sorted(await said(warehouse, tenant)) == [(act.value, "op@example.org"), *judged]


async def test_of_many_clicks_on_one_link_at_once_one_counts(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    await open_incident(warehouse, tenant)
    answers = await asyncio.gather(*(door.post(path(link(tenant, ActKind.APPROVE))) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    async with warehouse.as_tenant(tenant) as db:
        (yes,) = await approvals.of_action(tenant, db, PROPOSED.key)
        (line,) = await audit.read(tenant, db, 10)
    assert (yes.approver, line.who, line.reason) == ("op@example.org", "op@example.org", "by a link in a notice")


async def test_an_expired_link_says_so(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str, clock: ManualClock
) -> None:
    await open_incident(warehouse, tenant)
    clock.advance(LASTS.total_seconds())
    for answer in (await door.get(path(link(tenant, ActKind.ACK))), await door.post(path(link(tenant, ActKind.ACK)))):
        assert answer.status_code == 409
        assert "good until 2026-01-02 12:00 UTC" in answer.text
    assert await said(warehouse, tenant) == []


async def test_a_link_that_was_changed_or_made_by_another_is_none(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    await open_incident(warehouse, tenant)
    token = SIGNER.token(link(tenant, ActKind.ACK))
    half = len(token) // 2
    changed = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in (0, 9, half, len(token) - 2)]
    others = Signer(b"x" * 32).token(link(tenant, ActKind.ACK))
    for odd in (*changed, others, token[:-1], token.partition(".")[0], "", ".", "%00.%FF", "é.é", "A" * 4000):
        for answer in (await door.get(f"/v1/links/{odd}"), await door.post(f"/v1/links/{odd}")):
            assert answer.status_code == 404, odd
    assert await said(warehouse, tenant) == []


async def test_a_link_of_an_action_that_was_overtaken_does_nothing(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    await open_incident(warehouse, tenant, proposed=[PROPOSED, replace(PROPOSED, attempt=2)])
    address = path(link(tenant, ActKind.APPROVE))
    answer = await door.post(address)
    assert (answer.status_code, "does not wait for an answer" in answer.text) == (409, True)
    assert await said(warehouse, tenant) == []
    async with warehouse.as_tenant(tenant) as db:
        assert not await used_links.was_used(tenant, db, link(tenant, ActKind.APPROVE).id)


async def test_a_link_of_an_incident_that_is_over_does_nothing(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    await open_incident(warehouse, tenant, IncidentState.CLOSED)
    assert (await door.get(path(link(tenant, ActKind.ACK)))).status_code == 409
    assert (await door.post(path(link(tenant, ActKind.VETO)))).status_code == 409
    assert await said(warehouse, tenant) == []


async def test_what_a_person_asked_for_is_not_approved_by_a_link(
    door: httpx.AsyncClient, warehouse: Warehouse, tenant: str
) -> None:
    asked = replace(PROPOSED, parameters={"requested_by": "op"})
    await open_incident(warehouse, tenant, proposed=[asked])
    answer = await door.post(path(link(tenant, ActKind.APPROVE)))
    assert (answer.status_code, "op asked for it" in answer.text) == (409, True)
    assert await said(warehouse, tenant) == []


async def test_a_link_works_for_its_tenant_alone(door: httpx.AsyncClient, warehouse: Warehouse, tenant: str) -> None:
    await open_incident(warehouse, tenant)
    other = await new_tenant(warehouse)
    assert (await door.post(path(link(other, ActKind.ACK)))).status_code == 404
    assert await said(warehouse, tenant) == []


# In notices.


@pytest.fixture
def chosen(tenant: str, tmp_path: Path) -> Settings:
    secrets.load_or_generate(tmp_path)
    return Settings(
        tenant=tenant,
        state_dir=tmp_path,
        mail_from="watch@tone.example",
        mail_to=("op@example.org", "second@example.org"),
        gateway_url="https://tone.example/",
    )


async def mailed(
    warehouse: Warehouse, tenant: str, chosen: Settings, clock: ManualClock, waiting: Action = PROPOSED
) -> list[EmailMessage]:
    """The mails that hand the incident over."""
    told = await open_incident(warehouse, tenant, proposed=[waiting])
    async with warehouse.as_tenant(tenant) as db:
        await notify.enqueue(tenant, db, told, [], [waiting], [], "handed-over", chosen, START)
    with Mailbox(chosen.state_dir / "mails") as mailbox:
        with_server = chosen.model_copy(update={"smtp_url": SecretStr(mailbox.url)})
        assert await notify.send_due(warehouse, with_server, clock, "w") == 1
        return mailbox.messages()


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def links_in(text: str, chosen: Settings) -> list[Link]:
    signer = Signer(secrets.load(chosen.state_dir).root_key)
    return [signer.read(token) for token in re.findall(r"https://tone\.example/v1/links/([\w.-]+)", text)]


async def test_each_receiver_gets_links_in_their_own_name(
    warehouse: Warehouse, tenant: str, chosen: Settings, clock: ManualClock
) -> None:
    mails = await mailed(warehouse, tenant, chosen, clock)
    assert [str(mail["To"]) for mail in mails] == ["op@example.org", "second@example.org"]
    for mail in mails:
        found = links_in(text_of(mail), chosen)
        assert [each.act for each in found] == [
            ActKind.ACK,
            ActKind.APPROVE,
            ActKind.VETO,
            ActKind.FALSE,
            ActKind.REAL,
        ]
        assert {(each.who, each.expires) for each in found} == {(str(mail["To"]), START + LASTS)}
        assert [each.action for each in found] == ["", PROPOSED.key, PROPOSED.key, "", ""]
        assert links_in(text_of(mail, "html"), chosen) == found
        assert "tonewatch incidents approve i1" in text_of(mail)
    async with warehouse.as_tenant(tenant) as db:
        (notice,) = await notices.of_incident(tenant, db, "i1")
    assert "https://" not in notice.body + notice.html


@pytest.mark.parametrize(
    "waiting",
    [
        replace(PROPOSED, parameters={"requested_by": "ann"}),
        replace(PROPOSED, runbook="unheard-of"),
        replace(PROPOSED, state=ActionState.INTENDED),
    ],
)
async def test_a_yes_that_is_not_one_click_s_to_give_has_no_link(
    warehouse: Warehouse, tenant: str, chosen: Settings, clock: ManualClock, waiting: Action
) -> None:
    mail, _ = await mailed(warehouse, tenant, chosen, clock, waiting)
    found = [each.act for each in links_in(text_of(mail), chosen)]
    assert found == [ActKind.ACK, ActKind.VETO, ActKind.FALSE, ActKind.REAL]


async def test_without_an_address_of_the_gateway_there_is_one_mail_without_links(
    warehouse: Warehouse, tenant: str, chosen: Settings, clock: ManualClock
) -> None:
    unset = chosen.model_copy(update={"gateway_url": None})
    (mail,) = await mailed(warehouse, tenant, unset, clock)
    assert str(mail["To"]) == "op@example.org, second@example.org"
    assert "tonewatch-link" not in text_of(mail) + text_of(mail, "html")
    assert "With one click" not in text_of(mail)


async def test_a_stack_whose_key_is_gone_still_tells(
    warehouse: Warehouse, tenant: str, chosen: Settings, clock: ManualClock
) -> None:
    (chosen.state_dir / secrets.FILE).unlink()
    (mail,) = await mailed(warehouse, tenant, chosen, clock)
    both = text_of(mail) + text_of(mail, "html")
    assert "tonewatch-link" not in both
    assert HEADING not in both
    assert "tonewatch incidents approve i1" in text_of(mail)


def test_slack_shows_links_in_a_block_of_their_own_and_none_in_the_text() -> None:
    body = (
        f"{HEADING}\n  Acknowledge: {place(ActKind.ACK)}\n  Veto x: {place(ActKind.VETO, PROPOSED.key)}\n\nTold late\n"
    )
    notice = Notice("t", "i1", "handed-over", "L1", "slack", "[Tonewatch] x", body, created=START)
    blocks = compose(notice, Links(SIGNER, "https://tone.example"))["blocks"]
    texts = [block["text"]["text"] for block in blocks if "text" in block]
    found = re.findall(r"<https://tone\.example/v1/links/([\w.-]+)\|(\w+)>", texts[-1])
    assert [(SIGNER.read(token).act, word) for token, word in found] == [
        (ActKind.ACK, "Acknowledge"),
        (ActKind.VETO, "Veto"),
    ]
    assert {SIGNER.read(token).who for token, _ in found} == {"somebody in Slack"}
    assert "tonewatch-link" not in str(blocks)
    assert "Told late" in texts[1]
    assert len(compose(notice)["blocks"]) == len(blocks) - 1

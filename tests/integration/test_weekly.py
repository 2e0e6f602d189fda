"""The report on a week, from real rows to the mail: each number against an SQL of the test's own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import psycopg
import pytest
from PIL import Image

from console.demo.mailbox import Mailbox
from policy.period import Period, week_before
from tasks import notify
from tasks.phrase import as_document
from tasks.weekly import Report, lay, make, write
from tests.conftest import Database, new_tenant
from tests.integration.busy_week import CASES, MADE, MONDAY, NEXT_MONDAY, seed
from tests.integration.servers import flow_told
from tonewatch.clock import ManualClock
from tonewatch.errors import SettingsError, UnknownTenant
from tonewatch.records import Notice, NoticeState
from tonewatch.settings import Settings, load_profile
from warehouse import notices, tenants
from warehouse.database import Warehouse

PROJECT = Path(__file__).resolve().parents[2]
PROFILE = load_profile("platform")
WEEK = Period(MONDAY, NEXT_MONDAY)


@pytest.fixture(scope="module")
def busy(database: Database) -> tuple[str, str]:
    """Two tenants with the same week in other numbers; gives (the one reported on, the other)."""

    async def both() -> tuple[str, str]:
        warehouse = Warehouse(database.app_url)
        try:
            names = await new_tenant(warehouse), await new_tenant(warehouse)
            for scale, name in enumerate(names, start=1):
                await seed(warehouse, name, scale=scale)
            return names
        finally:
            await warehouse.close()

    return asyncio.run(both())


@pytest.fixture
def sql(database: Database) -> Iterator[psycopg.Connection]:
    """The warehouse as its superuser sees it: what is asked here passes by the house's own queries and policies."""
    with psycopg.connect(database.admin_url) as connection:
        connection.execute("set timezone to 'UTC'")
        yield connection


async def report_of(warehouse: Warehouse, tenant: str, period: Period = WEEK) -> Report:
    return await make(tenant, warehouse, period, PROFILE, MADE)


def one(sql: psycopg.Connection, statement: str, **values: Any) -> Any:
    """The single value that `statement` gives of the week."""
    row = sql.execute(statement, {"start": MONDAY, "end": NEXT_MONDAY} | values).fetchone()
    assert row is not None
    return row[0]


def counts(sql: psycopg.Connection, statement: str, tenant: str) -> dict[str, Any]:
    return dict(sql.execute(statement, {"start": MONDAY, "end": NEXT_MONDAY, "tenant": tenant}).fetchall())


#: Another way to the same: for each report of the week the newest one before it in its session.
DUE_AND_LOST = """
    select r.channel, r.starved_ms + case when r.startup_ms > 2000 then r.startup_ms - 2000 else 0 end as lost,
        (select case when p.state in ('s', 'p', 'r') and r.time - p.time <= interval '60 s'
                then extract(epoch from r.time - p.time) * 1000 end
         from session_report p
         where p.tenant = r.tenant and p.session = r.session and p.sequence = r.sequence - 1) as since, r.time
    from session_report r
    where r.tenant = %(tenant)s and r.time >= %(start)s and r.time < %(end)s
"""
TOTALS = f"""
    select {{key}}, sum(lost)::float / 60000,
        sum(case when coalesce(since, 0) > lost then since else lost end)::float / 60000
    from ({DUE_AND_LOST}) each group by 1 order by 1
"""


async def test_availability_equals_an_independent_sql_per_channel_and_in_all(
    warehouse: Warehouse, busy: tuple[str, str], sql: psycopg.Connection
) -> None:
    tenant, _ = busy
    told = as_document((await report_of(warehouse, tenant)).summary)
    values = {"tenant": tenant, "start": MONDAY, "end": NEXT_MONDAY}
    found = sql.execute(TOTALS.format(key="channel"), values).fetchall()
    assert [name for name, _, _ in found] == ["channel:ch1", "channel:ch2"] == list(told["channels"])
    for name, lost, due in [*found, ("all", sum(row[1] for row in found), sum(row[2] for row in found))]:
        mine = told["availability"] if name == "all" else told["channels"][name]
        assert mine["lost_minutes"] == pytest.approx(lost, abs=1e-9)
        assert mine["due_minutes"] == pytest.approx(due, abs=1e-6)
        assert mine["availability"] == pytest.approx(1 - lost / due, abs=1e-6)
        assert mine["allowed_minutes"] == pytest.approx(due * 0.0001, abs=1e-9)
        assert mine["budget_spent"] == pytest.approx(lost / (due * 0.0001))
        assert mine["met"] is (lost <= due * 0.0001)
    assert 10 < found[0][1] < 100
    assert found[0][2] > 1000


async def test_the_bars_equal_an_independent_sql_and_add_up(
    warehouse: Warehouse, busy: tuple[str, str], sql: psycopg.Connection
) -> None:
    tenant, _ = busy
    told = as_document((await report_of(warehouse, tenant)).summary)
    values = {"tenant": tenant, "start": MONDAY, "end": NEXT_MONDAY}
    lost = {day: minutes for day, minutes, _ in sql.execute(TOTALS.format(key="date_trunc('day', time)"), values)}
    opened = sql.execute(
        "select date_trunc('day', opened), severity, count(*) from incident where tenant = %(tenant)s"
        " and opened between %(start)s and %(end)s group by 1, 2",
        values,
    ).fetchall()
    assert len(told["bars"]) == 7
    for bar in told["bars"]:
        assert bar["lost_minutes"] == pytest.approx(lost.get(bar["start"], 0.0), abs=1e-9)
        assert bar["incidents"] == {severity: count for day, severity, count in opened if day == bar["start"]}
    assert sum(bar["lost_minutes"] for bar in told["bars"]) == pytest.approx(told["availability"]["lost_minutes"])


async def test_incidents_and_times_equal_an_independent_sql(
    warehouse: Warehouse, busy: tuple[str, str], sql: psycopg.Connection
) -> None:
    tenant, _ = busy
    told = as_document((await report_of(warehouse, tenant)).summary)
    mine = "from incident i where i.tenant = %(tenant)s and i.opened >= %(start)s and i.opened < %(end)s"
    grouped = f"select {{}}, count(*) {mine} group by 1"
    assert told["incidents"]["opened"] == one(sql, f"select count(*) {mine}", tenant=tenant) == 9
    assert told["incidents"]["by_state"] == counts(sql, grouped.format("state"), tenant)
    assert told["incidents"]["by_severity"] == counts(sql, grouped.format("severity"), tenant)
    first = "select kind from cause c where c.tenant = i.tenant and c.incident = i.id and rank = 1"
    kind = f"coalesce(({first}), 'not diagnosed')"
    assert told["incidents"]["by_cause"] == counts(sql, grouped.format(kind), tenant)
    basis = counts(sql, f"select loss_basis, sum(listener_minutes_lost) {mine} group by 1", tenant)
    assert told["incidents"]["lost_minutes_by_basis"] == pytest.approx(basis)
    carried = "select count(*) from incident where tenant = %(tenant)s and opened < %(start)s and state != 'closed'"
    assert told["incidents"]["carried"] == one(sql, carried, tenant=tenant) == 1
    false = "select 1 from label where tenant = i.tenant and subject = i.id and value = 'verdict:false-alarm'"
    true = f"{mine} and not exists ({false})"
    spans = f"select extract(epoch from {{}} - onset)::float {true} {{}} order by 1"
    values = {"tenant": tenant, "start": MONDAY, "end": NEXT_MONDAY}
    over = "and state in ('mended', 'closed') and impact_ended is not null"
    repaired = [row[0] for row in sql.execute(spans.format("impact_ended", over), values)]
    noticed = [row[0] for row in sql.execute(spans.format("opened", ""), values)]
    for name, found in (("mttr", repaired), ("detection", noticed)):
        assert told[name] == pytest.approx(
            {"count": len(found), "median_s": statistics.median(found), "worst_s": max(found)}
        )
    unfelt = f"select count(*) {true} and state in ('mended', 'closed') and impact_ended is null"
    assert told["incidents"]["unfelt"] == one(sql, unfelt, tenant=tenant) == 2
    assert set(told["incidents"]["lasting"]) == {"w27-worse", "w27-late"}
    assert [each["id"] for each in told["incidents"]["list"]] == [c.id for c in CASES if c.id.startswith("w27")]


#: The last verdict of each incident decides; a person needs 1,142.5 s: the median of the two that people ended.
SAVED = """
    with last as (
        select distinct on (v.incident) v.incident, v.outcome, v.controlled from verdict v
        where v.tenant = %(tenant)s order by v.incident, v.decided desc
    ), person as (
        select percentile_cont(0.5) within group (order by extract(epoch from impact_ended - onset)) / 60 as minutes
        from incident where tenant = %(tenant)s and id in ('old-person', 'w27-release')
    )
    select i.listener_minutes_lost / extract(epoch from i.impact_ended - i.impact_started) * 60
        * (person.minutes - extract(epoch from i.impact_ended - i.onset) / 60) as saved, i.loss_basis, last.controlled
    from incident i join last on last.incident = i.id cross join person
    where i.tenant = %(tenant)s and i.opened >= %(start)s and i.opened < %(end)s and last.outcome = 'worked'
      and i.impact_ended is not null
"""


async def test_minutes_saved_equal_an_independent_sql(
    warehouse: Warehouse, busy: tuple[str, str], sql: psycopg.Connection
) -> None:
    tenant, _ = busy
    saved = as_document((await report_of(warehouse, tenant)).summary)["saved"]
    values = {"tenant": tenant, "start": MONDAY, "end": NEXT_MONDAY}
    found = [(float(minutes), basis, controlled) for minutes, basis, controlled in sql.execute(SAVED, values)]
    assert len(found) == 3
    for name, controlled in (("controlled", True), ("uncontrolled", False)):
        mine = [(minutes, basis) for minutes, basis, how in found if how is controlled]
        assert saved[name]["count"] == len(mine)
        assert saved[name]["minutes"] == pytest.approx(sum(minutes for minutes, _ in mine))
        guessed = sum(minutes for minutes, basis in mine if basis != "measured")
        assert saved[name]["inferred_minutes"] == pytest.approx(guessed)
    assert (saved["controlled"]["unknown"], saved["uncontrolled"]["unknown"]) == (0, 1)
    assert saved["minutes"] == pytest.approx(sum(minutes for minutes, _, _ in found))
    assert (saved["person_minutes"], saved["person_cases"]) == (pytest.approx(1112.5 / 60), 2)


async def test_deeds_and_pages_equal_an_independent_sql(
    warehouse: Warehouse, busy: tuple[str, str], sql: psycopg.Connection
) -> None:
    tenant, _ = busy
    told = as_document((await report_of(warehouse, tenant)).summary)
    week = "a.incident in (select id from incident where opened >= %(start)s and opened < %(end)s)"
    rows = sql.execute(
        "select a.runbook, coalesce(v.outcome, a.state) || coalesce(v.controlled::text, ''), count(*) from action a"
        f" left join verdict v on (v.tenant, v.action) = (a.tenant, a.key) where a.tenant = %(tenant)s and {week}"
        " group by 1, 2",
        {"tenant": tenant, "start": MONDAY, "end": NEXT_MONDAY},
    ).fetchall()
    words = {
        "workedtrue": "worked (controlled)", "workedfalse": "worked (uncontrolled)", "harmedfalse": "harmed",
        "finished": "not judged yet", "failed": "failed", "refused": "refused",
    }  # fmt: skip
    expected: dict[str, dict[str, int]] = {}
    for runbook, what, count in rows:
        expected.setdefault(runbook, {})[words[what]] = count
    assert told["actions"]["by_runbook"] == expected
    guards = (
        "select g ->> 'guard', count(*) from action a, jsonb_array_elements(guards) g where a.tenant = %(tenant)s and"
        f" {week} and g ->> 'allowed' = 'false' group by 1"
    )
    assert told["actions"]["refused_by"] == counts(sql, guards, tenant) == {"cool-down": 2, "approval": 1}
    paged = (
        "select coalesce(l.value, 'unlabelled'), count(*) from incident i left join label l on l.tenant = i.tenant and"
        " l.subject = i.id and l.value like 'verdict:%%' where i.tenant = %(tenant)s and i.opened >= %(start)s and"
        " i.opened < %(end)s and i.id in (select incident from notice where tenant = i.tenant) group by 1"
    )
    found = counts(sql, paged, tenant)
    pages = told["pages"]
    assert pages["told"] == sum(found.values())
    assert pages["false"] == found["verdict:false-alarm"] == 1
    assert pages["real"] == found["verdict:real"] == 2
    assert pages["planned"] == found.get("verdict:planned", 0) == 0
    assert pages["unlabelled"] == found["unlabelled"] == 5
    assert (pages["not_told"], pages["allowed"]) == (1, PROFILE.budget.pages_per_week)


class Text(HTMLParser):
    """What a reader sees of an HTML page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.seen.append(data)


NUMBER = re.compile(r"\d[\d,.:-]*")


async def test_the_plain_text_holds_every_number_of_the_html_and_of_the_picture(
    warehouse: Warehouse, busy: tuple[str, str]
) -> None:
    report = await report_of(warehouse, busy[0])
    page = report.html()
    shown = set(NUMBER.findall(" ".join(Text(page).seen)))
    (described,) = re.findall(r'alt="([^"]+)"', page)
    assert len(shown) > 60
    assert shown | set(NUMBER.findall(described)) <= set(NUMBER.findall(report.text))


async def test_figures_in_the_text_are_those_of_the_document(warehouse: Warehouse, busy: tuple[str, str]) -> None:
    report = await report_of(warehouse, busy[0])
    told = as_document(report.summary)
    line = re.search(r"All channels +([\d.]+) %, missed", report.text)
    assert line is not None
    assert float(line[1]) == pytest.approx(told["availability"]["availability"] * 100)
    for part in (
        f"{told['availability']['lost_minutes']:.2f}",
        f"{told['availability']['due_minutes']:,.1f}",
        f"{told['saved']['controlled']['minutes']:.2f} listener-minutes in 1 incident",
        "median 98.0 s, worst 15.1 min (of 4 incidents)",
        "Refused by        cool-down (2), approval (1)",
        "of them inferred (their loss was not measured); 1 more without a loss to reckon from",
        "18.5 min after onset (the median of 2 handed-over incidents of the last 90 days)",
        "rollback of component:packager: refused by approval, cool-down",
        "not over, sound last missed 5.0 min after onset",
    ):
        assert part in report.text
    assert report.subject == (
        f"[Tonewatch] Week 27 of 2026: {told['availability']['availability'] * 100:.4f} % available, 9 incidents"
    )


async def test_what_came_from_outside_is_escaped_in_the_html(warehouse: Warehouse, busy: tuple[str, str]) -> None:
    report = await report_of(warehouse, busy[0])
    assert "transcoder-ch1 has ended <b>&" in report.text
    assert "transcoder-ch1 has ended &lt;b&gt;&amp;" in report.html()
    assert "<b>" not in report.html()
    assert "http" not in report.html()


async def test_nothing_of_another_tenant_is_in_the_report(
    warehouse: Warehouse, busy: tuple[str, str], database: Database
) -> None:
    mine, other = [as_document((await report_of(warehouse, name)).summary) for name in busy]
    assert other["availability"]["lost_minutes"] != mine["availability"]["lost_minutes"]
    assert busy[1] not in (await report_of(warehouse, busy[0])).text
    lonely = await new_tenant(warehouse)
    await seed(warehouse, lonely, scale=1)
    alone = as_document((await report_of(warehouse, lonely)).summary)
    assert without(alone, "tenant") == without(mine, "tenant")


def without(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


async def test_weeks_that_follow_one_another_share_no_minute_and_lose_none(
    warehouse: Warehouse, busy: tuple[str, str]
) -> None:
    whole = await report_of(warehouse, busy[0])
    middle = MONDAY + timedelta(days=3, hours=10, seconds=17)
    parts = [
        await report_of(warehouse, busy[0], each) for each in (Period(MONDAY, middle), Period(middle, NEXT_MONDAY))
    ]
    assert sum(part.summary.total.due_ms for part in parts) == whole.summary.total.due_ms
    assert sum(part.summary.total.lost_ms for part in parts) == whole.summary.total.lost_ms
    assert sum(len(part.summary.incidents) for part in parts) == len(whole.summary.incidents)


async def test_without_listeners_there_is_no_data_and_never_a_hundred_percent(
    warehouse: Warehouse, tenant: str
) -> None:
    report = await report_of(warehouse, tenant)
    told = as_document(report.summary)
    assert (told["availability"]["availability"], told["availability"]["met"], told["mttr"]) == (None, None, None)
    for text in (report.subject, report.text, report.html()):
        assert "no data" in text
        assert "100" not in text.replace('width="100%"', "").replace("width:100%", "")


async def test_the_demo_s_budget_is_that_of_its_compressed_week(warehouse: Warehouse, busy: tuple[str, str]) -> None:
    demo = load_profile("demo")
    period = Period(MONDAY + timedelta(hours=10), MONDAY + timedelta(hours=10, seconds=1260))
    report = await make(busy[0], warehouse, period, demo, MADE)
    assert report.summary.pages.allowed == pytest.approx(2 * demo.budget.pages_per_week)
    assert len(report.summary.bars) == 14
    assert "per 90 s" in report.text


async def test_a_period_that_is_not_over_and_an_unknown_tenant_are_refused(warehouse: Warehouse, tenant: str) -> None:
    with pytest.raises(SettingsError, match="not over yet"):
        await make(tenant, warehouse, Period(MONDAY, MADE + timedelta(seconds=1)), PROFILE, MADE)
    with pytest.raises(UnknownTenant):
        await report_of(warehouse, "nobody")


# The mail


def settings(tenant: str, port: int) -> Settings:
    return Settings(
        tenant=tenant, smtp_url=f"smtp://127.0.0.1:{port}", mail_from="watch@tone.example", mail_to=("op@example.org",)
    )


async def outbox(warehouse: Warehouse, tenant: str) -> list[Notice]:
    async with warehouse.as_tenant(tenant) as db:
        return await notices.of_incident(tenant, db, WEEK.key)


async def fresh(warehouse: Warehouse) -> str:
    """A tenant with the week whose own notices (of its incidents) do not wait to be sent."""
    name = await new_tenant(warehouse)
    await seed(warehouse, name, sessions_a_day=2)
    async with warehouse.as_tenant(name) as db:
        await tenants.watch_by(name, db, "platform")
        for case in CASES:
            for notice in await notices.of_incident(name, db, case.id):
                await notices.mark_sent(name, db, notice.id, MADE)
    return name


async def sent(warehouse: Warehouse, tenant: str, tmp_path: Path) -> EmailMessage:
    clock = ManualClock(MADE)
    await lay(tenant, warehouse, await report_of(warehouse, tenant), MADE)
    with Mailbox(tmp_path) as mailbox:
        assert await notify.send_due(warehouse, settings(tenant, mailbox.port), clock, "w") == 1
        (mail,) = mailbox.messages()
    return mail


async def test_the_mail_holds_text_and_html_with_its_picture_inside(warehouse: Warehouse, tmp_path: Path) -> None:
    tenant = await fresh(warehouse)
    report = await report_of(warehouse, tenant)
    mail = await sent(warehouse, tenant, tmp_path)
    assert mail.get_content_type() == "multipart/alternative"
    text, related = mail.iter_parts()
    assert (text.get_content_type(), related.get_content_type()) == ("text/plain", "multipart/related")
    page, picture = related.iter_parts()
    assert (page.get_content_type(), picture.get_content_type()) == ("text/html", "image/png")
    assert picture["content-id"] == f"<{report.picture.id}@tonewatch>"
    assert picture.get_content_disposition() == "inline"
    assert picture.get_content() == report.picture.content
    assert f'src="cid:{report.picture.id}@tonewatch"' in page.get_content()
    assert text.get_content().splitlines() == report.text.splitlines()
    assert mail["subject"] == report.subject


async def test_a_mail_server_that_is_away_loses_no_report(warehouse: Warehouse, tmp_path: Path) -> None:
    tenant, clock = await fresh(warehouse), ManualClock(MADE)
    await lay(tenant, warehouse, await report_of(warehouse, tenant), MADE)
    with Mailbox(tmp_path) as mailbox:
        port = mailbox.port
    assert await notify.send_due(warehouse, settings(tenant, port), clock, "w") == 0
    (waiting,) = await outbox(warehouse, tenant)
    assert (waiting.state, waiting.attempts) == (NoticeState.PENDING, 1)
    clock.advance(100)
    with Mailbox(tmp_path, port) as mailbox:
        assert await notify.send_due(warehouse, settings(tenant, port), clock, "w") == 1
        assert len(mailbox.messages()) == 1


async def test_a_picture_that_is_gone_leaves_a_mail_that_suffices(
    warehouse: Warehouse, tmp_path: Path, sql: psycopg.Connection
) -> None:
    tenant, clock = await fresh(warehouse), ManualClock(MADE)
    report = await report_of(warehouse, tenant)
    await lay(tenant, warehouse, report, MADE)
    sql.execute("delete from evidence where tenant = %s", [tenant])
    sql.commit()
    with Mailbox(tmp_path) as mailbox:
        assert await notify.send_due(warehouse, settings(tenant, mailbox.port), clock, "w") == 1
        (mail,) = mailbox.messages()
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    page = mail.get_body(("html",))
    assert page is not None
    assert 'alt="Bars: listener-minutes lost' in page.get_content()


async def test_a_week_is_written_once_unless_forced(warehouse: Warehouse, tmp_path: Path) -> None:
    tenant, clock = await fresh(warehouse), ManualClock(MADE)
    report = await report_of(warehouse, tenant)
    first = await lay(tenant, warehouse, report, MADE)
    again = await lay(tenant, warehouse, replace(report, text="other"), MADE)
    assert (first.new, again.new, again.notice) == (True, False, first.notice)
    assert "was reported already (pending)" in again.told
    forced = await lay(tenant, warehouse, replace(report, text="newer"), MADE, force=True)
    (waiting,) = await outbox(warehouse, tenant)
    assert (forced.notice, waiting.body) == (first.notice, "newer")
    with Mailbox(tmp_path) as mailbox:
        chosen = settings(tenant, mailbox.port)
        assert await notify.send_due(warehouse, chosen, clock, "w") == 1
        assert "was reported already (sent)" in (await lay(tenant, warehouse, report, MADE)).told
        second = await lay(tenant, warehouse, report, MADE, force=True)
        assert second.notice != first.notice
        assert await notify.send_due(warehouse, chosen, clock, "w") == 1
        mails = mailbox.messages()
    assert mails[1]["subject"] == f"Re: {mails[0]['subject']}"
    assert mails[0]["references"] == mails[1]["references"]


async def test_two_that_report_at_once_write_one_notice(warehouse: Warehouse) -> None:
    tenant = await fresh(warehouse)
    report = await report_of(warehouse, tenant)
    laid = await asyncio.gather(*(lay(tenant, warehouse, report, MADE) for _ in range(4)))
    assert sum(each.new for each in laid) == 1
    assert len({each.notice for each in laid}) == 1
    assert len(await outbox(warehouse, tenant)) == 1


# The command line and the flow, as processes


def run(database: Database, tenant: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TONEWATCH_", "PREFECT_"))}
    mine = {"TONEWATCH_DATABASE_URL": database.app_url, "TONEWATCH_TENANT": tenant}
    return subprocess.run(
        [sys.executable, *words], cwd=PROJECT, env=kept | mine | more, capture_output=True, text=True, timeout=280
    )


async def test_the_command_prints_writes_and_sends(
    warehouse: Warehouse, busy: tuple[str, str], database: Database, tmp_path: Path
) -> None:
    tenant = await fresh(warehouse)
    command = ("-m", "console.cli", "report", "weekly", "--until", "2026-07-08")
    told = run(database, tenant, *command, "--out", str(tmp_path), "--send")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"{tenant}: Week 27 of 2026\n")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"report-{tenant}-week-2026-W27.{suffix}" for suffix in ("txt", "html", "png")}
    assert (tmp_path / f"report-{tenant}-week-2026-W27.txt").read_text() == told.stdout
    assert f'src="report-{tenant}-week-2026-W27.png"' in (tmp_path / f"report-{tenant}-week-2026-W27.html").read_text()
    (notice,) = await outbox(warehouse, tenant)
    assert f"is in the outbox: notice {notice.id}" in told.stderr
    figures = json.loads(run(database, tenant, *command, "--json").stdout)
    summary = as_document((await report_of(warehouse, tenant)).summary)
    assert figures["availability"] == summary["availability"]
    assert figures["pages"] == summary["pages"]
    day = json.loads(run(database, tenant, *command, "--days", "1", "--json").stdout)
    assert day["period"]["start"].startswith("2026-07-07T00:00")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--until", "soon"), "is no date or time"),
        (("--days", "0"), "is no number of days"),
        (("--until", "2100-01-01"), "is not over yet"),
        (("--send",), "alert_channels does not name it"),
    ],
)
def test_a_report_that_cannot_be_made_says_why_in_a_line(
    database: Database, busy: tuple[str, str], words: tuple[str, ...], said: str
) -> None:
    told = run(database, busy[0], "-m", "console.cli", "report", "weekly", *words, ALERT_CHANNELS="slack")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("tonewatch: ")
    assert said in told.stderr
    assert told.stderr.count("\n") == 1


FLOW = """
import asyncio, json, sys
from datetime import datetime
from prefect.client.orchestration import get_client
from flows.reporting import weekly_report

async def main():
    as_of = datetime.fromisoformat(sys.argv[1])
    first, again = await weekly_report(as_of=as_of), await weekly_report(as_of=as_of)
    async with get_client() as client:
        shown = [artifact.data for artifact in await client.read_artifacts()]
    print(json.dumps({"first": first, "again": again, "artifacts": shown}))

asyncio.run(main())
"""


async def test_the_flow_lays_one_notice_and_shows_ids_and_figures_alone(
    warehouse: Warehouse, database: Database, prefect_api: str, tmp_path: Path
) -> None:
    tenant = await fresh(warehouse)
    result = await flow_told(
        FLOW, MADE.isoformat(), database=database, prefect=prefect_api, folder=tmp_path, TONEWATCH_TENANT=tenant
    )
    (notice,) = await outbox(warehouse, tenant)
    assert result["first"]["notice"] == result["again"]["notice"] == notice.id
    assert (result["first"]["new"], result["again"]["new"]) == (True, False)
    assert result["first"]["period"] == "week-2026-W27"
    assert len(result["artifacts"]) == 2
    shown = json.dumps(result["artifacts"])
    assert notice.id in shown
    assert not [case.title for case in CASES if case.title in shown or case.entity in shown]


# In a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed here")
async def test_the_mail_s_page_is_rendered_by_a_browser_with_its_picture(
    warehouse: Warehouse, busy: tuple[str, str], tmp_path: Path
) -> None:
    report = await report_of(warehouse, busy[0])
    named = replace(report, summary=replace(report.summary, tenant="station-one"))
    write(named, tmp_path)
    page = tmp_path / "report-station-one-week-2026-W27.html"
    shot = tmp_path / "shot.png"
    # What the browser makes of it, told by the page itself: the size of its picture, and whether anything overflows.
    probe = tmp_path / "probe.html"
    script = (
        "<script>addEventListener('load',()=>{const i=document.querySelector('img'),e=document.documentElement;"
        "document.title=[i.naturalWidth,i.clientWidth,e.scrollWidth,e.clientWidth].join(' ')})</script>"
    )
    probe.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    title = re.search(r"<title>([\d ]+)</title>", browse(tmp_path, "--dump-dom", "--window-size=680,1000", probe))
    assert title is not None
    natural, shown, needed, given = map(int, title[1].split())
    assert (natural, shown) == (1200, 598)
    assert needed <= given
    browse(tmp_path, f"--screenshot={shot}", "--window-size=680,3240", page)
    with Image.open(shot) as seen:
        assert seen.size == (680, 3240)
        assert len(seen.getcolors(maxcolors=1_000_000) or ()) > 100
        if os.environ.get("UPDATE_DOCS"):
            small = seen.convert("RGB").quantize(200, dither=Image.Dither.NONE)
            small.save(PROJECT / "docs" / "weekly.png", optimize=True)


def browse(folder: Path, *words: str | Path) -> str:
    *options, page = words
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
         f"--user-data-dir={folder}/profile", *map(str, options), Path(page).as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


def test_the_week_is_the_one_before_the_report() -> None:
    assert week_before(MADE) == WEEK
    assert week_before(datetime(2026, 7, 12, 23, 59, tzinfo=UTC)) == WEEK

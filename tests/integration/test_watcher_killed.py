"""kill -9 of a watcher at each place of the eight steps: whoever comes after it finishes, and repeats nothing.

Real PostgreSQL, a real supervisor with a real process, a real mail server; the loop that dies is a process of its own.
The whole stack is killed part by part in tests/campaign/crashes.py.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from console.demo.mailbox import Mailbox
from console.waiting import until
from gateway.platforms.supervisor import Supervisor
from tests.campaign.moments import MOMENTS, Order, Orders
from tests.campaign.promises import broken, stories
from tests.conftest import Database
from tests.integration import doomed
from tests.integration.doomed import AWAY, Site
from tests.integration.test_loop import CONFIG, PROCESS
from tests.ports import free_port
from tests.unit.platform_parts import START
from tonewatch import switch
from tonewatch.errors import PlatformError
from tonewatch.records import ActionState, IncidentState
from warehouse.database import Warehouse

DEATH_SECONDS = 60.0
#: Hand-made telemetry is not collected.
HERE = [moment.name for moment in MOMENTS if moment.name != "collected"]
#: Nobody holds what a dead sender leased for longer than its lease: here that time has passed.
LEASES_END = text(
    "update notice set lease_until = clock_timestamp() where tenant = :tenant and lease_until is not null"
)


@dataclass(frozen=True)
class Supervised:
    """A supervisord that runs one process, and its log."""

    url: str
    log: Path

    def spawned(self) -> int:
        """How often it has started the process."""
        return self.log.read_text().count(f"spawned: '{PROCESS}'")


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    folder = tmp_path_factory.mktemp("supervisor")
    port = free_port()
    password = secrets.token_hex(8)
    config = folder / "supervisord.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, password=password, python=sys.executable))
    process = subprocess.Popen([sys.executable, "-m", "supervisor.supervisord", "-c", str(config)])
    yield Supervised(f"http://op:{password}@127.0.0.1:{port}/RPC2", folder / "supervisord.log")
    process.terminate()
    process.wait()


@pytest.fixture
async def platform(supervised: Supervised) -> AsyncIterator[Supervisor]:
    async with Supervisor(supervised.url) as platform:

        async def runs() -> bool:
            try:
                return (await platform.start(PROCESS)).state == "RUNNING"
            except PlatformError:
                return False  # it does not listen yet

        assert await until(runs, 20.0)
        yield platform


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    with Mailbox(tmp_path / "mailbox") as mailbox:
        yield mailbox


@pytest.fixture(scope="module")
def nursery() -> multiprocessing.context.ForkServerContext:
    """Forks from a process that has imported everything: each death costs no second of imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([doomed.__name__])
    return context


async def killed(site: Site, moment: str, nursery: multiprocessing.context.ForkServerContext) -> None:
    """A watcher has come to the moment and was killed there."""
    switch.install(site.folder / "state")
    orders = Orders(site.folder)
    orders.give(Order(moment))
    victim = nursery.Process(target=doomed.live, args=(site,))
    victim.start()
    await asyncio.to_thread(victim.join, DEATH_SECONDS)
    assert victim.exitcode == -signal.SIGKILL, "it came to the moment and died there"
    struck = orders.struck()
    assert struck is not None
    assert (struck.moment, struck.pid) == (moment, victim.pid)


@pytest.mark.parametrize("moment", HERE)
async def test_incident_is_finished_by_the_heir_of_a_watcher_killed_at(
    moment: str,
    tenant: str,
    warehouse: Warehouse,
    database: Database,
    platform: Supervisor,
    supervised: Supervised,
    mailbox: Mailbox,
    nursery: multiprocessing.context.ForkServerContext,
    tmp_path: Path,
) -> None:
    site = Site(tenant, database.app_url, database.dispatcher_url, supervised.url, mailbox.url, tmp_path)
    before = supervised.spawned()
    await killed(site, moment, nursery)
    heir = site.loop(warehouse, platform, site.died_at() + AWAY)
    async with warehouse.as_tenant(tenant) as db:
        await db.execute(LEASES_END, {"tenant": tenant})
    await doomed.resume(heir)
    await doomed.until_closed(site, heir)

    told = await stories(tenant, warehouse, START)
    assert [story.over for story in told] == [True]
    spawned, mails = supervised.spawned() - before, mailbox.messages()
    assert await broken(tenant, warehouse, START, spawned, mails) == []
    other = deepcopy(mails[0])
    other.replace_header("Subject", "something else")
    seen = await broken(tenant, warehouse, START, spawned + 1, [*mails[:-1], other])
    assert len(seen) == 3, f"a second deed, a lost page and a repeat that differs are seen: {seen}"


async def test_heir_that_never_sees_anything_does_nothing_and_hands_over(
    tenant: str,
    warehouse: Warehouse,
    database: Database,
    platform: Supervisor,
    supervised: Supervised,
    mailbox: Mailbox,
    nursery: multiprocessing.context.ForkServerContext,
    tmp_path: Path,
) -> None:
    site = Site(tenant, database.app_url, database.dispatcher_url, supervised.url, mailbox.url, tmp_path)
    await killed(site, "started", nursery)
    before = supervised.spawned()
    heir = site.loop(warehouse, platform, site.died_at() + AWAY)
    await doomed.resume(heir)
    assert heir.only().incident.state is IncidentState.ACTING, "readings may come yet"
    for _ in range(14):
        await heir.tick([])
    assert heir.only().incident.state is IncidentState.HANDED_OVER
    (story,) = await stories(tenant, warehouse, START)
    (deed,) = story.actions
    assert deed.state is ActionState.FAILED
    assert "old" in deed.detail
    assert supervised.spawned() == before

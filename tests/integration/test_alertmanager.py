"""A real Alertmanager that posts to a gateway which is killed, the watcher's ticks, and `connect alertmanager`."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import text

from console.alerting import look_at
from console.commands import as_json_text
from console.tenancy import Change, Tenancy
from flows import detection
from flows.detection import Batch, DetectionState
from gateway.naming import Naming
from gateway.remote_write import Labelled
from tasks.collect import Collector
from tests.integration.pushed import TENANT, Pushed, answers, pushing, until
from tests.integration.test_connect import Answers, tonewatch
from tests.ports import free_port
from tonewatch.clock import SYSTEM
from tonewatch.errors import SourceError
from tonewatch.records import Alert, Finding, Sample
from tonewatch.settings import Profile, load_profile
from tonewatch.topology import Topology
from warehouse import alerts, findings, tenants
from warehouse.database import Warehouse

ALERTMANAGER = shutil.which("prometheus-alertmanager")
needs_alertmanager = pytest.mark.skipif(ALERTMANAGER is None, reason="prometheus-alertmanager is not installed here")
LABELS = {"alertname": "Slow", "job": "edges", "instance": "edge-7:9100", "severity": "page"}
SWIFT = {"group_by": ["alertname"], "group_wait": "100ms", "group_interval": "1s", "repeat_interval": "1h"}
NOBODY: dict[str, Any] = {"route": {"receiver": "nobody", **SWIFT}, "receivers": [{"name": "nobody"}]}


@dataclass
class Running:
    """An Alertmanager as a process of its own."""

    url: str
    file: Path

    async def configure(self, snippet: str) -> None:
        """Paste what Tonewatch prints into its configuration, and have it read that."""
        pasted = yaml.safe_load(snippet)
        document = {
            "route": NOBODY["route"] | pasted["route"],
            "receivers": NOBODY["receivers"] + pasted["receivers"],
        }
        self.file.write_text(yaml.safe_dump(document))
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self.url}/-/reload")).raise_for_status()

    async def fire(self, ends: datetime | None = None, **labels: str) -> None:
        """Tell it of an alert as a Prometheus does, or of its end."""
        told = {"labels": LABELS | labels} | ({"endsAt": ends.isoformat()} if ends else {})
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self.url}/api/v2/alerts", json=[told])).raise_for_status()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    """An Alertmanager that tells nobody yet."""
    assert ALERTMANAGER is not None
    made = Running(f"http://127.0.0.1:{free_port()}", folder / "alertmanager.yml")
    made.file.write_text(yaml.safe_dump(NOBODY))
    # Debian's keeps what it knows in /var, and looks for peers, unless it is told otherwise.
    options = [f"--config.file={made.file}", f"--storage.path={folder / 'alertmanager'}", "--cluster.listen-address="]
    options += [f"--web.listen-address={made.url.removeprefix('http://')}", "--log.level=error"]
    process = await asyncio.create_subprocess_exec(ALERTMANAGER, *options)
    try:
        await until(lambda: answers(f"{made.url}/-/ready"), 60, "the Alertmanager is ready")
        yield made
    finally:
        process.terminate()
        await process.wait()


class Watching:
    """A watcher's ticks, on what the warehouse holds."""

    def __init__(self, warehouse: Warehouse, profile: Profile) -> None:
        self.warehouse, self.state, self.profile = warehouse, DetectionState(), profile
        self.collector = Collector(self.profile, SYSTEM, "")

    @classmethod
    async def begin(cls, warehouse: Warehouse) -> Watching:
        async with warehouse.as_tenant(TENANT) as db:
            return cls(warehouse, await tenants.profile(TENANT, db))

    async def tick(self) -> list[Finding]:
        now = SYSTEM.now()
        told = await self.collector.hear_alerts(TENANT, self.warehouse)
        window = now - timedelta(seconds=5), now
        batch = Batch([], window, self.collector.positions(), (), told)
        return await detection.tick(TENANT, self.warehouse, self.state, batch, Topology([]), self.profile)


async def firing(warehouse: Warehouse) -> list[Alert]:
    async with warehouse.as_tenant(TENANT) as db:
        return await alerts.firing_at(TENANT, db, SYSTEM.now())


async def found(warehouse: Warehouse) -> list[Finding]:
    async with warehouse.as_tenant(TENANT) as db:
        return list(await findings.unplaced(TENANT, db, SYSTEM.now() - timedelta(hours=1)))


async def connected(made: Pushed, alertmanager: Running) -> str:
    """What `tonewatch connect alertmanager` prints after a yes."""
    url = made.settings.database_url
    assert url is not None
    environment = {"TONEWATCH_DATABASE_URL": url.get_secret_value(), "TONEWATCH_GATEWAY_URL": made.gateway_url}
    words = ("alertmanager", alertmanager.url, "--tenant", TENANT, "--as", "ann", "--yes")
    told = await asyncio.to_thread(tonewatch, *words, **environment)
    assert told.returncode == 0, told.stderr
    return told.stdout


@needs_alertmanager
async def test_what_an_alertmanager_posts_is_a_finding_until_it_is_resolved_whoever_is_killed(tmp_path: Path) -> None:
    async with pushing() as made, running(tmp_path) as alertmanager:
        warehouse = made.warehouse
        rule = "naming=[{match: {instance: 'edge-.*'}, entity: 'edge:{job}'}]"
        await Tenancy(warehouse).change(TENANT, Change(set=(rule,)), "ann", "our names")
        shown = await connected(made, alertmanager)
        await alertmanager.configure(shown[shown.index("route:") :])
        assert made.gateway is not None
        made.gateway.kill()
        await made.gateway.wait()
        await alertmanager.fire()  # nobody listens: it has to try again
        await made.start_gateway()

        async def fires() -> bool:
            return bool(await firing(warehouse))

        async def silent() -> bool:
            return not await fires()

        await until(fires, 60, "the alert is told")
        watcher = await Watching.begin(warehouse)
        (finding,) = await watcher.tick()
        assert (finding.entity, finding.summary) == (
            "edge:edges",
            "Slow fires for instance=edge-7:9100, job=edges",
        )
        assert await watcher.tick() == []
        heir = await Watching.begin(warehouse)
        assert await heir.tick() == [finding], "another watcher sees the same"
        assert await found(warehouse) == [finding], "and writes no second one"

        await alertmanager.fire(SYSTEM.now())
        await made.kill_gateway()
        await until(silent, 60, "the end is told")
        assert await heir.tick() == []
        assert heir.state.conditions == {}
        async with warehouse.as_tenant(TENANT) as db:
            rows = (await db.execute(text("select heard, ended from alert"))).all()
        assert len(rows) == 1


@needs_alertmanager
async def test_connect_shows_what_fires_and_which_entities_that_would_be(tmp_path: Path) -> None:
    async with running(tmp_path) as alertmanager:
        await alertmanager.fire()
        told = await asyncio.to_thread(tonewatch, "alertmanager", alertmanager.url, "--look", "--json")
        found = await asyncio.to_thread(look_at, alertmanager.url, load_profile("platform"), "http://127.0.0.1:8414")
        await alertmanager.configure(found.snippet())
        again = await asyncio.to_thread(look_at, alertmanager.url, load_profile("platform"), "http://127.0.0.1:8414")
    assert told.returncode == 0, told.stderr
    read = json.loads(told.stdout)
    assert read == json.loads(as_json_text(found.document()))
    assert (read["receivers"], read["posts_here"], again.posts_here) == (["nobody"], False, True)
    (alert,) = read["alerts"]
    assert (alert["labels"], alert["state"], alert["entity"]) == (LABELS, "active", "component:edges/edge-7-9100")
    (webhook,) = yaml.safe_load(read["receiver"])["receivers"][0]["webhook_configs"]
    assert webhook["url"] == "http://127.0.0.1:8414/v1/alerts"
    assert "1 alerts fire now, of 1 entities" in found.text()
    assert "component:edges/edge-7-9100: Slow since" in found.text()
    assert "tonewatch keys add alertmanager --scope alerts" in found.told_how()


@pytest.mark.parametrize(
    "given",
    [
        Answers(b'{"versionInfo": {"version": "0.25.0"}, "config": {"origi', length=900),
        Answers(b"<html>a page</html>"),
        Answers(b"[]"),
        Answers(b"{}", status="503 Service Unavailable"),
        Answers(b"[" * 200_000),
        Answers(b'{"versionInfo": 7, "config": {"original": ""}}'),
    ],
    ids=["half", "page", "list", "status", "deep", "version"],
)
async def test_what_is_no_alertmanager_is_an_error_of_the_source(given: Answers) -> None:
    listener = await asyncio.start_server(given.serve, "127.0.0.1", 0)
    async with listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        with pytest.raises(SourceError):
            await asyncio.to_thread(look_at, url, load_profile("platform"), "http://gateway")


async def test_an_address_that_is_none_or_where_nobody_is_ends_with_status_one() -> None:
    told = await asyncio.to_thread(
        tonewatch, "alertmanager", f"http://ann:very-secret@127.0.0.1:{free_port()}", "--look"
    )
    assert (told.returncode, told.stdout, told.stderr.count("\n")) == (1, "", 1)
    assert "very-secret" not in told.stderr
    with pytest.raises(SourceError, match="must begin with http"):
        await asyncio.to_thread(look_at, "file:///etc/passwd", load_profile("platform"), "http://gateway")


async def test_an_alert_told_by_prometheus_and_alertmanager_is_one(warehouse: Warehouse, tenant: str) -> None:
    now = SYSTEM.now()
    profile = load_profile("platform")
    series = Naming().series(Labelled("ALERTS", tuple(sorted({**LABELS, "alertstate": "firing"}.items()))))
    scraped = [Sample(series, now - timedelta(seconds=back), 1.0) for back in (30, 15, 0)]
    async with warehouse.as_tenant(tenant) as db:
        told = Alert(tuple(sorted(LABELS.items())), now - timedelta(seconds=25))
        await alerts.save(tenant, db, [told], now, 10)
    collector, state = Collector(profile, SYSTEM, ""), DetectionState()
    window = now - timedelta(seconds=5), now
    first = Batch(scraped, window, {})
    both = Batch([], window, {}, (), await collector.hear_alerts(tenant, warehouse))
    assert len(await detection.tick(tenant, warehouse, state, first, Topology([]), profile)) == 1
    assert await detection.tick(tenant, warehouse, state, both, Topology([]), profile) == []
    assert len(state.conditions) == 1

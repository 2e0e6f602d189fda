"""`tonewatch connect` against Debian's Prometheus with a history that promtool made; and against what is none."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from console import hindsight
from console.tenancy import Change, Tenancy
from gateway.http import client
from gateway.sources.prometheus_server import PrometheusServer
from tasks.backtest import PastIncident
from tasks.collect import SERIES_READ, Collector
from tests.conftest import Database
from tests.integration.pushed import PROMETHEUS, answers, until
from tests.ports import free_port
from tonewatch.clock import SYSTEM
from tonewatch.errors import SourceError
from tonewatch.records import Sample
from tonewatch.settings import PrometheusSource, Settings, Sources, load_profile, to_environment
from warehouse import audit, evidence, incidents, labels, samples, settings_versions, tenants
from warehouse.database import Warehouse

PROMTOOL = shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None, reason="prometheus and promtool are not installed here"
)
PROJECT = Path(__file__).resolve().parents[2]
EVERY = 15
#: On a whole hour: promtool makes blocks of two hours.
END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=4)
START = END - timedelta(days=1)
OUTAGE = START + timedelta(hours=15), START + timedelta(hours=15, minutes=12)
TARGETS = {"edge-1:9100": True, "edge-2:9100": False, "origin:9100": False}


def openmetrics(broken: bool, failing: bool) -> Iterator[str]:
    """The history: three targets, one of them down for twelve minutes, and an alert of the user's own meanwhile."""
    yield "# TYPE up gauge"
    steps = range(int(START.timestamp()), int(END.timestamp()), EVERY)
    down = range(int(OUTAGE[0].timestamp()), int(OUTAGE[1].timestamp()))
    for target, fails in TARGETS.items():
        for moment in steps:
            value = 0 if fails and broken and failing and moment in down else 1
            yield f'up{{job="radio",instance="{target}"}} {value} {moment}'
    if broken:
        yield "# TYPE ALERTS gauge"
        for moment in steps:
            if moment in down and moment >= down.start + 300:
                labels = 'alertname="TargetDown",alertstate="firing",job="radio",instance="edge-1:9100"'
                yield f"ALERTS{{{labels}}} 1 {moment}"
    yield "# EOF"


@cache
def blocks(broken: bool, failing: bool) -> Path:
    """The history as Prometheus' own blocks, made once; deleted when the tests end."""
    assert PROMTOOL is not None
    folder = Path(tempfile.mkdtemp(prefix="tw-history-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "history.txt").write_text("\n".join(openmetrics(broken, failing)) + "\n")
    made = [PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", "history.txt", "data"]
    subprocess.run(made, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / "data"


@asynccontextmanager
async def running(folder: Path, document: dict[str, Any]) -> AsyncIterator[str]:
    """A Prometheus with this configuration; gives its address."""
    assert PROMETHEUS is not None
    port = free_port()
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}} | document))
    # Debian's Prometheus keeps its samples in /var unless it is told where.
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=90d"]
    options += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    process = await asyncio.create_subprocess_exec(PROMETHEUS, *options, cwd=folder)
    try:
        await until(lambda: answers(f"http://127.0.0.1:{port}/-/ready"), 60, "Prometheus is ready")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


def job(name: str, *ports: int) -> dict[str, Any]:
    return {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}


@asynccontextmanager
async def prometheus(folder: Path, broken: bool, *, failing: bool = True) -> AsyncIterator[str]:
    """One with that history, which scrapes a part and has one alerting rule."""
    await asyncio.to_thread(shutil.copytree, blocks(broken, failing), folder / "data")
    rule = {"alert": "TargetDown", "expr": "up == 0", "for": "5m", "labels": {"severity": "page"}}
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "radio", "rules": [rule]}]}))
    part = Part()
    await part.start()
    document = {"rule_files": ["rules.yml"], "scrape_configs": [job("prometheus", part.port)]}
    try:
        async with running(folder, document) as url:

            async def scraped() -> bool:
                async with client() as session:
                    return any(target.health == "up" for target in await PrometheusServer(session, url).targets())

            await until(scraped, 60, "it has scraped")
            yield url
    finally:
        await part.end()


def tonewatch(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TONEWATCH_")}
    command = [sys.executable, "-m", "console.cli", "connect", *words]
    return subprocess.run(
        command,
        cwd=PROJECT,
        env=kept | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


async def looked(url: str, *words: str, **environment: str) -> dict[str, Any]:
    told = await asyncio.to_thread(tonewatch, "prometheus", url, "--look", "--json", *words, **environment)
    assert told.returncode == 0, told.stderr
    found: dict[str, Any] = json.loads(told.stdout)
    return found


@needs_prometheus
async def test_a_planted_outage_is_found_with_its_time_and_its_alert(tmp_path: Path) -> None:
    async with prometheus(tmp_path, broken=True) as url:
        found = await looked(url)
    (incident,) = found["incidents"]
    assert incident["entities"] == ["component:radio/edge-1-9100"]
    assert [each.split(":")[1] for each in incident["detectors"]] == ["TargetDown", "scrape-down"]
    onset, ended = (datetime.fromisoformat(incident[name]) for name in ("onset", "ended"))
    assert timedelta() <= onset - OUTAGE[0] < timedelta(seconds=EVERY)
    assert timedelta() <= ended - OUTAGE[1] < timedelta(seconds=EVERY)
    assert found["rules"] == ["TargetDown"]
    assert found["jobs"] == {"prometheus": 1}
    assert found["pages"] == 1
    assert 0.9 < found["slo"]["scrapes_answered"]["radio"] < 1.0
    assert {each["runbook"]: each["granted"] for each in found["remedies"]}["restart"] is False


@needs_prometheus
async def test_a_calm_history_tells_of_nothing_and_a_short_look_sees_no_further(tmp_path: Path) -> None:
    async with prometheus(tmp_path, broken=False) as url:
        found = await looked(url)
        short = await looked(url, "--days", "0.1")
    assert found["incidents"] == []
    begin, end = (datetime.fromisoformat(moment) for moment in found["history"])
    assert begin == START
    assert end > END
    assert short["incidents"] == []
    assert datetime.fromisoformat(short["history"][0]) > END


@needs_prometheus
async def test_raw_samples_are_those_of_a_stretch_each_once(tmp_path: Path) -> None:
    async with prometheus(tmp_path, broken=True) as url, client(timeout_s=10) as session:
        server = PrometheusServer(session, url)
        selector = 'up{instance="edge-2:9100"}'
        middle = START + timedelta(hours=1)
        (first,) = await server.raw(selector, START - timedelta(seconds=1), middle)
        (second,) = await server.raw(selector, middle, middle + timedelta(hours=1))
        assert await server.raw(selector, middle, middle) == []
    times = [*first.times, *second.times]
    assert times == [round(START.timestamp() * 1000) + step * EVERY * 1000 for step in range(2 * 240 + 1)]


@needs_prometheus
async def test_after_a_yes_it_stands_in_the_settings_without_its_password(
    tmp_path: Path, warehouse: Warehouse, tenant: str, database: Database
) -> None:
    ours = {
        "TONEWATCH_DATABASE_URL": database.app_url,
        "TONEWATCH_TENANT": tenant,
        "TONEWATCH_STATE_DIR": str(tmp_path / "state"),
    }
    async with prometheus(tmp_path, broken=False) as url:
        secret = url.replace("//", "//ann:very-secret@")
        for words in ((), ("--yes", "--as", "ann")):
            told = await asyncio.to_thread(tonewatch, "prometheus", secret, "--days", "1", *words, **ours)
            assert "very-secret" not in told.stdout + told.stderr
            async with warehouse.as_tenant(tenant) as db:
                source = (await tenants.profile(tenant, db)).sources.prometheus
            assert (source.url if source else None) == (url if words else None)
            assert "Prometheus 2." in told.stdout
            assert (told.returncode, "add --yes" in told.stderr) == ((0, False) if words else (1, True))


@needs_prometheus
async def test_what_is_said_of_a_backtest_is_kept_once_with_what_was_judged(
    tmp_path: Path, warehouse: Warehouse, tenant: str, database: Database
) -> None:
    ours = {
        "TONEWATCH_DATABASE_URL": database.app_url,
        "TONEWATCH_TENANT": tenant,
        "TONEWATCH_STATE_DIR": str(tmp_path / "state"),
    }
    async with prometheus(tmp_path, broken=True) as url:
        for say, status, told in (
            ("1=real", 0, "1 of 1 labels kept"),
            ("1=real", 0, "0 of 1 labels kept"),
            ("2=real", 2, "numbered from 1 to 1"),
            ("1=perhaps", 2, "verdicts are real"),
            ("1=false-alarm", 0, "TargetDown fired while scrapes failed"),
        ):
            words = ("prometheus", url, "--yes", "--say", say, "--as", "ann", "--reason", "we were off air")
            done = await asyncio.to_thread(tonewatch, *words, **ours)
            assert (done.returncode, told in done.stderr) == (status, True), done.stderr
    async with warehouse.as_tenant(tenant) as db:
        label, second = await labels.of_subject(tenant, db, hindsight.SUBJECT)
        shown = await evidence.get(tenant, db, label.subject)
        line = next(each for each in await audit.read(tenant, db, 10) if each.what == "backtest.label")
    assert (label.value, label.who, label.reason) == ("verdict:real", "ann", "we were off air")
    assert shown is not None
    assert json.loads(shown.content)["entities"] == ["component:radio/edge-1-9100"]
    assert line.after == {label.subject: "verdict:false-alarm"}
    assert second.value == "verdict:false-alarm"


@needs_prometheus
async def test_a_false_alarm_of_the_past_becomes_a_setting_with_which_it_is_not_told_again(
    tmp_path: Path, warehouse: Warehouse, tenant: str, database: Database
) -> None:
    ours = {
        "TONEWATCH_DATABASE_URL": database.app_url,
        "TONEWATCH_TENANT": tenant,
        "TONEWATCH_STATE_DIR": str(tmp_path / "state"),
    }
    async with prometheus(tmp_path, broken=True, failing=False) as url:
        words = ("prometheus", url, "--yes", "--say", "1=false-alarm", "--as", "ann")
        unsure = await asyncio.to_thread(tonewatch, *words, **ours)
        assert (unsure.returncode, "add --adapt" in unsure.stderr) == (0, True), unsure.stderr
        words = (*words, "--adapt")
        done = await asyncio.to_thread(tonewatch, *words, **ours)
        assert (done.returncode, "TargetDown told nothing but false alarms" in done.stderr) == (0, True), done.stderr
        again = await asyncio.to_thread(tonewatch, "prometheus", url, "--yes", "--json", **ours)
        assert json.loads(again.stdout)["incidents"] == []
    async with warehouse.as_tenant(tenant) as db:
        newest = (await settings_versions.history(tenant, db))[-2]
    assert newest.settings["ignored_alerts"] == ["TargetDown"]
    assert (newest.who, "false alarm" in newest.reason) == ("ann", True)


def test_one_after_the_other_is_asked_about_and_may_be_skipped() -> None:
    past = [PastIncident(OUTAGE[0], OUTAGE[0], OUTAGE[1], f"incident {n}", ("service:x",), ()) for n in range(3)]
    answers_given = iter(["f", "", "what?", "planned"])
    assert hindsight.asked(past, lambda _: next(answers_given)) == {1: "false-alarm", 3: "planned"}


@dataclass
class Answers:
    """Answers every request with `content` after `length` bytes of it were promised."""

    content: bytes
    length: int | None = None
    status: str = "200 OK"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        length = len(self.content) if self.length is None else self.length
        writer.write(f"HTTP/1.1 {self.status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n".encode())
        writer.write(self.content)
        await writer.drain()
        writer.close()


GOOD = {"status": "success", "data": {"version": "2.42.0"}}


@pytest.mark.parametrize(
    "given",
    [
        Answers(json.dumps(GOOD).encode()[:30], length=len(json.dumps(GOOD))),
        Answers(json.dumps(GOOD).encode()[:30]),
        Answers(b"<html>a page</html>"),
        Answers(json.dumps(GOOD).encode(), status="503 Service Unavailable"),
        Answers(b'{"status": "error", "error": "no"}'),
        Answers(b'{"status": "success", "data": {"resultType": "matrix", "result": [{"values": [["x"]]}]}}'),
        Answers(b'{"status": "success", "data": {"activeTargets": 7}}'),
        Answers(b'{"status": "success", "data": {"groups": [{"rules": [{"type": "alerting"}]}]}}'),
        Answers(b"[]"),
    ],
    ids=["half-a-body", "half-a-document", "page", "status", "error", "values", "targets", "rules", "list"],
)
async def test_what_is_no_whole_answer_of_a_prometheus_is_an_error_of_the_source(given: Answers) -> None:
    listener = await asyncio.start_server(given.serve, "127.0.0.1", 0)
    async with listener, client() as session:
        server = PrometheusServer(session, f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        asked: list[Callable[[], Any]] = [server.version, server.targets, server.alerting_rules]
        asked.append(lambda: server.raw("up", START, END))
        failed = 0
        for ask in asked:
            try:
                await ask()
            except SourceError:
                failed += 1
        assert failed >= 3 if given.content[:1] == b"[" else failed >= 1


async def test_an_address_that_is_none_or_where_nobody_is_ends_with_a_line() -> None:
    told = await asyncio.to_thread(tonewatch, "prometheus", "file:///etc/passwd", "--look")
    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    told = await asyncio.to_thread(tonewatch, "prometheus", f"http://127.0.0.1:{free_port()}", "--look")
    assert told.returncode == 1
    assert "cannot be reached" in told.stderr


class Part:
    """A part of a platform that Prometheus scrapes; `end` is its crash."""

    def __init__(self) -> None:
        self.port = free_port()

    async def start(self) -> None:
        exposition = Answers(b"# TYPE plays counter\nplays_total 1\n")
        self._listener = await asyncio.start_server(exposition.serve, "127.0.0.1", self.port)

    async def end(self) -> None:
        self._listener.close()
        await self._listener.wait_closed()


@needs_prometheus
async def test_each_sample_of_a_connected_prometheus_is_read_once_also_by_an_heir(tmp_path: Path) -> None:
    part = Part()
    await part.start()
    began = datetime.now(UTC)
    read: list[Sample] = []
    async with running(tmp_path, {"scrape_configs": [job("radio", part.port)]}) as url:
        profile = load_profile("demo").model_copy(update={"sources": Sources(prometheus=PrometheusSource(url=url))})
        collector = Collector(profile, SYSTEM, "")

        async def enough() -> bool:
            await collector.read_prometheus()
            read.extend(collector.drain())
            return sum(sample.series.entity.startswith("component:") for sample in read) >= 4

        await until(enough, 60, "samples are read")
        assert [sample.value for sample in read if sample.series.metric == SERIES_READ][-1] >= 1.0
        heir = Collector(profile, SYSTEM, "")
        heir.resume(json.loads(json.dumps(collector.positions())), read)  # the warehouse gives it what was read
        await collector.close()
        collector, wanted = heir, len(read) + 8

        async def more() -> bool:
            return await enough() and len(read) >= wanted

        await until(more, 60, "the heir reads on")
        async with client() as session:
            held = await PrometheusServer(session, url).raw("up", began - timedelta(minutes=5), datetime.now(UTC))
        await collector.close()
    times = [round(each.time.timestamp() * 1000) for each in read if each.series.entity.startswith("component:")]
    assert len(times) == len(set(times))
    assert set(times) == {time for line in held for time in line.times if time <= max(times)}
    assert {each.series.entity for each in read} == {f"component:radio/127.0.0.1-{part.port}", "service:prometheus"}


@needs_prometheus
async def test_without_an_inventory_a_connected_prometheus_is_watched_as_soon_as_it_stands_in_the_settings(
    tmp_path: Path, warehouse: Warehouse, tenant: str, database: Database
) -> None:
    part, other = Part(), Part()
    await part.start()
    await other.start()
    settings = Settings(
        state_dir=tmp_path / "state",
        tenant=tenant,
        profile="demo",
        database_url=SecretStr(database.app_url),
        dispatcher_database_url=SecretStr(database.dispatcher_url),
        ai_anomaly_detection=False,
    )
    nobody = f"http://127.0.0.1:{free_port()}/api"  # without Prefect the loop goes on
    watcher = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "console.watch",
        cwd=PROJECT,
        env=os.environ | to_environment(settings) | {"PREFECT_API_URL": nobody, "PREFECT_HOME": str(tmp_path)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    broken, ruled = (f"component:radio/127.0.0.1-{each.port}" for each in (part, other))
    rule = {"name": "played", "metric": "plays_total", "entity": ruled, "above": 0.5}  # not among the selectors

    async def seen() -> bool:
        async with warehouse.as_tenant(tenant) as db:
            now = SYSTEM.now()
            return bool(await samples.read(tenant, db, now - timedelta(minutes=5), now, entities=[broken]))

    async def opened(*wanted: str) -> bool:
        async with warehouse.as_tenant(tenant) as db:
            return [each.entities for each in await incidents.active(tenant, db)] == [(entity,) for entity in wanted]

    try:
        async with running(tmp_path, {"scrape_configs": [job("radio", part.port, other.port)]}) as url:
            await Tenancy(warehouse).change(tenant, Change(set=(f"sources.prometheus.url={url}",)), "ann", "")
            await until(seen, 60, "the source is read without a restart")
            await Tenancy(warehouse).change(tenant, Change(set=(f"rules=[{json.dumps(rule)}]",)), "ann", "")
            await until(lambda: opened(ruled), 60, "the tenant's own rule opens an incident")
            await part.end()
            await until(lambda: opened(ruled, broken), 60, "an outage opens another")
    finally:
        watcher.terminate()
        await watcher.wait()
        await other.end()

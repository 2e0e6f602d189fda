"""A real Prometheus that scrapes and remote-writes to a gateway, each a process that can be killed; and the comparison
of what Prometheus holds with what is in the warehouse.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from console.stack.postgres import EmbeddedPostgres
from gateway.naming import Naming
from gateway.remote_write import Labelled
from tests.ports import free_port
from tonewatch.clock import SYSTEM
from tonewatch.secrets import load_or_generate
from tonewatch.settings import Settings, to_environment
from warehouse import keys, samples, tenants
from warehouse.database import Warehouse
from warehouse.migrate import RolePasswords, create_database, migrate

PROMETHEUS = shutil.which("prometheus")
TENANT = "pushed"
#: (id of the series, microseconds since 1970) -> value
Held = dict[tuple[int, int], float]


async def until(holds: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    """Ask again and again: what is waited for happens in other processes."""
    try:
        async with asyncio.timeout(seconds):
            while not await holds():
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


@dataclass
class Pushed:
    """The three processes. `killed`: how often each was."""

    folder: Path
    postgres: EmbeddedPostgres
    warehouse: Warehouse
    settings: Settings
    key: str = field(repr=False)
    gateway: asyncio.subprocess.Process | None = None
    prometheus: asyncio.subprocess.Process | None = None
    prometheus_port: int = field(default_factory=free_port)
    killed: dict[str, int] = field(default_factory=lambda: {"gateway": 0, "postgres": 0})

    @property
    def gateway_url(self) -> str:
        """Where the gateway listens, also after it has been killed."""
        return f"http://127.0.0.1:{self.settings.gateway_port}"

    async def start_gateway(self) -> None:
        """Start it and wait until it is ready."""
        with (self.folder / "gateway.log").open("ab") as log:
            self.gateway = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway.api",
                env=os.environ | to_environment(self.settings),
                stdout=log,
                stderr=log,
            )
        await until(lambda: answers(f"{self.gateway_url}/ready"), 60, "the gateway is ready")

    async def start_prometheus(self, scrape: Sequence[dict[str, Any]], interval: str = "1s") -> None:
        """Have it scrape by these jobs and itself, and remote-write to the gateway."""
        assert PROMETHEUS is not None
        own = {"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{self.prometheus_port}"]}]}
        write = {
            "url": f"{self.gateway_url}/api/v1/write",
            "authorization": {"credentials": self.key},
            "queue_config": {"max_backoff": "2s", "batch_send_deadline": "1s"},
        }
        document = {
            "global": {"scrape_interval": interval},
            "scrape_configs": [*scrape, own],
            "remote_write": [write],
        }
        file = self.folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(document))
        with (self.folder / "prometheus.log").open("ab") as log:
            self.prometheus = await asyncio.create_subprocess_exec(
                PROMETHEUS,
                f"--config.file={file}",
                f"--web.listen-address=127.0.0.1:{self.prometheus_port}",
                f"--storage.tsdb.path={self.folder / 'tsdb'}",
                stdout=log,
                stderr=log,
            )
        await until(lambda: answers(f"http://127.0.0.1:{self.prometheus_port}/-/ready"), 60, "Prometheus is ready")

    async def kill_gateway(self) -> None:
        """kill -9, and start it again."""
        assert self.gateway is not None
        self.gateway.kill()
        await self.gateway.wait()
        self.killed["gateway"] += 1
        await self.start_gateway()

    async def kill_postgres(self) -> None:
        """kill -9 of the server's first process and all others, and start it again: it recovers from its log."""
        process = self.postgres.process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        self.killed["postgres"] += 1
        await asyncio.to_thread(self.postgres.start)

    async def asked(self, path: str, **query: str) -> Any:
        """An answer of Prometheus' API."""
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.get(f"http://127.0.0.1:{self.prometheus_port}/api/v1/{path}", params=query)
        answer.raise_for_status()
        return answer.json()["data"]

    async def held_by_prometheus(self, span: str, at: float) -> Held:
        """Every sample that it holds of the time before `at`."""
        found = await self.asked("query", query=f'{{__name__=~".+"}}[{span}]', time=str(at))
        naming, held = Naming(), {}
        for line in found["result"]:
            labels = dict(line["metric"])
            told = Labelled(labels.pop("__name__"), tuple(sorted(labels.items())))
            id_ = naming.series(told).id
            for seconds, value in line["values"]:
                number = float(value)
                if number - number == 0:  # NaN and infinity are taken, and not kept (docs/gateway.md)
                    held[id_, round(seconds * 1_000_000)] = number
        return held

    async def held_by_warehouse(self, since: datetime) -> list[tuple[int, int, float]]:
        """Every sample that it holds since then, with repetitions if there were any."""
        async with self.warehouse.as_tenant(TENANT) as db:
            found = await samples.read(TENANT, db, since, SYSTEM.now())
        return [(each.series.id, round(each.time.timestamp() * 1_000_000), each.value) for each in found]

    async def sent_until(self) -> float:
        """The time of the newest sample that every one of Prometheus' queues has had acknowledged."""
        found = await self.asked("query", query="min(prometheus_remote_storage_queue_highest_sent_timestamp_seconds)")
        return float(found["result"][0]["value"][1]) if found["result"] else 0.0

    async def missing(self, since: datetime, span: str) -> tuple[int, list[tuple[int, int]], int]:
        """Samples that Prometheus held a moment ago; those of them that the warehouse lacks; and repeated ones.

        Waits until Prometheus says that it has sent everything up to now.
        """
        now = SYSTEM.now().timestamp()

        async def sent() -> bool:
            return await self.sent_until() >= now

        await until(sent, 180, "Prometheus has sent what it held")
        # Its queues each tell their own newest sample; the last to arrive are those of the slowest.
        wanted = await self.held_by_prometheus(span, now)
        lacking: list[tuple[int, int]] = []

        async def arrived() -> bool:
            nonlocal lacking
            kept = {(id_, time): value for id_, time, value in await self.held_by_warehouse(since)}
            lacking = [key for key, value in wanted.items() if kept.get(key) != value]
            return not lacking

        with suppress(AssertionError):
            await until(arrived, 60, "everything is in the warehouse")
        rows = [(id_, time) for id_, time, _ in await self.held_by_warehouse(since)]
        return len(wanted), lacking, len(rows) - len(set(rows))


async def answers(url: str) -> bool:
    """Whether it answers with success."""
    async with httpx.AsyncClient(timeout=5) as client:
        try:
            return (await client.get(url)).status_code == 200
        except httpx.TransportError:
            return False


@asynccontextmanager
async def pushing(
    redis: Callable[[Path], AbstractAsyncContextManager[str]] | None = None,
) -> AsyncIterator[Pushed]:
    """A PostgreSQL and a gateway with a tenant and its key; Prometheus is started by who knows what it shall scrape.

    `redis` starts one in a folder, and gives its URL; without it the gateway has none.
    """
    async with AsyncExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="tw-pushed-"))
        folder.chmod(0o755)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        held = load_or_generate(folder)
        postgres = EmbeddedPostgres(folder, held.superuser)
        await asyncio.to_thread(postgres.start)
        stack.callback(postgres.stop)
        admin = create_database(postgres.url("postgres"), "tonewatch")
        await asyncio.to_thread(migrate, admin, RolePasswords(held.app, held.dispatcher))
        url = postgres.url("tonewatch", "tonewatch_app", held.app)
        warehouse = Warehouse(url)
        stack.push_async_callback(warehouse.close)
        async with warehouse.as_tenant(TENANT) as db:
            await tenants.add(TENANT, db, name=TENANT, profile="platform", at=datetime.now(UTC))
            key = await keys.create(TENANT, db, purpose="prometheus", scopes=["metrics"], now=SYSTEM.now())
        redis_url = await stack.enter_async_context(redis(folder)) if redis is not None else None
        settings = Settings(
            state_dir=folder, database_url=url, redis_url=redis_url, gateway_port=free_port(), log_level="warning"
        )
        made = Pushed(folder, postgres, warehouse, settings, key)
        try:
            await made.start_gateway()
            yield made
        finally:
            for process in (made.prometheus, made.gateway):
                if process is not None and process.returncode is None:
                    process.terminate()
                    await process.wait()

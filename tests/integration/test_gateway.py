"""The gateway as a process of its own, before a real PostgreSQL and a real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest

from console.stack.postgres import EmbeddedPostgres
from console.stack.redis import answers, program, socket_url, write_configuration
from gateway.api.door import PER_SECONDS
from tests.ports import free_port
from tonewatch.records import Change
from tonewatch.secrets import Secrets, load_or_generate
from tonewatch.settings import Settings, load_profile, to_environment
from warehouse import changes, keys, sessions, tenants
from warehouse.cache import Cache
from warehouse.database import Warehouse
from warehouse.migrate import RolePasswords, create_database, migrate

pytestmark = pytest.mark.integration
SID = "6e2fb550-c457-11e9-bb97-0800200c9a66"


@dataclass(frozen=True)
class Stage:
    """What the tests stand on."""

    folder: Path
    secrets: Secrets
    postgres: EmbeddedPostgres
    database_url: str = field(repr=False)

    @property
    def log(self) -> Path:
        return self.folder / "gateway.log"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="tw-gateway-"))  # pytest's own folders are closed to PostgreSQL's user
    folder.chmod(0o755)
    secrets = load_or_generate(folder)
    postgres = EmbeddedPostgres(folder, secrets.superuser)
    try:
        postgres.start()
        create_database(postgres.url("postgres"), "tonewatch")
        migrate(postgres.url("tonewatch"), RolePasswords(secrets.app, secrets.dispatcher))
        yield Stage(folder, secrets, postgres, postgres.url("tonewatch", "tonewatch_app", secrets.app))
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def warehouse(stage: Stage) -> AsyncIterator[Warehouse]:
    warehouse = Warehouse(stage.database_url)
    yield warehouse
    await warehouse.close()


@pytest.fixture(scope="module")
def redis_url(stage: Stage) -> Iterator[str]:
    """A Redis of the test's own."""
    listener = stage.folder / "redis.sock"
    configuration = write_configuration(stage.folder / "redis", listener, stage.secrets.redis)
    process = subprocess.Popen([program(), configuration], stdout=subprocess.DEVNULL)
    for _ in range(100):  # it tells nobody when it listens
        if asyncio.run(answers(listener, stage.secrets.redis)):
            break
        time.sleep(0.05)
    yield socket_url(listener, stage.secrets.redis)
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def gateway(stage: Stage, redis_url: str) -> Iterator[str]:
    port = free_port()
    settings = Settings(
        state_dir=stage.folder,
        database_url=stage.database_url,
        redis_url=redis_url,
        gateway_port=port,
        log_level="debug",
    )
    environment = {**os.environ, **to_environment(settings)}
    with stage.log.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "gateway.api"], env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, process)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:  # backs off between its attempts
        while process.poll() is None:
            with suppress(httpx.TransportError):
                assert client.get(f"{url}/ready", timeout=10).status_code == 200
                return
    raise AssertionError("the gateway ended")


@pytest.fixture
async def door(gateway: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gateway, timeout=20) as client:
        yield client


async def key_for(warehouse: Warehouse, tenant: str, scope: str = "beacons", expires: datetime | None = None) -> str:
    now = datetime.now(UTC)
    async with warehouse.as_tenant(tenant) as db:
        await tenants.add(tenant, db, name=tenant, profile="demo", at=now)
        return await keys.create(tenant, db, purpose="test", scopes=[scope], now=now, expires=expires)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "content-type": "application/cmcd"}


def line(sequence: int = 1, sid: str = SID, **more: object) -> str:
    now = int(datetime.now(UTC).timestamp() * 1000)
    pairs = {
        "v": 2,
        "e": "t",
        "ts": now,
        "sid": f'"{sid}"',
        "cid": '"ch1"',
        "cdn": '"edge-1"',
        "sta": "p",
        "sn": sequence,
    }
    pairs |= {"bsd": 0} | more
    return ",".join(f"{key}={value}" for key, value in pairs.items() if value is not None)


async def kept(warehouse: Warehouse, tenant: str) -> list[object]:
    async with warehouse.as_tenant(tenant) as db:
        return [*(await sessions.since(tenant, db, 0, 10_000))[0]]


async def until(attempt: Callable[[], Awaitable[int]], wanted: int, *, seconds: float) -> None:
    """Ask again and again, as a player does, since nothing tells when the answer changes."""
    for _ in range(int(seconds / 0.2)):
        if await attempt() == wanted:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"not {wanted} within {seconds} s")


async def test_a_beacon_is_committed_when_it_is_answered(warehouse: Warehouse, door: httpx.AsyncClient) -> None:
    key = await key_for(warehouse, "good")
    answer = await door.post("/v1/cmcd", content=f"{line(1)}\n{line(2, bsd=700)}\n", headers=bearer(key))
    assert (answer.status_code, answer.json()) == (200, {"accepted": 2, "refused": []})
    first, second = await kept(warehouse, "good")
    assert (first.channel, first.edge, first.state, first.sequence) == ("channel:ch1", "edge:edge-1", "p", 1)
    assert second.starved_ms == 700


async def test_a_repeated_beacon_is_kept_once(warehouse: Warehouse, door: httpx.AsyncClient) -> None:
    key = await key_for(warehouse, "repeats")
    beacon = line(5)
    for _ in range(2):
        assert (await door.post("/v1/cmcd", content=f"{beacon}\n{beacon}", headers=bearer(key))).status_code == 200
    assert len(await kept(warehouse, "repeats")) == 1


async def test_the_good_lines_of_a_batch_are_kept_and_the_bad_ones_named(
    warehouse: Warehouse, door: httpx.AsyncClient
) -> None:
    key = await key_for(warehouse, "mixed")
    body = "\n".join([line(1), line(2, bsd=-5), "garbage \x01", line(3, cid=7), line(4, sid=""), "", line(6)])
    answer = await door.post("/v1/cmcd", content=body.encode(), headers=bearer(key))
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 2
    refused = {each["line"]: each["reason"] for each in answer.json()["refused"]}
    assert set(refused) == {2, 3, 4, 5}
    assert refused[2] == "bsd is negative: a duration cannot be"
    assert [report.sequence for report in await kept(warehouse, "mixed")] == [1, 6]


@pytest.mark.parametrize(
    "body",
    [
        "bsd=-1",
        line(1, bsd=-1),
        line(1, ts=12),
        line(1, ts=int((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1000)),
        line(1, ts=int((datetime.now(UTC) - timedelta(days=4)).timestamp() * 1000)),
        line(1, e="nonsense"),
        line(1, sn=None),
        "\u00fc" + line(1),
        '{"sid": "json"}',
        "\x00" * 100,
    ],
)
async def test_a_body_without_a_good_line_is_refused_with_reasons(
    warehouse: Warehouse, door: httpx.AsyncClient, body: str
) -> None:
    key = await key_for(warehouse, "bad")
    answer = await door.post("/v1/cmcd", content=body.encode(), headers=bearer(key))
    assert answer.status_code == 400
    assert answer.json()["accepted"] == 0
    assert answer.json()["refused"][0]["reason"]
    assert await kept(warehouse, "bad") == []


@pytest.mark.parametrize(("body", "status"), [(b"", 400), (b"\n \n", 400), (b"x" * 65_537, 413), (b"a\n" * 1001, 413)])
async def test_an_empty_or_oversize_body_is_refused(
    warehouse: Warehouse, door: httpx.AsyncClient, body: bytes, status: int
) -> None:
    key = await key_for(warehouse, "bad")
    answer = await door.post("/v1/cmcd", content=body, headers=bearer(key))
    assert answer.status_code == status
    assert answer.json()["error"]


async def test_a_body_without_a_length_is_given_up_at_the_limit(warehouse: Warehouse, door: httpx.AsyncClient) -> None:
    key = await key_for(warehouse, "bad")
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 200_000_000:
            sent += 65_536
            yield b"x" * 65_536

    with suppress(httpx.WriteError, httpx.ReadError):  # the gateway may close while we still talk
        answer = await door.post("/v1/cmcd", content=endless(), headers=bearer(key))
        assert answer.status_code == 413
    assert sent < 100_000_000


@pytest.mark.parametrize("header", [{"content-encoding": "gzip"}, {"content-type": "application/json"}])
async def test_a_body_of_another_kind_is_refused(
    warehouse: Warehouse, door: httpx.AsyncClient, header: dict[str, str]
) -> None:
    key = await key_for(warehouse, "bad")
    assert (await door.post("/v1/cmcd", content=line(), headers=bearer(key) | header)).status_code == 415


async def test_a_wrong_expired_or_unfit_key_is_refused(warehouse: Warehouse, door: httpx.AsyncClient) -> None:
    now = datetime.now(UTC)
    good = await key_for(warehouse, "keys")
    for key in (
        good[:-4] + "AAAA",
        good.replace("tw_keys_", "tw_good_"),
        good.replace("tw_keys_", "tw_nobody_"),
        await key_for(warehouse, "keys", scope="viewer"),
        await key_for(warehouse, "keys", expires=now - timedelta(seconds=1)),
    ):
        answer = await door.post("/v1/cmcd", content=line(), headers=bearer(key))
        assert answer.status_code == 401
        assert key not in answer.text
    assert await kept(warehouse, "keys") == []


async def test_a_revoked_key_works_for_a_few_seconds_at_most(warehouse: Warehouse, door: httpx.AsyncClient) -> None:
    key = await key_for(warehouse, "revoked")
    assert (await door.post("/v1/cmcd", content=line(), headers=bearer(key))).status_code == 200
    async with warehouse.as_tenant("revoked") as db:
        holder = await keys.verify(warehouse, key, datetime.now(UTC), "beacons")
        assert holder is not None
        await keys.revoke("revoked", db, holder.key_id, datetime.now(UTC))

    async def send() -> int:
        return (await door.post("/v1/cmcd", content=line(), headers=bearer(key))).status_code

    await until(send, 401, seconds=5)


async def test_a_raw_session_id_is_in_no_table_and_no_log(
    stage: Stage, warehouse: Warehouse, door: httpx.AsyncClient
) -> None:
    key = await key_for(warehouse, "private")
    body = "\n".join([line(1), line(2, bsd=-1), f'sid="{SID}",{line(3)}', f"{SID}={SID}", SID])
    answer = await door.post("/v1/cmcd", content=body, headers=bearer(key))
    assert SID not in answer.text
    with psycopg.connect(stage.postgres.url("tonewatch")) as admin:
        names = admin.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
        )
        for (name,) in names.fetchall():
            assert SID not in str(admin.execute(f'select * from "{name}"').fetchall())
    assert SID not in stage.log.read_text()
    assert secrets_in(stage.log.read_text(), stage.secrets) == []
    (report,) = await kept(warehouse, "private")
    assert re.fullmatch(r"[0-9a-f]{32}", report.session)


def secrets_in(text: str, secrets: Secrets) -> list[str]:
    return [name for name, value in vars(secrets).items() if value in text]


async def test_the_same_session_has_another_pseudonym_for_another_tenant(
    warehouse: Warehouse, door: httpx.AsyncClient
) -> None:
    pseudonyms = set()
    for tenant in ("one", "two"):
        await door.post("/v1/cmcd", content=line(), headers=bearer(await key_for(warehouse, tenant)))
        pseudonyms |= {report.session for report in await kept(warehouse, tenant)}
    assert len(pseudonyms) == 2


async def test_the_live_picture_needs_a_viewers_key(
    warehouse: Warehouse, door: httpx.AsyncClient, redis_url: str
) -> None:
    beacons, viewer = await key_for(warehouse, "live"), await key_for(warehouse, "live", scope="viewer")
    assert (await door.get("/v1/live")).status_code == 401
    assert (await door.get("/v1/live", headers=bearer(beacons))).status_code == 401
    answer = await door.get("/v1/live", headers=bearer(viewer))
    assert (answer.status_code, "error" in answer.json()) == (404, True)  # no watcher has drawn one yet
    cache = Cache(redis_url)
    await cache.put_live("live", {"tick": 7})
    await cache.put_live("other", {"tick": 8})
    await cache.close()
    assert (await door.get("/v1/live", headers=bearer(viewer))).json() == {"tick": 7}


async def test_a_tenant_over_its_rate_is_put_off_and_no_other(
    warehouse: Warehouse, door: httpx.AsyncClient, redis_url: str
) -> None:
    key, other = await key_for(warehouse, "flood"), await key_for(warehouse, "calm")
    cache = Cache(redis_url)
    most = load_profile("demo").quotas.requests
    for _ in range(most):  # the flood, without its bodies
        await cache.allow("flood", "beacons", most, PER_SECONDS)
    await cache.close()
    answer = await door.post("/v1/cmcd", content=line(), headers=bearer(key))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, str(PER_SECONDS))
    assert (await door.post("/v1/cmcd", content=line(), headers=bearer(other))).status_code == 200
    assert await kept(warehouse, "flood") == []


def change(id_: str = "deploy-1", **more: object) -> dict[str, object]:
    now = datetime.now(UTC)
    told = {"id": id_, "kind": "release", "entity": "component:packager", "started": now.isoformat(), "ended": None}
    return told | {"author": "ci", "summary": "packager 2.4"} | more


async def changes_of(warehouse: Warehouse, tenant: str) -> list[Change]:
    now = datetime.now(UTC)
    async with warehouse.as_tenant(tenant) as db:
        return await changes.read(tenant, db, now - timedelta(hours=1), now + timedelta(hours=1))


def announcer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_a_change_is_committed_when_it_is_answered(warehouse: Warehouse, door: httpx.AsyncClient) -> None:
    key = await key_for(warehouse, "releases", scope="changes")
    answer = await door.post("/v1/changes", json=change(), headers=announcer(key))
    assert (answer.status_code, answer.json()) == (200, {"accepted": 1})
    (kept_change,) = await changes_of(warehouse, "releases")
    assert (kept_change.id, kept_change.kind, kept_change.entity) == ("deploy-1", "release", "component:packager")
    more = [change("deploy-2"), change("deploy-3", kind="maintenance")]
    assert (await door.post("/v1/changes", json=more, headers=announcer(key))).json() == {"accepted": 2}
    assert len(await changes_of(warehouse, "releases")) == 3


async def test_the_same_change_again_replaces_what_was_told(warehouse: Warehouse, door: httpx.AsyncClient) -> None:
    key = await key_for(warehouse, "updates", scope="changes")
    ended = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    for told in (change(), change(), change(ended=ended, summary="done")):
        assert (await door.post("/v1/changes", json=told, headers=announcer(key))).status_code == 200
    (kept_change,) = await changes_of(warehouse, "updates")
    assert (kept_change.summary, kept_change.ended) == ("done", datetime.fromisoformat(ended))


async def test_changes_with_one_fault_among_them_are_not_kept(warehouse: Warehouse, door: httpx.AsyncClient) -> None:
    key = await key_for(warehouse, "faulty", scope="changes")
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    answer = await door.post("/v1/changes", json=[change(), change("two", ended=past)], headers=announcer(key))
    assert answer.status_code == 400
    assert answer.json() == {"accepted": 0, "refused": [{"change": 2, "reason": "ended is before started"}]}
    assert await changes_of(warehouse, "faulty") == []


async def test_a_change_needs_a_key_for_changes(warehouse: Warehouse, door: httpx.AsyncClient) -> None:
    beacons = await key_for(warehouse, "changeless")
    announces = await key_for(warehouse, "changeless", scope="changes")
    assert (await door.post("/v1/changes", json=change())).status_code == 401
    assert (await door.post("/v1/changes", json=change(), headers=announcer(beacons))).status_code == 401
    assert (await door.post("/v1/cmcd", content=line(), headers=bearer(announces))).status_code == 401
    assert await changes_of(warehouse, "changeless") == []


@pytest.mark.parametrize(
    ("body", "further", "status"),
    [
        (b"", {}, 400),
        (b"{", {}, 400),
        (b"[" * 60_000, {}, 400),
        (b'"' + b"x" * 70_000 + b'"', {}, 413),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"content-encoding": "gzip"}, 415),
    ],
)
async def test_a_body_that_is_no_change_is_refused(
    warehouse: Warehouse, door: httpx.AsyncClient, body: bytes, further: dict[str, str], status: int
) -> None:
    key = await key_for(warehouse, "unfit", scope="changes")
    headers = announcer(key) | {"content-type": "application/json"} | further
    answer = await door.post("/v1/changes", content=body, headers=headers)
    assert (answer.status_code, "error" in answer.json()) == (status, True)


async def test_logs_are_json_and_metrics_count_lines(stage: Stage, door: httpx.AsyncClient) -> None:
    for each in stage.log.read_text().splitlines():
        assert {"event", "level", "time"} <= set(json.loads(each))
    text = (await door.get("/metrics")).text
    accepted = re.search(r'beacon_lines_total\{outcome="accepted"\} (\d+)', text)
    assert accepted is not None
    assert int(accepted.group(1)) >= 1


async def test_many_players_at_once_are_all_taken(warehouse: Warehouse, door: httpx.AsyncClient) -> None:
    key = await key_for(warehouse, "crowd")
    answers = await asyncio.gather(
        *(door.post("/v1/cmcd", content=line(1, sid=f"player-{n}"), headers=bearer(key)) for n in range(100))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len(await kept(warehouse, "crowd")) == 100


async def test_a_database_that_goes_and_comes_back_loses_no_beacon_that_was_taken(
    stage: Stage, warehouse: Warehouse, door: httpx.AsyncClient
) -> None:
    key = await key_for(warehouse, "outage")
    taken: list[int] = []

    async def send(sequence: int) -> int:
        answer = await door.post("/v1/cmcd", content=line(sequence), headers=bearer(key))
        taken.extend([sequence] if answer.status_code == 200 else [])
        return answer.status_code

    assert await send(1) == 200
    await asyncio.to_thread(stage.postgres.stop)
    assert await send(2) == 503
    assert (await door.get("/ready")).status_code == 503
    assert (await door.get("/health")).status_code == 200
    await asyncio.to_thread(stage.postgres.start)
    await until(lambda: send(3), 200, seconds=20)
    assert await send(2) == 200
    assert [report.sequence for report in await kept(warehouse, "outage")] == taken == [1, 3, 2]


def test_a_gateway_on_a_taken_port_says_so_and_ends(stage: Stage, gateway: str) -> None:
    port = int(gateway.rpartition(":")[2])
    settings = Settings(state_dir=stage.folder, database_url=stage.database_url, gateway_port=port)
    run = subprocess.run(
        [sys.executable, "-m", "gateway.api"],
        env={**os.environ, **to_environment(settings)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 1
    assert f"port {port} is taken" in run.stderr
    assert "Traceback" not in run.stderr

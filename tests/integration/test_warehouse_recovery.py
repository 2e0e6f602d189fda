"""PostgreSQL goes away and comes back: the same Warehouse says so, and then works again by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import text

from console.stack.postgres import EmbeddedPostgres
from tests.conftest import BEGINNING, make_database
from tonewatch.errors import SettingsError, WarehouseAway, WarehouseError
from tonewatch.settings import read
from warehouse import tenants
from warehouse.database import APP_CONNECTIONS, Warehouse
from warehouse.migrate import RolePasswords


@pytest.fixture
def server(new_postgres: Callable[[], EmbeddedPostgres]) -> EmbeddedPostgres:
    return new_postgres()


@pytest.fixture
async def store(server: EmbeddedPostgres) -> AsyncIterator[Warehouse]:
    made = make_database(server, RolePasswords(app="a", dispatcher="d"))
    store = Warehouse(made.app_url, made.dispatcher_url)
    yield store
    await store.close()


async def add(store: Warehouse, name: str) -> None:
    async with store.as_tenant(name) as db:
        await tenants.add(name, db, name=name, profile="demo", at=BEGINNING)


async def test_the_warehouse_works_again_after_postgresql_was_away(server: EmbeddedPostgres, store: Warehouse) -> None:
    await asyncio.gather(*(add(store, f"tenant-{number}") for number in range(APP_CONNECTIONS)))
    server.stop()
    for ask in (store.as_tenant("tenant-1"), store.as_dispatcher()):
        with pytest.raises(WarehouseAway, match="cannot be reached"):
            async with asyncio.timeout(10), ask:
                pytest.fail("it opened")
    server.start()
    await asyncio.gather(*(add(store, f"later-{number}") for number in range(APP_CONNECTIONS)))
    async with store.as_dispatcher() as db:
        assert len(await tenants.slugs(db)) == 2 * APP_CONNECTIONS


async def test_a_restart_between_two_transactions_is_not_noticed(server: EmbeddedPostgres, store: Warehouse) -> None:
    await add(store, "before")
    server.stop()
    server.start()
    await add(store, "after")


async def test_a_transaction_cut_off_in_the_middle_keeps_nothing(server: EmbeddedPostgres, store: Warehouse) -> None:
    with pytest.raises(WarehouseAway, match="cannot be reached"):  # noqa: PT012 - the end of the transaction raises
        async with store.as_tenant("half") as db:
            await tenants.add("half", db, name="half", profile="demo", at=BEGINNING)
            server.stop()
            await tenants.get("half", db)
    server.start()
    async with store.as_dispatcher() as db:
        assert await tenants.slugs(db) == []


async def test_a_statement_that_lasts_too_long_is_given_up(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseAway, match="gave up"):  # noqa: PT012 - the end of the transaction raises
        async with warehouse.as_tenant("demo") as db:
            await db.execute(text("set local statement_timeout = '50ms'"))
            await db.execute(text("select pg_sleep(10)"))


async def test_errors_tell_no_values_of_rows(warehouse: Warehouse) -> None:
    await add(warehouse, "demo")
    with pytest.raises(WarehouseError) as raised:  # noqa: PT012 - the end of the transaction raises
        async with warehouse.as_tenant("demo") as db:
            insert = text("insert into label values (:tenant, :secret, '', '', '', '', '', :at)")
            for _ in range(2):
                await db.execute(insert, {"tenant": "demo", "secret": "a secret", "at": BEGINNING})
    told = f"{raised.value} {raised.value.__cause__.__class__}"
    assert "duplicate key" in told
    assert "a secret" not in told


async def test_an_error_of_the_callers_own_goes_through_as_it_is(warehouse: Warehouse) -> None:
    with pytest.raises(ZeroDivisionError):
        async with warehouse.as_tenant("demo"):
            raise ZeroDivisionError


async def test_a_task_that_is_cancelled_gives_its_connection_back(warehouse: Warehouse) -> None:
    async def wait() -> None:
        async with warehouse.as_tenant("demo") as db:
            await db.execute(text("select pg_sleep(30)"))

    for _ in range(APP_CONNECTIONS + 1):
        task = asyncio.create_task(wait())
        await asyncio.wait({task}, timeout=0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(5):
        await add(warehouse, "demo")


async def test_a_warehouse_without_its_urls_says_which_are_missing(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(SettingsError, match="TONEWATCH_DATABASE_URL"):
        Warehouse.from_settings(read({}))
    with pytest.raises(SettingsError, match="only postgresql"):
        Warehouse("mysql://user:word@host/name")
    store = Warehouse.from_settings(read({"TONEWATCH_DATABASE_URL": postgres.url("postgres")}))
    with pytest.raises(WarehouseError, match="TONEWATCH_DISPATCHER_DATABASE_URL"):
        async with store.as_dispatcher():
            pytest.fail("it opened")
    await store.close()

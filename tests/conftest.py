"""Real servers for every test that asks for one: one PostgreSQL for the whole run, a fresh database per module.

Imports of our rooms are in the fixtures, so that a unit test does not wait for them.
"""

from __future__ import annotations

import itertools
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from console.stack.postgres import EmbeddedPostgres
    from warehouse.database import Warehouse
    from warehouse.migrate import RolePasswords

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What lasts for minutes begins first, or one of two workers ends alone with it; then files with many tests.

    xdist would begin with the most tests, and the acceptance test is one. `make test` tells it to leave the order.
    """
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.get_closest_marker("acceptance") is None, -tests[item.path]))


@dataclass(frozen=True)
class Database:
    """A database with the schema at head."""

    name: str
    admin_url: str
    app_url: str
    dispatcher_url: str


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The PostgreSQL of this test run."""
    with _servers() as start:
        yield start()


@pytest.fixture
def new_postgres() -> Iterator[Callable[[], EmbeddedPostgres]]:
    """Starts further PostgreSQLs, for tests that stop theirs or need its roles for themselves."""
    with _servers() as start:
        yield start


@pytest.fixture(scope="session")
def passwords() -> RolePasswords:
    """Roles belong to the whole server: all databases of the run share them."""
    from warehouse.migrate import RolePasswords

    return RolePasswords(app=secrets.token_urlsafe(), dispatcher=secrets.token_urlsafe())


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres, passwords: RolePasswords) -> Iterator[Database]:
    """A migrated database for this module alone."""
    made = make_database(postgres, passwords)
    yield made
    drop_database(postgres, made.name)


@pytest.fixture
async def warehouse(database: Database) -> AsyncIterator[Warehouse]:
    """The module's warehouse, as the app and the dispatcher reach it."""
    from warehouse.database import Warehouse

    made = Warehouse(database.app_url, database.dispatcher_url)
    yield made
    await made.close()


@pytest.fixture
async def tenant(warehouse: Warehouse) -> str:
    """The name of a tenant that nobody else has written for."""
    return await new_tenant(warehouse)


async def new_tenant(warehouse: Warehouse) -> str:
    """Add a further tenant; gives its name."""
    from warehouse import tenants

    name = f"tenant-{next(_numbers)}"
    async with warehouse.as_tenant(name) as db:
        await tenants.add(name, db, name=name, profile="demo", at=BEGINNING)
    return name


def make_database(server: EmbeddedPostgres, passwords: RolePasswords) -> Database:
    """Make a migrated database on `server`."""
    from warehouse.migrate import create_database, migrate

    name = f"warehouse_{next(_numbers)}"
    admin_url = create_database(server.url("postgres"), name)
    migrate(admin_url, passwords)
    app_url = server.url(name, "tonewatch_app", passwords.app)
    return Database(name, admin_url, app_url, server.url(name, "tonewatch_dispatcher", passwords.dispatcher))


def drop_database(server: EmbeddedPostgres, name: str) -> None:
    """Drop the database, whoever is still in it."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


class _servers:  # noqa: N801 - used as a function
    """Starts PostgreSQLs in folders of their own, and ends and removes them all."""

    def __init__(self) -> None:
        self._started: list[EmbeddedPostgres] = []

    def __enter__(self) -> Callable[[], EmbeddedPostgres]:
        return self._start

    def __exit__(self, *_: object) -> None:
        for server in self._started:
            server.stop()
            shutil.rmtree(server.state_dir, ignore_errors=True)

    def _start(self) -> EmbeddedPostgres:
        from console.stack.postgres import EmbeddedPostgres

        # Not pytest's tmp_path: its parents are closed to the user that PostgreSQL runs as when we are root.
        folder = Path(tempfile.mkdtemp(prefix="tonewatch-test-"))
        folder.chmod(0o711)
        server = EmbeddedPostgres(folder, secrets.token_urlsafe())
        self._started.append(server)
        server.start()
        return server

"""The two ways into the database: as one tenant, or as the dispatcher who looks across tenants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tonewatch.errors import SettingsError, UnknownTenant, WarehouseError
from tonewatch.records import TENANT_SLUG
from tonewatch.settings import Settings
from warehouse.failures import translated
from warehouse.links import driver_url

#: What the other rooms write where they hand a connection on.
Connection = AsyncConnection

APP_CONNECTIONS = 5
DISPATCHER_CONNECTIONS = 2
POOL_TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 5
#: A transaction that does nothing for so long is ended: its process hangs, and others wait for what it has locked.
IDLE_S = 120

# All local to the transaction, so that nothing stays on a pooled connection (a session SET would).
BEGIN = text("""
    select set_config('app.tenant', :tenant, true), set_config('timezone', 'UTC', true),
        set_config('statement_timeout', '60s', true), set_config('lock_timeout', '10s', true),
        set_config('idle_in_transaction_session_timeout', :idle, true)
""")


class Warehouse:
    """Pools of connections to one PostgreSQL. Connects when first asked, and again after PostgreSQL was away.

    idle_s: after how many idle seconds a transaction is ended.
    """

    def __init__(self, app_url: str, dispatcher_url: str | None = None, *, idle_s: int = IDLE_S) -> None:
        self._idle = f"{idle_s}s"
        self._app = _engine(app_url, APP_CONNECTIONS)
        self._dispatcher = _engine(dispatcher_url, DISPATCHER_CONNECTIONS) if dispatcher_url else None

    @classmethod
    def from_settings(cls, settings: Settings) -> Warehouse:
        """The warehouse that the settings name. Raises SettingsError: there is no database_url."""
        if settings.database_url is None:
            raise SettingsError(
                "database_url is not set: start the stack with `tonewatch up`, or set TONEWATCH_DATABASE_URL"
            )
        dispatcher = settings.dispatcher_database_url
        return cls(settings.database_url.get_secret_value(), dispatcher.get_secret_value() if dispatcher else None)

    async def close(self) -> None:
        """Close every connection."""
        await self._app.dispose()
        if self._dispatcher is not None:
            await self._dispatcher.dispose()

    @asynccontextmanager
    async def as_tenant(self, tenant: str) -> AsyncIterator[AsyncConnection]:
        """A transaction that sees and writes `tenant`'s rows alone; commits at the end, rolls back on an error.

        Raises UnknownTenant: no tenant can have that name; WarehouseAway; WarehouseError.
        """
        if not TENANT_SLUG.fullmatch(tenant):
            raise UnknownTenant(f"{tenant!r} is no tenant name: 1 to 40 of a-z, 0-9 and -")
        with translated():
            async with self._app.begin() as db:
                await db.execute(BEGIN, {"tenant": tenant, "idle": self._idle})
                yield db

    @asynccontextmanager
    async def as_dispatcher(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that finds what is due over all tenants and leases it, and can do nothing else.

        Raises WarehouseAway; WarehouseError, also when there is no dispatcher_url.
        """
        if self._dispatcher is None:
            raise WarehouseError("no dispatcher here: set TONEWATCH_DISPATCHER_DATABASE_URL")
        with translated():
            async with self._dispatcher.begin() as db:
                await db.execute(BEGIN, {"tenant": "", "idle": self._idle})
                yield db


def _engine(url: str, connections: int) -> AsyncEngine:
    return create_async_engine(
        driver_url(url),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "tonewatch"},
    )

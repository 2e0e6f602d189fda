"""Makes roles and databases and brings the schema to the code's version. Runs as an administrator, never as the app.

`python -m warehouse.migrate` does it for the databases that the settings name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, NullPool, create_engine, make_url, text

from tonewatch import settings as settings_module
from tonewatch.errors import SettingsError, TonewatchError, WarehouseError
from tonewatch.settings import Settings
from warehouse.failures import translated
from warehouse.links import driver_url, plain_url, with_database

OWNER = "tonewatch_owner"
APP = "tonewatch_app"
DISPATCHER = "tonewatch_dispatcher"

UNREGISTERED = """
with known as (
    select c.relname::text as table_name, a.attname::text as column_name
    from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      and a.attnum > 0 and not a.attisdropped
)
select coalesce(known.table_name, r.table_name) || '.' || coalesce(known.column_name, r.column_name) as name
from known full join column_registry r using (table_name, column_name)
where known.table_name is null or r.table_name is null
order by 1
"""

ROLES_TOO_STRONG = """
select r.rolname from pg_catalog.pg_roles r
where r.rolname = any(%s) and (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb or r.rolreplication)
"""


@dataclass(frozen=True, slots=True)
class RolePasswords:
    """Passwords of the two roles that log in; not shown when printed."""

    app: str = field(repr=False)
    dispatcher: str = field(repr=False)


def create_role(admin_url: str, name: str, password: str | None) -> None:
    """Make the role `name`, or set its password; without a password it can not log in.

    Only the password's SCRAM verifier is sent: the password itself reaches no log of the server.

    Raises WarehouseAway, WarehouseError.
    """
    with _administrator(admin_url) as connection:
        _role(connection, name, password)


def create_database(admin_url: str, name: str, owner: str | None = None) -> str:
    """Make the database `name` unless it is there, shut to all but its owner; gives its URL for the same administrator.

    Raises WarehouseAway, WarehouseError.
    """
    with _administrator(admin_url) as connection:
        if owner is not None:
            _may_become(connection, owner)
        if connection.execute("select from pg_catalog.pg_database where datname = %s", [name]).fetchone() is None:
            statement = sql.SQL("create database {} template template0 encoding 'UTF8'").format(sql.Identifier(name))
            if owner is not None:
                statement += sql.SQL(" owner {}").format(sql.Identifier(owner))
            connection.execute(statement)
        connection.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(name)))
    return with_database(admin_url, name)


def migrate(admin_url: str, passwords: RolePasswords) -> None:
    """Make the roles and bring the schema of the database in `admin_url` to head; harmless when it is there already.

    Raises WarehouseAway; WarehouseError: no right to do it, a schema of a newer Tonewatch, an unregistered column.
    """
    with _administrator(admin_url) as connection:
        # Of two that start at once, PostgreSQL would refuse one that alters the same role. Ends with the connection.
        connection.execute("select pg_advisory_lock(hashtextextended('tonewatch roles', 0))")
        _roles(connection, passwords)
        _let_in(connection)
    with as_owner(admin_url) as owner:
        _refuse_newer_schema(owner)
        command.upgrade(_alembic(owner), "head")
        _refuse_unregistered_columns(owner)


def downgrade(admin_url: str, revision: str = "base") -> None:
    """Take the schema back to `revision`, with the content of what that takes away. For developers."""
    with as_owner(admin_url) as owner:
        command.downgrade(_alembic(owner), revision)


@contextmanager
def _administrator(url: str) -> Iterator[psycopg.Connection]:
    with translated(), psycopg.connect(plain_url(url), autocommit=True, connect_timeout=10) as connection:
        yield connection


@contextmanager
def as_owner(url: str) -> Iterator[Connection]:
    """A transaction as the owner of the tables, while nobody else is at the schema.

    Raises WarehouseAway, WarehouseError.
    """
    engine = create_engine(driver_url(url), poolclass=NullPool, connect_args={"connect_timeout": 10})
    try:
        with translated(), engine.begin() as connection:
            connection.execute(text(f"set local role {OWNER}"))
            # Two that start at once: the second waits, then finds nothing left to do.
            connection.execute(text("select pg_advisory_xact_lock(hashtextextended('tonewatch migrate', 0))"))
            yield connection
    finally:
        engine.dispose()


def _alembic(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _refuse_newer_schema(connection: Connection) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_alembic(connection)).walk_revisions()}
    unknown = set(MigrationContext.configure(connection).get_current_heads()) - known
    if unknown:
        raise WarehouseError(
            f"the warehouse's schema is at {', '.join(sorted(unknown))}, which this version of Tonewatch does not know "
            f"(it knows up to {max(known)}): a newer one has been here. Install that one, or restore an older backup."
        )


def _refuse_unregistered_columns(connection: Connection) -> None:
    names = connection.execute(text(UNREGISTERED)).scalars().all()
    if names:
        raise WarehouseError(
            f"column_registry and the tables differ in {', '.join(names)}: the migration that adds or drops a column "
            "adds or drops its row in column_registry (purpose, retention, personal)."
        )


def _roles(connection: psycopg.Connection, passwords: RolePasswords) -> None:
    _role(connection, OWNER, None)
    _role(connection, APP, passwords.app)
    _role(connection, DISPATCHER, passwords.dispatcher)
    names = [OWNER, APP, DISPATCHER]
    strong = [row[0] for row in connection.execute(ROLES_TOO_STRONG, [names]).fetchall()]
    if strong:
        raise WarehouseError(
            f"{', '.join(strong)} may do too much and could see past row-level security; as a superuser run: "
            "alter role ... nosuperuser nobypassrls nocreaterole nocreatedb noreplication"
        )
    _may_become(connection, OWNER)


def _role(connection: psycopg.Connection, name: str, password: str | None) -> None:
    role = sql.Identifier(name)
    if connection.execute("select from pg_catalog.pg_roles where rolname = %s", [name]).fetchone() is None:
        connection.execute(sql.SQL("create role {} nologin noinherit").format(role))
    if password is None:
        return
    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("alter role {} login password {}").format(role, sql.Literal(verifier)))


def _may_become(connection: psycopg.Connection, role: str) -> None:
    # A superuser may; another administrator who made the role may let himself: become it, not inherit what it sees.
    finer = connection.info.server_version >= 160000
    row = connection.execute(
        "select pg_has_role(current_user, %s, %s)", [role, "set" if finer else "member"]
    ).fetchone()
    if row is None or not row[0]:
        options = sql.SQL(" with inherit false, set true" if finer else "")
        connection.execute(sql.SQL("grant {} to current_user").format(sql.Identifier(role)) + options)


def _let_in(connection: psycopg.Connection) -> None:
    database = sql.Identifier(connection.info.dbname)
    owner, app, dispatcher = (sql.Identifier(name) for name in (OWNER, APP, DISPATCHER))
    for statement in (
        sql.SQL("revoke all on database {} from public").format(database),
        sql.SQL("grant connect on database {} to {}, {}").format(database, app, dispatcher),
        sql.SQL("revoke all on schema public from public"),
        sql.SQL("grant usage, create on schema public to {}").format(owner),
        sql.SQL("grant usage on schema public to {}, {}").format(app, dispatcher),
    ):
        connection.execute(statement)


def migrate_from_settings(settings: Settings) -> None:
    """Make the database that `database_url` names unless it is there, and bring it to head.

    Raises SettingsError: one of the three URLs is missing or logs in as another role; WarehouseAway, WarehouseError.
    """
    if not (settings.admin_database_url and settings.database_url and settings.dispatcher_database_url):
        raise SettingsError("set admin_database_url, database_url and dispatcher_database_url: all three are needed")
    app = make_url(driver_url(settings.database_url.get_secret_value()))
    dispatcher = make_url(driver_url(settings.dispatcher_database_url.get_secret_value()))
    for name, url, role in (("database_url", app, APP), ("dispatcher_database_url", dispatcher, DISPATCHER)):
        if url.username != role or not url.password:
            raise SettingsError(f"{name} must log in as {role}, with a password")
    passwords = RolePasswords(app=str(app.password), dispatcher=str(dispatcher.password))
    admin_url = create_database(settings.admin_database_url.get_secret_value(), app.database or "tonewatch")
    migrate(admin_url, passwords)


def main(arguments: Sequence[str] = ()) -> int:
    """Migrate as the settings say; the exit status says whether it worked."""
    try:
        migrate_from_settings(settings_module.read())
    except TonewatchError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

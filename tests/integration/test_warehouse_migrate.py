"""Roles, databases and the schema: made once, made again, taken back, and refused where that is right."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from console.stack.postgres import EmbeddedPostgres
from tests.conftest import Database, drop_database, make_database
from tonewatch.errors import SettingsError, WarehouseAway, WarehouseError
from tonewatch.settings import read
from warehouse import tenants
from warehouse.database import Warehouse
from warehouse.migrate import (
    RolePasswords,
    create_database,
    create_role,
    downgrade,
    migrate,
    migrate_from_settings,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fresh(postgres: EmbeddedPostgres, passwords: RolePasswords) -> Iterator[Database]:
    made = make_database(postgres, passwords)
    yield made
    drop_database(postgres, made.name)


def schema(url: str) -> list[tuple]:
    """Every object of the schema with what is allowed on it, and every policy."""
    with psycopg.connect(url) as connection:
        queries = (
            """select relname, relkind, relacl::text from pg_class
                where relnamespace = 'public'::regnamespace order by 1""",
            "select tablename, policyname, cmd, qual, with_check from pg_policies order by 1, 2",
            """select table_name, column_name, data_type from information_schema.columns
                where table_schema = 'public' order by 1, 2""",
        )
        return [row for query in queries for row in connection.execute(query).fetchall()]


def test_migrating_again_changes_nothing(fresh: Database, passwords: RolePasswords) -> None:
    before = schema(fresh.admin_url)
    migrate(fresh.admin_url, passwords)
    assert schema(fresh.admin_url) == before


def test_down_takes_everything_away_and_up_brings_it_back(fresh: Database, passwords: RolePasswords) -> None:
    before = schema(fresh.admin_url)
    downgrade(fresh.admin_url)
    assert {row[0] for row in schema(fresh.admin_url)} == {"alembic_version", "alembic_version_pkc"}
    with psycopg.connect(fresh.admin_url) as connection:
        functions = "select proname from pg_proc where pronamespace = 'public'::regnamespace"
        assert connection.execute(functions).fetchall() == []
    migrate(fresh.admin_url, passwords)
    assert schema(fresh.admin_url) == before


def test_why_drift_had_asked_for_trainings_is_known_after_the_migration(
    fresh: Database, passwords: RolePasswords
) -> None:
    downgrade(fresh.admin_url, "0013")
    with psycopg.connect(fresh.admin_url) as connection:
        connection.execute(
            "insert into tenant (tenant, name, profile, created) values ('t', 't', 'demo', '2026-01-01')"
        )
        for who in ("drift", "ann"):
            connection.execute(
                """insert into retraining_request (tenant, view, asked, cool_down_seconds, who, reason)
                    values ('t', 'edge', case when %s = 'ann' then now() else '2026-01-01' end, 60, %s, 'it drifts')""",
                [who, who],
            )
    migrate(fresh.admin_url, passwords)
    with psycopg.connect(fresh.admin_url) as connection:
        told = connection.execute("select who, why from retraining_request order by who").fetchall()
        (forced,) = connection.execute(
            "select relforcerowsecurity from pg_class where relname = 'retraining_request'"
        ).fetchall()
    assert told == [("ann", "hand"), ("drift", "drift")]
    assert forced == (True,)


def test_two_migrations_at_once_end_well(postgres: EmbeddedPostgres, passwords: RolePasswords) -> None:
    name = "twice_at_once"
    url = create_database(postgres.url("postgres"), name)
    program = (
        "import sys; from warehouse.migrate import *; migrate(sys.argv[1], RolePasswords(sys.argv[2], sys.argv[3]))"
    )
    words = [sys.executable, "-c", program, url, passwords.app, passwords.dispatcher]
    started = [subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(3)]
    try:
        assert [(process.communicate()[1], process.returncode) for process in started] == [(b"", 0)] * 3
    finally:
        drop_database(postgres, name)


def test_a_newer_schema_is_refused_and_left_alone(fresh: Database, passwords: RolePasswords) -> None:
    with psycopg.connect(fresh.admin_url) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    before = schema(fresh.admin_url)
    with pytest.raises(WarehouseError, match=r"is at 9999, which this version .* does not know .* newer one"):
        migrate(fresh.admin_url, passwords)
    assert schema(fresh.admin_url) == before


def test_a_column_without_its_row_in_the_registry_is_refused(fresh: Database, passwords: RolePasswords) -> None:
    with psycopg.connect(fresh.admin_url, autocommit=True) as connection:
        connection.execute("alter table finding add column listener text")
        with pytest.raises(WarehouseError, match=r"differ in finding\.listener:"):
            migrate(fresh.admin_url, passwords)
        connection.execute("alter table finding drop column listener, drop column summary cascade")
        with pytest.raises(WarehouseError, match=r"differ in finding\.summary:"):
            migrate(fresh.admin_url, passwords)


async def test_a_database_without_schema_says_what_to_do(postgres: EmbeddedPostgres, passwords: RolePasswords) -> None:
    url = create_database(postgres.url("postgres"), "empty")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("grant connect on database empty to tonewatch_app")
    warehouse = Warehouse(postgres.url("empty", "tonewatch_app", passwords.app))
    try:
        with pytest.raises(WarehouseError, match=r"python -m warehouse\.migrate"):
            async with warehouse.as_tenant("demo") as db:
                await tenants.get("demo", db)
    finally:
        await warehouse.close()
        drop_database(postgres, "empty")


def test_a_database_is_shut_to_the_roles_of_another(
    postgres: EmbeddedPostgres, fresh: Database, passwords: RolePasswords
) -> None:
    create_role(postgres.url("postgres"), "prefect", "word")
    create_role(postgres.url("postgres"), "prefect", "another word")
    for _ in range(2):
        create_database(postgres.url("postgres"), "prefect", owner="prefect")
    with psycopg.connect(postgres.url("prefect", "prefect", "another word"), autocommit=True) as connection:
        connection.execute("create table its_own ()")
    for url in (
        postgres.url(fresh.name, "prefect", "another word"),
        postgres.url("prefect", "tonewatch_app", passwords.app),
        postgres.url("prefect", "tonewatch_dispatcher", passwords.dispatcher),
    ):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(url)
    drop_database(postgres, "prefect")


def test_passwords_reach_no_log_and_no_text(new_postgres: Callable[[], EmbeddedPostgres]) -> None:
    server = new_postgres()
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("alter system set log_statement = 'all'")
        connection.execute("select pg_reload_conf()")
    secret = RolePasswords(app="word-of-the-app", dispatcher="word-of-the-dispatcher")
    assert "word-of" not in f"{secret} {secret!r}"
    made = make_database(server, secret)
    migrate(made.admin_url, RolePasswords(app="newer-word-of-the-app", dispatcher="word-of-the-dispatcher"))
    log = server.log.read_text()
    assert "alter role" in log
    assert "word-of" not in log
    psycopg.connect(server.url(made.name, "tonewatch_app", "newer-word-of-the-app")).close()
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(made.app_url)


def test_an_administrator_who_is_no_superuser_will_do(new_postgres: Callable[[], EmbeddedPostgres]) -> None:
    server = new_postgres()
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("create role administrator login createrole createdb password 'word'")
    admin = server.url("postgres", "administrator", "word")
    passwords = RolePasswords(app="a", dispatcher="d")
    url = create_database(admin, "tonewatch")
    for _ in range(2):
        migrate(url, passwords)
    create_role(admin, "prefect", "word")
    for _ in range(2):
        create_database(admin, "prefect", owner="prefect")
    with psycopg.connect(server.url("tonewatch", "tonewatch_app", "a")) as connection:
        assert connection.execute("select count(*) from finding").fetchall() == [(0,)]
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("select count(*) from finding")


def test_roles_that_could_see_past_the_policies_are_refused(new_postgres: Callable[[], EmbeddedPostgres]) -> None:
    server = new_postgres()
    made = make_database(server, RolePasswords(app="a", dispatcher="d"))
    for power in ("bypassrls", "superuser", "createrole"):
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(f"alter role tonewatch_app {power}")
            with pytest.raises(WarehouseError, match="tonewatch_app may do too much"):
                migrate(made.admin_url, RolePasswords(app="a", dispatcher="d"))
            connection.execute(f"alter role tonewatch_app no{power}")


def environment(made: Database, **changed: str) -> dict[str, str]:
    return {
        "TONEWATCH_ADMIN_DATABASE_URL": made.admin_url,
        "TONEWATCH_DATABASE_URL": made.app_url,
        "TONEWATCH_DISPATCHER_DATABASE_URL": made.dispatcher_url,
    } | changed


def test_the_module_migrates_what_the_settings_name(postgres: EmbeddedPostgres, passwords: RolePasswords) -> None:
    names = {"app": ("tonewatch_app", passwords.app), "dispatcher": ("tonewatch_dispatcher", passwords.dispatcher)}
    app_url, dispatcher_url = (postgres.url("by_settings", *names[role]) for role in names)
    made = Database("by_settings", postgres.url("postgres"), app_url, dispatcher_url)
    words = [sys.executable, "-m", "warehouse.migrate"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TONEWATCH")}
    try:
        done = subprocess.run(words, cwd=ROOT, env=kept | environment(made), capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        psycopg.connect(app_url).close()
    finally:
        drop_database(postgres, "by_settings")


def test_settings_that_would_migrate_something_else_are_refused(fresh: Database, postgres: EmbeddedPostgres) -> None:
    as_superuser = environment(fresh, TONEWATCH_DATABASE_URL=postgres.url(fresh.name))
    with pytest.raises(SettingsError, match="must log in as tonewatch_app"):
        migrate_from_settings(read(as_superuser))
    with pytest.raises(SettingsError, match="all three are needed"):
        migrate_from_settings(read({}))


def test_a_server_that_is_away_or_refuses_is_told_apart(fresh: Database, postgres: EmbeddedPostgres) -> None:
    passwords = RolePasswords(app="a", dispatcher="d")
    with pytest.raises(WarehouseAway, match="cannot be reached"):
        migrate("postgresql://postgres:word@127.0.0.1:1/tonewatch", passwords)
    with pytest.raises(WarehouseError, match="refuses the login") as refused:
        migrate(postgres.url("postgres", "postgres", "wrong"), passwords)
    assert not isinstance(refused.value, WarehouseAway)
    with pytest.raises(WarehouseError, match=r"permission denied|must be"):
        migrate(fresh.app_url, passwords)

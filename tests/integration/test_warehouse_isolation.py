"""No tenant sees or changes another's rows: every table, every way in, every trap of row-level security."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from sqlalchemy import text

from tests.conftest import Database, new_tenant
from tests.integration.furnished import INCIDENT, START, at, finding, furnish, incident, notice, report, sample
from tests.integration.test_warehouse_catalogue import OF_THE_SCHEMA
from tonewatch.errors import UnknownTenant, WarehouseError
from warehouse import findings, incidents, notices, samples, sessions, tenants
from warehouse.database import Warehouse

slugs = st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)


@pytest.fixture
def superuser(database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.admin_url) as connection:
        yield connection
        connection.rollback()


def tables_of_tenants(connection: psycopg.Connection, kinds: str = "rp") -> list[str]:
    query = """select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant'
        where c.relnamespace = 'public'::regnamespace and c.relkind = any(%s) and not c.relispartition order by 1"""
    return [name for (name,) in connection.execute(query, [list(kinds)]).fetchall()]


def become(connection: psycopg.Connection, role: str, tenant: str | None) -> None:
    connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
    if tenant is not None:
        connection.execute("select set_config('app.tenant', %s, true)", [tenant])


def count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(table))).fetchone()
    assert row is not None
    return row[0]


async def test_a_second_tenant_finds_every_table_and_view_empty(
    warehouse: Warehouse, tenant: str, superuser: psycopg.Connection
) -> None:
    await furnish(warehouse, tenant)
    become(superuser, "tonewatch_app", tenant)
    full = {name: count(superuser, name) for name in tables_of_tenants(superuser, "rpv")}
    assert len(full) >= 23
    assert [name for name, rows in full.items() if rows == 0] == [], "furnish() leaves these untested"
    become(superuser, "tonewatch_app", "another")
    assert {name: rows for name in full if (rows := count(superuser, name))} == {}


async def test_without_a_tenant_every_table_and_view_is_empty(
    warehouse: Warehouse, tenant: str, superuser: psycopg.Connection
) -> None:
    await furnish(warehouse, tenant)
    for role in ("tonewatch_app", "tonewatch_owner"):
        become(superuser, role, None)
        names = tables_of_tenants(superuser, "rpv")
        assert {name: rows for name in names if (rows := count(superuser, name))} == {}


WAYS = {
    "insert": "insert into {table} overriding system value select * from jsonb_populate_record(null::{table}, %(row)s)",
    "take over": "update {table} set tenant = %(viewer)s",
    "insert quietly": """insert into {table} overriding system value
        select * from jsonb_populate_record(null::{table}, %(row)s) on conflict do nothing""",
    "delete": "delete from {table}",
    "lock": "select * from {table} for update",
    "read": "select * from {table} where tenant = %(victim)s or tenant <> %(viewer)s",
    "join": "select * from {table} full join tenant as named using (tenant) where tenant <> %(viewer)s",
    "copy": "copy {table} to stdout",
}


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_second_tenant_tries_on_any_table_changes_and_shows_nothing(
    database: Database, furnished: str, data: st.DataObject
) -> None:
    with psycopg.connect(database.admin_url) as connection:
        table = data.draw(st.sampled_from(tables_of_tenants(connection)), "table")
        viewer = data.draw(slugs.filter(lambda name: name != furnished), "viewer")
        way = data.draw(st.sampled_from(sorted(WAYS)), "way")
        before = content(connection, table)
        become(connection, "tonewatch_app", viewer)
        assert seen(connection, table, way, {"row": before[0], "viewer": viewer, "victim": furnished}) == []
        connection.execute("reset role")
        assert content(connection, table) == before
        connection.rollback()


@pytest.fixture
async def furnished(warehouse: Warehouse, tenant: str) -> str:
    await furnish(warehouse, tenant)
    return tenant


def content(connection: psycopg.Connection, table: str) -> list[str]:
    query = sql.SQL("select to_jsonb(t)::text from {} t order by 1").format(sql.Identifier(table))
    return [row for (row,) in connection.execute(query).fetchall()]


def seen(connection: psycopg.Connection, table: str, way: str, values: dict[str, str]) -> list[object]:
    """What the way showed; a refusal shows nothing."""
    statement = sql.SQL(WAYS[way]).format(table=sql.Identifier(table))
    try:
        with connection.transaction():
            if way == "copy":
                with connection.cursor().copy(statement) as copy:
                    return list(copy.rows())
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else [cursor.rowcount] * (cursor.rowcount > 0)
    except psycopg.Error as error:
        if not isinstance(error, psycopg.errors.InsufficientPrivilege):
            raise
        return []


# The traps, in the order of the research (5.4).


async def test_the_tables_owner_obeys_the_policies_too(furnished: str, superuser: psycopg.Connection) -> None:
    become(superuser, "tonewatch_owner", "another")
    assert count(superuser, "finding") == 0
    become(superuser, "tonewatch_owner", furnished)
    assert count(superuser, "finding") == 1


async def test_the_app_cannot_switch_row_security_off_or_become_another_role(
    database: Database, furnished: str
) -> None:
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        connection.execute("set row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute("select * from finding")
        for statement in (
            "alter table finding disable row level security",
            "drop policy tenant_isolation on finding",
            "set role tonewatch_owner",
            "set session_replication_role = replica",
            "create table theirs (tenant text)",
            "create temp table theirs (tenant text)",
            "create function peep() returns setof finding language sql security definer as 'select * from finding'",
            "select isolate_by_tenant('finding')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


async def test_the_story_view_shows_each_tenant_its_own(warehouse: Warehouse, furnished: str) -> None:
    other = await new_tenant(warehouse)
    async with warehouse.as_tenant(furnished) as db:
        assert len(await incidents.story(furnished, db, INCIDENT)) >= 5
    async with warehouse.as_tenant(other) as db:
        assert await incidents.story(furnished, db, INCIDENT) == []


async def test_a_partition_asked_directly_is_covered_by_a_policy_of_its_own(
    furnished: str, superuser: psycopg.Connection
) -> None:
    become(superuser, "tonewatch_owner", furnished)
    assert count(superuser, f"sample_hot_{START:%Y%m%d}") == 1
    become(superuser, "tonewatch_owner", "another")
    assert count(superuser, f"sample_hot_{START:%Y%m%d}") == 0
    become(superuser, "tonewatch_app", furnished)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        count(superuser, f"sample_hot_{START:%Y%m%d}")


async def test_a_used_connection_keeps_no_tenant(database: Database, furnished: str) -> None:
    one = Warehouse(database.app_url)
    try:
        async with one.as_tenant(furnished) as db:
            pid = (await db.execute(text("select pg_backend_pid()"))).scalar_one()
        with pytest.raises(ZeroDivisionError):
            async with one.as_tenant(furnished):
                raise ZeroDivisionError
        async with one._app.connect() as db:  # the pool itself is the subject
            assert (await db.execute(text("select pg_backend_pid()"))).scalar_one() == pid
            # '' and not null by now: a policy that cast it would fail instead of showing nothing.
            assert (await db.execute(text("select current_setting('app.tenant', true)"))).scalar_one() == ""
            assert (await db.execute(text("select count(*) from finding"))).scalar_one() == 0
    finally:
        await one.close()


async def test_tenants_at_work_at_the_same_time_on_one_pool_see_their_own(warehouse: Warehouse) -> None:
    names = [await new_tenant(warehouse) for _ in range(8)]

    async def work(name: str) -> set[str]:
        for number in range(5):
            async with warehouse.as_tenant(name) as db:
                await findings.save(name, db, [finding(name, 3 + number)])
        async with warehouse.as_tenant(name) as db:
            return set((await db.execute(text("select tenant from finding"))).scalars())

    assert await asyncio.gather(*(work(name) for name in names)) == [{name} for name in names]


@pytest.mark.parametrize(
    "name", ["", "a'; reset role; --", "A", "a b", "ä", "a\n", "a" * 41, "a,b", "%", "tenant_1", "a\0", "$tenant"]
)
async def test_a_name_that_no_tenant_can_have_opens_no_transaction(warehouse: Warehouse, name: str) -> None:
    with pytest.raises(UnknownTenant, match="is no tenant name"):
        async with warehouse.as_tenant(name):
            pytest.fail("it opened")


async def test_sql_in_values_stays_text(warehouse: Warehouse, tenant: str) -> None:
    hostile = "'); drop table finding; select set_config('app.tenant', 'another', true); -- %s :x"
    wanted = finding(tenant, summary=hostile, symptom=hostile)
    async with warehouse.as_tenant(tenant) as db:
        await findings.save(tenant, db, [wanted])
        assert await findings.since(tenant, db, START) == [wanted]


async def test_equal_ids_of_two_tenants_do_not_meet(warehouse: Warehouse, tenant: str) -> None:
    other = await new_tenant(warehouse)
    await furnish(warehouse, tenant)
    await furnish(warehouse, other)
    async with warehouse.as_tenant(other) as db:
        assert await incidents.active(other, db) == [incident(other)]


async def test_another_tenants_row_cannot_be_pointed_at(warehouse: Warehouse, furnished: str) -> None:
    other = await new_tenant(warehouse)
    with pytest.raises(WarehouseError, match="foreign key"):  # noqa: PT012 - the end of the transaction raises
        async with warehouse.as_tenant(other) as db:
            await incidents.save(other, db, incident(other))
            await incidents.attach(other, db, INCIDENT, [finding(furnished).id])


async def test_a_record_of_one_tenant_is_not_kept_for_another(warehouse: Warehouse, tenant: str) -> None:
    other = await new_tenant(warehouse)
    async with warehouse.as_tenant(tenant) as db:
        for call in (
            findings.save(tenant, db, [finding(other)]),
            incidents.save(tenant, db, incident(other)),
            notices.put(tenant, db, [notice(other)]),
        ):
            with pytest.raises(WarehouseError, match="can not be kept for"):
                await call


async def test_a_call_for_one_tenant_in_anothers_transaction_is_refused(warehouse: Warehouse, furnished: str) -> None:
    other = await new_tenant(warehouse)
    async with warehouse.as_tenant(other) as db:
        assert await findings.since(furnished, db, START) == []
        assert await samples.read(furnished, db, START, at(60)) == []
    with pytest.raises(WarehouseError, match="row-level security"):
        async with warehouse.as_tenant(other) as db:
            await samples.append(furnished, db, [sample(2.0, 1)])
    with pytest.raises(WarehouseError, match="row-level security"):
        async with warehouse.as_tenant(other) as db:
            await sessions.save(furnished, db, [report("b")], START)


@pytest.mark.parametrize(
    "query",
    [
        """select value from sample where tenant = 'x' and retention = 'hot' and series = any('{1,2}')
            and time >= '2026-01-01' and time < '2026-02-01'""",
        "select * from finding where tenant = 'x' and ended >= '2026-01-01'",
        "select * from session_report where tenant = 'x' and arrival > 5",
        "select * from incident_story where tenant = 'x' and incident = 'i'",
        "select * from finding where ended >= '2026-01-01'",
    ],
)
async def test_the_policy_leaves_the_indexes_in_use(furnished: str, superuser: psycopg.Connection, query: str) -> None:
    become(superuser, "tonewatch_app", "x")
    superuser.execute("set local enable_seqscan = off")
    plan = json.dumps(superuser.execute(f"explain (format json) {query}").fetchall())
    assert '"Node Type": "Seq Scan"' not in plan
    assert '"Index Cond": "' in plan
    assert plan.count('"Index Cond": "') == plan.count('"Index Cond": "((tenant = ') + plan.count(
        '"Index Cond": "(tenant = '
    )


async def test_the_dispatcher_leases_over_all_tenants_and_can_do_nothing_else(
    warehouse: Warehouse, furnished: str
) -> None:
    other = await new_tenant(warehouse)
    await furnish(warehouse, other)
    async with warehouse.as_dispatcher() as db:
        assert {furnished, other} <= set(await tenants.slugs(db))
        due = await notices.lease_due(db, at(60), "one", 30, 1000)
        assert {furnished, other} <= {name for name, _ in due}
    for statement in (
        "select * from finding",
        "select subject from notice",
        "update notice set state = 'sent'",
        "update tenant set name = 'x'",
        "delete from notice",
        "insert into notice (tenant) values ('x')",
        "select * from incident_story",
        "select ensure_sample_partition('hot', '2026-01-01')",
    ):
        with pytest.raises(WarehouseError, match="permission denied"):
            async with warehouse.as_dispatcher() as db:
                await db.execute(text(statement))


async def test_the_audit_can_be_changed_by_nobody(
    warehouse: Warehouse, furnished: str, superuser: psycopg.Connection
) -> None:
    for statement in ("update audit set who = 'nobody'", "delete from audit", "truncate audit"):
        with pytest.raises(WarehouseError, match=r"permission denied|append-only"):
            async with warehouse.as_tenant(furnished) as db:
                await db.execute(text(statement))
        for role in ("tonewatch_owner", "postgres"):
            with superuser.transaction(force_rollback=True):
                become(superuser, role, furnished)
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"), superuser.transaction():
                    superuser.execute(statement)
    superuser.execute("set local session_replication_role = replica")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        superuser.execute("delete from audit")


async def test_the_partition_function_makes_partitions_and_nothing_else(
    warehouse: Warehouse, tenant: str, superuser: psycopg.Connection
) -> None:
    for retention in ("default", "hot; drop table finding", "Hot", "", "a" * 21, "hot_20260101", '"', "pg_temp"):
        with pytest.raises(WarehouseError, match="no retention class"):
            async with warehouse.as_tenant(tenant) as db:
                await db.execute(
                    text("select ensure_sample_partition(:retention, '2026-01-01')"), {"retention": retention}
                )
    assert sorted(OF_THE_SCHEMA | set(tables_of_tenants(superuser))) == sorted(
        name
        for (name,) in superuser.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') "
            "and not relispartition"
        )
    )

"""The database's own catalogue is asked: every table, partition, view and key of the schema, found without a list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

import psycopg
import pytest

from tests.conftest import Database
from tonewatch.records import (
    ActionState,
    EventKind,
    FindingKind,
    IncidentState,
    NoticeState,
    Outcome,
    RunKind,
    SeriesKind,
)

#: These tell of the schema; all others belong to tenants.
OF_THE_SCHEMA = {"alembic_version", "column_registry"}
#: Tables that one tenant's policy guards must be at least so many, or the search below finds nothing.
AT_LEAST = 25
TENANT_OF_THE_TRANSACTION = (
    "(tenant = ( SELECT NULLIF(current_setting('app.tenant'::text, true), ''::text) AS \"nullif\"))"
)


@pytest.fixture
def catalogue(database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.admin_url) as connection:
        connection.execute("select ensure_sample_partition('hot', '2026-01-01')")
        connection.execute("select ensure_sample_partition('evidence', '2026-01-01')")
        yield connection
        connection.rollback()


def rows(connection: psycopg.Connection, query: str) -> list[tuple]:
    return connection.execute(
        query.replace("OURS", "not in ('pg_catalog', 'information_schema', 'pg_toast')")
    ).fetchall()


def tables(connection: psycopg.Connection) -> dict[str, tuple[bool, bool]]:
    query = """select c.relname, c.relrowsecurity, c.relforcerowsecurity from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'f') and n.nspname OURS and n.nspname !~ '^pg_(toast_)?temp'"""
    return {name: (enabled, forced) for name, enabled, forced in rows(connection, query)}


def test_every_table_and_partition_enables_and_forces_row_security(catalogue: psycopg.Connection) -> None:
    found = tables(catalogue)
    assert len(found) >= AT_LEAST
    assert {"sample_hot_20260101", "sample_evidence_20260101", "sample_evidence_default"} <= found.keys()
    assert [name for name, flags in found.items() if flags != (True, True)] == []


def test_every_table_of_a_tenant_has_the_policy_for_reading_and_writing(catalogue: psycopg.Connection) -> None:
    query = """select tablename, qual, with_check, cmd, roles, permissive from pg_policies
        where policyname = 'tenant_isolation'"""
    found = {name: rest for name, *rest in rows(catalogue, query)}
    assert found.keys() == tables(catalogue).keys() - OF_THE_SCHEMA
    wanted = [TENANT_OF_THE_TRANSACTION, TENANT_OF_THE_TRANSACTION, "ALL", ["public"], "PERMISSIVE"]
    assert {name: policy for name, policy in found.items() if policy != wanted} == {}


def test_no_other_policy_opens_a_tenants_table_but_the_dispatchers(catalogue: psycopg.Connection) -> None:
    query = """select tablename, policyname, cmd, roles from pg_policies where policyname <> 'tenant_isolation'"""
    dispatcher = ["tonewatch_dispatcher"]
    assert sorted(row for row in rows(catalogue, query) if row[0] not in OF_THE_SCHEMA) == [
        ("action", "dispatcher_leases", "UPDATE", dispatcher),
        ("action", "dispatcher_reads", "SELECT", dispatcher),
        ("notice", "dispatcher_leases", "UPDATE", dispatcher),
        ("notice", "dispatcher_reads", "SELECT", dispatcher),
        ("tenant", "dispatcher_reads", "SELECT", dispatcher),
    ]


def test_every_view_obeys_its_readers_policies_and_none_is_materialised(catalogue: psycopg.Connection) -> None:
    query = """select c.relname, c.relkind, c.reloptions from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('v', 'm') and n.nspname OURS"""
    assert rows(catalogue, query) == [("incident_story", "v", ["security_invoker=true"])]


def test_every_key_and_index_of_a_tenants_table_begins_with_the_tenant(catalogue: psycopg.Connection) -> None:
    query = """select t.relname, i.relname, a.attname from pg_index x
        join pg_class t on t.oid = x.indrelid join pg_class i on i.oid = x.indexrelid
        join pg_namespace n on n.oid = t.relnamespace
        left join pg_attribute a on a.attrelid = t.oid and a.attnum = x.indkey[0] where n.nspname OURS"""
    found = [row for row in rows(catalogue, query) if row[0] not in OF_THE_SCHEMA]
    assert len(found) >= AT_LEAST
    assert [row for row in found if row[2] != "tenant"] == []


def test_every_foreign_key_begins_with_the_tenant_on_both_sides(catalogue: psycopg.Connection) -> None:
    query = """select k.conname, here.attname, there.attname from pg_constraint k
        join pg_attribute here on here.attrelid = k.conrelid and here.attnum = k.conkey[1]
        join pg_attribute there on there.attrelid = k.confrelid and there.attnum = k.confkey[1] where k.contype = 'f'"""
    found = rows(catalogue, query)
    assert len(found) >= 20
    assert [row for row in found if row[1:] != ("tenant", "tenant")] == []


def test_the_roles_that_log_in_can_do_nothing_past_the_policies(catalogue: psycopg.Connection) -> None:
    query = """select rolname, rolcanlogin from pg_roles where rolname like 'tonewatch%'
        and not (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication or rolinherit)"""
    assert sorted(rows(catalogue, query)) == [
        ("tonewatch_app", True),
        ("tonewatch_dispatcher", True),
        ("tonewatch_owner", False),
    ]
    for role in ("tonewatch_app", "tonewatch_dispatcher"):
        assert rows(catalogue, f"select pg_has_role('{role}', 'tonewatch_owner', 'member')") == [(False,)]


def test_the_app_and_the_dispatcher_own_nothing(catalogue: psycopg.Connection) -> None:
    query = """select s.classid::regclass, s.objid from pg_shdepend s join pg_roles r on r.oid = s.refobjid
        where s.deptype = 'o' and r.rolname in ('tonewatch_app', 'tonewatch_dispatcher')"""
    assert rows(catalogue, query) == []
    for role in ("tonewatch_app", "tonewatch_dispatcher"):
        may = f"""select has_schema_privilege('{role}', 'public', 'create'),
            has_database_privilege('{role}', current_database(), 'create'),
            has_database_privilege('{role}', current_database(), 'temp')"""
        assert rows(catalogue, may) == [(False, False, False)]


def test_every_table_belongs_to_the_owner_who_cannot_log_in(catalogue: psycopg.Connection) -> None:
    query = """select c.relname, c.relowner::regrole::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v') and n.nspname OURS"""
    assert {owner for _, owner in rows(catalogue, query)} == {"tonewatch_owner"}


def test_few_functions_run_as_their_owner_with_a_fixed_search_path(catalogue: psycopg.Connection) -> None:
    query = """select p.proname, p.prosecdef, p.proconfig, p.proacl::text from pg_proc p
        join pg_namespace n on n.oid = p.pronamespace where n.nspname OURS"""
    found = {name: rest for name, *rest in rows(catalogue, query)}
    assert {name for name, (definer, _, _) in found.items() if definer} == {
        "ensure_sample_partition",
        "drop_sample_partitions",
        "end_outlived",
        "end_outlived_checks",
        "end_outlived_features",
    }
    assert all(
        config[0].startswith("search_path=pg_catalog") and config[0].endswith("pg_temp")
        for _, config, _ in found.values()
    )
    assert [name for name, (_, _, access) in found.items() if re.search(r"[{,]=X", access)] == []


def test_the_dispatcher_reads_no_content_and_changes_leases_alone(catalogue: psycopg.Connection) -> None:
    query = """select table_name, privilege_type, array_agg(column_name::text order by column_name) from
        information_schema.column_privileges where grantee = 'tonewatch_dispatcher' group by 1, 2"""
    found = {(table, privilege): columns for table, privilege, columns in rows(catalogue, query)}
    lease = ["fence", "lease_holder", "lease_until"]
    assert found == {
        ("tenant", "SELECT"): ["tenant"],
        ("notice", "SELECT"): ["created", *lease[:1], "id", *lease[1:], "next_attempt", "state", "tenant"],
        ("notice", "UPDATE"): lease,
        ("action", "SELECT"): ["fence", "incident", "intended", "key", *lease[1:], "started", "state", "tenant"],
        ("action", "UPDATE"): lease,
    }
    whole = "select table_name from information_schema.table_privileges where grantee = 'tonewatch_dispatcher'"
    assert rows(catalogue, whole) == []


def test_the_app_deletes_causes_and_read_deliveries_alone_and_touches_no_partition(
    catalogue: psycopg.Connection,
) -> None:
    query = """select table_name, privilege_type from information_schema.table_privileges
        where grantee = 'tonewatch_app'"""
    found = rows(catalogue, query)
    assert [table for table, privilege in found if privilege in ("DELETE", "TRUNCATE")] == ["cause", "delivery"]
    assert {privilege for _, privilege in found} == {"SELECT", "INSERT", "UPDATE", "DELETE"}
    assert [table for table, _ in found if table.startswith("sample_")] == []
    assert sorted(privilege for table, privilege in found if table == "audit") == ["INSERT", "SELECT"]
    query = """select table_name from information_schema.table_privileges
        where grantee = 'PUBLIC' and table_schema = 'public'"""
    assert rows(catalogue, query) == []


def test_no_default_asks_the_database_for_the_time(catalogue: psycopg.Connection) -> None:
    query = "select adrelid::regclass::text, pg_get_expr(adbin, adrelid) from pg_attrdef"
    found = rows(catalogue, query)
    assert found
    clock = re.compile(r"now\(|current_(?!xact)|timestamp|localtime|clock|timeofday", re.IGNORECASE)
    assert [row for row in found if clock.search(row[1])] == []


def test_every_column_of_every_table_is_in_the_registry(catalogue: psycopg.Connection) -> None:
    query = """select c.relname, a.attname from pg_class c join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relkind in ('r', 'p') and not c.relispartition and n.nspname OURS"""
    found = set(rows(catalogue, query))
    assert len(found) > 150
    assert found == set(rows(catalogue, "select table_name, column_name from column_registry"))


def test_what_may_tell_of_a_person_is_marked(catalogue: psycopg.Connection) -> None:
    personal = set(rows(catalogue, "select table_name, column_name from column_registry where personal"))
    assert {("session_report", "session"), ("audit", "who"), ("change", "author"), ("evidence", "content")} <= personal


@pytest.mark.parametrize(
    ("constraint", "kind"),
    [
        ("series_kind_check", SeriesKind),
        ("finding_kind_check", FindingKind),
        ("event_kind_check", EventKind),
        ("incident_state_check", IncidentState),
        ("action_state_check", ActionState),
        ("verdict_outcome_check", Outcome),
        ("notice_state_check", NoticeState),
        ("run_kind_check", RunKind),
    ],
)
def test_a_tables_list_of_values_is_that_of_the_records(
    catalogue: psycopg.Connection, constraint: str, kind: type[StrEnum]
) -> None:
    ((definition,),) = rows(
        catalogue, f"select pg_get_constraintdef(oid) from pg_constraint where conname = '{constraint}'"
    )
    assert set(re.findall(r"'([^']+)'", definition)) == set(kind)

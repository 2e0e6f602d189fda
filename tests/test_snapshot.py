"""One reviewed picture of the house: flows, deployments, settings, tables and who may do what with them.

A difference is either a mistake or a change for reviewers to read: `make snapshot` writes the picture anew.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tonewatch.settings import Settings

HOUSE = Path(__file__).resolve().parent.parent
PICTURE = Path(__file__).parent / "__snapshots__" / "house.txt"
PREFECT_FILE = HOUSE / "deployments" / "prefect.yaml"

TABLES = """
select c.relname, c.relkind::text, c.relrowsecurity, c.relforcerowsecurity,
       coalesce(array_to_string(c.reloptions, ','), ''), coalesce(pg_get_partkeydef(c.oid), '')
from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
order by 1
"""
COLUMNS = """
select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, coalesce(pg_get_expr(d.adbin, d.adrelid), '')
from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = ('public.' || quote_ident(%s))::regclass and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""
CONSTRAINTS = """
select pg_get_constraintdef(oid) from pg_constraint
where conrelid = ('public.' || quote_ident(%s))::regclass and contype in ('p', 'u', 'f', 'c', 'x') order by contype, 1
"""
POLICIES = """
select polname, polcmd::text, array_to_string(array(select rolname::text from pg_roles where oid = any(polroles)), ','),
       coalesce(pg_get_expr(polqual, polrelid), ''), coalesce(pg_get_expr(polwithcheck, polrelid), '')
from pg_policy where polrelid = ('public.' || quote_ident(%s))::regclass order by 1
"""
GRANTS = """
select grantee, string_agg(privilege_type, ', ' order by privilege_type)
from information_schema.table_privileges
where table_schema = 'public' and table_name = %s and grantee not in ('tonewatch_owner', 'postgres')
group by 1 order by 1
"""
COLUMN_GRANTS = """
select grantee, privilege_type, string_agg(column_name, ', ' order by column_name)
from information_schema.column_privileges c
where table_schema = 'public' and table_name = %s and grantee not in ('tonewatch_owner', 'postgres')
  and not exists (select from information_schema.table_privileges t
                  where (t.table_schema, t.table_name, t.grantee, t.privilege_type)
                      = (c.table_schema, c.table_name, c.grantee, c.privilege_type))
group by 1, 2 order by 1, 2
"""
KINDS = {"r": "table", "p": "partitioned table", "v": "view", "m": "materialized view"}
COMMANDS = {"*": "all", "r": "select", "a": "insert", "w": "update", "d": "delete"}


@pytest.fixture(scope="module")
def catalogue(database: Any) -> Iterator[psycopg.Connection]:
    """The warehouse's schema at head, seen by its superuser."""
    with psycopg.connect(database.admin_url) as connection:
        yield connection


def flows() -> Iterator[str]:
    """Each decorated flow: file, function, name."""
    for path in sorted((HOUSE / "flows").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if ast.unparse(called).split(".")[-1] == "flow":
                    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
                    name = next((ast.unparse(word.value) for word in keywords if word.arg == "name"), repr(node.name))
                    yield f"{path.relative_to(HOUSE).as_posix()}: {node.name} = {name}"


def described_deployments() -> list[dict[str, Any]]:
    if not PREFECT_FILE.exists():
        return []
    described: list[dict[str, Any]] = yaml.safe_load(PREFECT_FILE.read_text(encoding="utf-8")).get("deployments", [])
    return described


def deployments() -> Iterator[str]:
    """Each deployment with its way in, its pool, its schedules and its parameters."""
    for one in sorted(described_deployments(), key=lambda one: one["name"]):
        yield f"{one['name']}: {one['entrypoint']} on {one.get('work_pool', {}).get('name')}"
        for schedule in one.get("schedules") or ([one["schedule"]] if one.get("schedule") else []):
            yield f"    {json.dumps(schedule, sort_keys=True, default=str)}"
        if one.get("concurrency_limit"):
            yield f"    limit {json.dumps(one['concurrency_limit'])}"
        for name, value in sorted((one.get("parameters") or {}).items()):
            yield f"    parameter {name} = {json.dumps(value, default=str)}"


def settings() -> Iterator[str]:
    """Each setting with its type."""
    for name, field in Settings.model_fields.items():
        kind = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
        yield f"{name}: {kind.replace('pydantic.types.', '').replace('typing.', '')}"


def tables(catalogue: psycopg.Connection) -> Iterator[str]:
    """Each table and view: columns, constraints, policies, grants. Partitions come and go and are left out."""
    for name, kind, secured, forced, options, partition in catalogue.execute(TABLES).fetchall():
        security = "row security forced" if secured and forced else "row security on" if secured else ""
        told = [KINDS[kind], security, options, partition and f"by {partition}"]
        yield f"{name} ({'; '.join(part for part in told if part)})"
        for column, type_, needed, default in catalogue.execute(COLUMNS, [name]).fetchall():
            yield f"    {column} {type_}{' not null' if needed else ''}{f' default {default}' if default else ''}"
        for (constraint,) in catalogue.execute(CONSTRAINTS, [name]).fetchall():
            yield f"    {constraint}"
        for policy, command, roles, using, check in catalogue.execute(POLICIES, [name]).fetchall():
            who = f"{COMMANDS[command]} to {roles or 'public'}"
            yield f"    policy {policy} for {who} using {using or '-'} check {check or '-'}"
        for grantee, privileges in catalogue.execute(GRANTS, [name]).fetchall():
            yield f"    {grantee}: {privileges}"
        for grantee, privilege, columns in catalogue.execute(COLUMN_GRANTS, [name]).fetchall():
            yield f"    {grantee}: {privilege} of {columns}"


def picture(catalogue: psycopg.Connection) -> str:
    sections = {
        "Flows": flows(),
        "Deployments": deployments(),
        "Settings": settings(),
        "Tables": tables(catalogue),
    }
    return "\n".join(f"# {title}\n{_written(lines)}" for title, lines in sections.items())


def _written(lines: Iterator[str]) -> str:
    """One entry a line; what the server wrote over several lines is joined."""
    return "".join(" " * (len(line) - len(line.lstrip())) + " ".join(line.split()) + "\n" for line in lines)


def test_the_house_is_as_it_was_reviewed(catalogue: psycopg.Connection) -> None:
    now = picture(catalogue)
    if os.environ.get("UPDATE_SNAPSHOT"):
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(now, encoding="utf-8")
    assert now == PICTURE.read_text(encoding="utf-8"), "run `make snapshot` and read what changed"


def test_every_table_with_a_tenant_is_under_forced_row_security(catalogue: psycopg.Connection) -> None:
    """The catalogue finds each table and each partition by itself."""
    bare = catalogue.execute(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
        " and not (relrowsecurity and relforcerowsecurity)"
        " and exists (select from pg_attribute a where a.attrelid = pg_class.oid and a.attname = 'tenant')"
    ).fetchall()
    assert bare == []


@pytest.mark.parametrize("one", described_deployments(), ids=lambda one: str(one["name"]))
def test_a_deployment_starts_a_flow_that_there_is(one: dict[str, Any]) -> None:
    module, _, function = one["entrypoint"].replace("/", ".").replace(".py:", ":").replace(":", ".").rpartition(".")
    assert any(line.startswith(f"{module.replace('.', '/')}.py: {function} =") for line in flows())

"""Lineage among 10,000 trainings on a real PostgreSQL, beside what MLflow's own search takes for the same questions.

Twenty tenants, five models, a hundred versions of each; every version learned from twenty entities, a tenth of them
from a person's pseudonym. The same versions with the same facts as tags lie in MLflow's tables in the same server,
asked by its client in this process, without HTTP. `make bench NAME=lineage`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import psycopg

from console.stack.postgres import EmbeddedPostgres
from tasks import trace
from tests.benchmarks._published import publish, say
from warehouse import lineage, tenants
from warehouse.database import Warehouse
from warehouse.lineage import Traced
from warehouse.links import driver_url
from warehouse.migrate import RolePasswords, create_database, migrate

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TENANTS, VERSIONS, ENTITIES, TIMES = 20, 100, 20, 5
FAMILIES = ("source", "transcode", "package", "edge", "rendition")
MUST_S = 1.0
ASKED = "tenant-7"
MODEL = "edge-isolation-forest"


@dataclass(frozen=True)
class Servers:
    """The warehouse, the owner's address of MLflow's tables, and how many versions there are."""

    warehouse: Warehouse
    mlflow_url: str


def versions() -> Iterable[tuple[str, Traced]]:
    """Every version, with the tenant whose rows it learned from."""
    for tenant, (place, family), number in product(range(TENANTS), enumerate(FAMILIES), range(VERSIONS)):
        started = NOON + timedelta(hours=6 * number)
        yield (
            f"tenant-{tenant}",
            Traced(
                model=f"{family}-isolation-forest",
                version=str(tenant * VERSIONS + number + 1),
                run=f"{place:02d}{tenant:04d}{number:026d}",
                trained=started + timedelta(days=2),
                started=started,
                ended=started + timedelta(days=2),
                data_hash="0" * 32,
                sets=[{"name": f"{family}-calm", "version": number + 1, "hash": "0" * 32}],
                entities=[f"{family}:{family}-{(number + each) % 200}" for each in range(ENTITIES)],
                subjects=[f"account:{tenant:03d}{number:05d}"] if number % 10 == 0 else [],
                sources={"sample": {"last": started.isoformat()}},
            ),
        )


async def fill(warehouse: Warehouse) -> int:
    """Write them all."""
    of: dict[str, list[Traced]] = {}
    for tenant, each in versions():
        of.setdefault(tenant, []).append(each)
    for tenant, traced in of.items():
        async with warehouse.as_tenant(tenant) as db:
            await tenants.add(tenant, db, name=tenant, profile="platform", at=NOON)
            for each in traced:
                await lineage.put(tenant, db, each)
    return sum(map(len, of.values()))


def fill_mlflow(url: str) -> None:
    """The same as MLflow holds it: registered versions, facts as tags."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(_sqlalchemy(url), registry_uri=_sqlalchemy(url))
    for family in FAMILIES:
        client.create_registered_model(f"{family}-isolation-forest")
    rows, tags = [], []
    for tenant, each in versions():
        rows.append(("default", each.model, int(each.version), 0, 0, "None", "", each.run, "READY"))
        facts = {"tenant": tenant, "entities": ",".join(each.entities), "subjects": ",".join(each.subjects)}
        tags += [("default", each.model, int(each.version), name, value) for name, value in facts.items()]
    with psycopg.connect(url) as db, db.cursor() as cursor:
        columns = "workspace, name, version, creation_time, last_updated_time, current_stage, source, run_id, status"
        with cursor.copy(f"copy model_versions ({columns}) from stdin") as into:
            for row in rows:
                into.write_row(row)
        with cursor.copy("copy model_version_tags (workspace, name, version, key, value) from stdin") as into:
            for tag in tags:
                into.write_row(tag)
        cursor.execute("analyze")


def _sqlalchemy(url: str) -> str:
    return driver_url(url).render_as_string(hide_password=False)


def questions(warehouse: Warehouse) -> dict[str, Callable[[], Awaitable[list[trace.Whose]]]]:
    """What is asked of us; the version is in the middle, the entity is one that several versions saw."""
    version = str(7 * VERSIONS + 50)
    return {
        "version to tenants and rows": lambda: trace.of_model(warehouse, MODEL, version),
        "tenant to versions": lambda: trace.of_tenant(warehouse, ASKED),
        "subject to versions": lambda: trace.of_tenant(warehouse, ASKED, "account:00700050"),
        "entity to versions": lambda: trace.of_tenant(warehouse, ASKED, "edge:edge-50"),
    }


def filters() -> dict[str, str]:
    """The same for MLflow's search of versions."""
    return {
        "version to tenants and rows": f"name = '{MODEL}' and version_number = {7 * VERSIONS + 50}",
        "tenant to versions": f"tag.tenant = '{ASKED}'",
        "subject to versions": f"tag.tenant = '{ASKED}' and tag.subjects like '%account:00700050%'",
        "entity to versions": f"tag.tenant = '{ASKED}' and tag.entities like '%edge:edge-50%'",
    }


async def timed_ours(warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    """Seconds of each question, five times."""
    found = {}
    for name, question in questions(warehouse).items():
        took, answers = [], 0
        for _ in range(TIMES):
            began = perf_counter()
            answers = len(await question())
            took.append(perf_counter() - began)
        found[name] = {"seconds": [round(each, 4) for each in took], "best_s": round(min(took), 4), "found": answers}
    return found


def timed_mlflow(url: str) -> dict[str, dict[str, Any]]:
    """The same of MLflow's client."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    client, found = MlflowClient(_sqlalchemy(url), registry_uri=_sqlalchemy(url)), dict[str, dict[str, Any]]()
    for name, wanted in filters().items():
        took, answers = [], 0
        try:
            for _ in range(TIMES):
                began = perf_counter()
                answers = len(client.search_model_versions(wanted, max_results=10_000))
                took.append(perf_counter() - began)
        except MlflowException as error:
            found[name] = {"refused": str(error).splitlines()[0][:160]}
            continue
        found[name] = {"seconds": [round(each, 4) for each in took], "best_s": round(min(took), 4), "found": answers}
    return found


async def bench(server: EmbeddedPostgres) -> dict[str, Any]:
    """Fill both, then ask both in the same minute."""
    passwords = RolePasswords(app=secrets.token_urlsafe(), dispatcher=secrets.token_urlsafe())
    admin_url = create_database(server.url("postgres"), "tonewatch")
    migrate(admin_url, passwords)
    warehouse = Warehouse(
        server.url("tonewatch", "tonewatch_app", passwords.app),
        server.url("tonewatch", "tonewatch_dispatcher", passwords.dispatcher),
    )
    try:
        count = await fill(warehouse)
        with psycopg.connect(server.url("tonewatch"), autocommit=True) as owner:
            owner.execute("analyze")
        say(f"{count} versions in the warehouse")
        mlflow_url = create_database(server.url("postgres"), "mlflow")
        await asyncio.to_thread(fill_mlflow, mlflow_url)
        say("the same in MLflow's tables")
        await questions(warehouse)["tenant to versions"]()  # connects
        ours = await timed_ours(warehouse)
        theirs = await asyncio.to_thread(timed_mlflow, mlflow_url)
    finally:
        await warehouse.close()
    return {"versions": count, "ours": ours, "mlflow": theirs, "load_average": round(os.getloadavg()[0], 2)}


def page(document: dict[str, Any]) -> str:
    """The same for people."""
    details = document["details"]
    lines = [
        "# Lineage",
        "",
        f"{document['machine']}, {document['date']}; {document['data']}. Made by `make bench NAME=lineage`.",
        "",
        f"The slowest question's best of five: **{document['figures']['query_s']} s** (must: below {MUST_S:g} s). Load "
        f"average at the end: {details['load_average']}.",
        "",
        "| question | found | ours, five times, s | MLflow's search, five times, s | MLflow found |",
        "|---|---|---|---|---|",
    ]
    for name, ours in details["ours"].items():
        theirs = details["mlflow"][name]
        took = ", ".join(map(str, theirs.get("seconds", []))) or theirs["refused"]
        own = ", ".join(map(str, ours["seconds"]))
        lines.append(f"| {name} | {ours['found']} | {own} | {took} | {theirs.get('found', '-')} |")
    lines += [
        "",
        "Ours goes through every tenant for the first question, under row-level security, each in a transaction.",
        "MLflow is asked in this process, without its server's HTTP. It has no lists: entities and pseudonyms are",
        "tags of text that `like` goes through, so that `edge-5` would find `edge-50` as well; and nothing keeps",
        "tenants apart there.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run it and tell; 1 when a question takes too long."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    options = parser.parse_args()
    began, folder = monotonic(), Path(tempfile.mkdtemp(prefix="tonewatch-bench-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user when we are root
    server = EmbeddedPostgres(folder, secrets.token_urlsafe())
    try:
        server.start()
        details = asyncio.run(bench(server))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    slowest = max(each["best_s"] for each in details["ours"].values())
    document = {
        "name": "lineage",
        "figures": {"query_s": slowest},
        "baselines": {"mlflow_search_s": {name: each.get("best_s") for name, each in details["mlflow"].items()}},
        "goals": {"query_s": f"must < {MUST_S:g}"},
        "details": details,
        "data": f"made: {details['versions']:,} versions of {len(FAMILIES)} models, {TENANTS} tenants, {ENTITIES} "
        "entities each",
        "seed": None,
    }
    publish(document, monotonic() - began, options.json, page)
    return int(slowest >= MUST_S)


if __name__ == "__main__":
    raise SystemExit(main())

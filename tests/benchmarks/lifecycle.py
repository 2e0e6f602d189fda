"""The models of a platform look after themselves for weeks: the shape of its traffic changes, and nobody is there.

Each seed is a simulated platform read once a minute. Its models are trained once, on two calm days; a week later each
evening has a peak that no day had before, for good. From then on the benchmark only lets the time pass: it stores each
day's samples and asks Prefect for what the schedules of deployments/prefect.yaml ask for, with the virtual moment as
`as_of`. Whether something drifts, is trained, validated and promoted is the product's business alone. Meanwhile two
challengers are slipped in that pass the offline gate and are worse live. Told are the pages of whoever is champion, and
every step with its run and its version. `make bench NAME=lifecycle`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import Any

from soundstage.simulator.wish import START
from tests.benchmarks._lifecycle_page import document, page, picture
from tests.benchmarks._lifecycle_stage import Carrier, Servers, due, servers
from tests.benchmarks._published import publish, say

TENANT = "simulated"
#: Days: trained after so many; the traffic changes; how long it all lasts; when challengers are slipped in.
TRAINED, CHANGED, DAYS = 2.0, 9.0, 34.0
SABOTAGE = ((4.0, "deaf"), (15.0, "strange"))
#: A minute's samples: windows hold five, and an incident is five windows in a row.
OWN = {"tick_seconds": 60.0, "scrape_seconds": 60.0, "window_seconds": 300.0, "followed_series": 0}
DAY = timedelta(days=1)
CHUNK = timedelta(hours=12)


@dataclass
class Life:
    """One platform's weeks, and what is seen of them."""

    world: Any
    warehouse: Any
    servers: Servers
    carrier: Carrier
    pager: Any
    profile: Any
    sabotaged: list[dict[str, Any]] = field(default_factory=list)
    #: Until when samples were stored, and the champions' pages counted.
    stored: datetime = START - timedelta(seconds=1)
    watched: datetime = START - timedelta(seconds=1)

    @property
    def start(self) -> datetime:
        """Of the platform."""
        began: datetime = self.world.time(0)
        return began

    async def live(self) -> None:
        """All of it. The one thing that is decided here is when the time has passed."""
        await self._arrive()
        events = [(moment, name) for moment, name in due(self.start, self.world.days) if moment > self.start]
        events += [(self.start + TRAINED * DAY, "training")]
        events += [(self.start + day * DAY, how) for day, how in SABOTAGE]
        for moment, name in sorted(events):
            await self._pass(moment)
            if name in [how for _, how in SABOTAGE]:
                await self._sabotage(name, moment)
                continue
            whose = {"tenant": TENANT} if name == "training" else {}
            await self.carrier.ask(name, as_of=moment.isoformat(), **whose)
            self._say(moment, await self.carrier.work())
        await self._pass(self.start + self.world.days * DAY)

    async def _arrive(self) -> None:
        from warehouse import entities, settings_versions, tenants

        at = self.start
        async with self.warehouse.as_tenant(TENANT) as db:
            await tenants.add(TENANT, db, name=TENANT, profile="platform", at=at)
            words = {"profile": "platform", "who": "owner", "reason": "read once a minute"}
            await settings_versions.put(TENANT, db, settings=OWN, over=1, at=at, **words)
            await entities.save(TENANT, db, self.world.entities, at)
            self.profile = self.pager.profile = await tenants.profile(TENANT, db)

    async def _pass(self, until: datetime) -> None:
        """Let the time pass: samples come, and the watcher's champions judge them."""
        from warehouse import samples

        if until > self.stored:
            async with self.warehouse.as_tenant(TENANT) as db:
                await samples.append_columns(TENANT, db, self.world.columns(self.stored, until))
            self.stored = until
        if until >= self.watched + CHUNK:
            self.pager.watch(await self._champions(), self.watched, until)
            self.watched = until

    async def _champions(self) -> Any:
        from tasks.fetch import Bench
        from warehouse import calibrations, lineage

        async with self.warehouse.as_tenant(TENANT) as db:
            mine = await calibrations.newest(TENANT, db)
            retired = await lineage.retired(TENANT, db)
        if not hasattr(self, "_bench"):
            self._bench = Bench(TENANT, self.servers.mlflow)
        return await asyncio.to_thread(self._bench.champions, mine, retired)

    async def _sabotage(self, how: str, at: datetime) -> None:
        from tests.benchmarks._lifecycle_world import sabotage

        told = await sabotage(how, self.world, self.warehouse, self.servers.mlflow, TENANT, self.profile, at)
        self.sabotaged.append(told)
        say(f"day {(at - self.start) / DAY:.1f}: sabotage {told}")

    def _say(self, moment: datetime, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            day = f"day {(moment - self.start) / DAY:.2f}"
            told = line["result"]
            if line["deployment"] == "training" or line["state"] != "Completed":
                say(f"{day}: {line['deployment']} {line['state']} {line['seconds']} s {line['message']} {told}")
            if line["deployment"] == "drift" and told and told["asked"]:
                say(f"{day}: drift asks {told['asked']}")
            if line["deployment"] == "validation":
                ended = [each for each in told or [] if each["final"]]
                if ended or moment.hour < CHUNK.total_seconds() / 3600:
                    words = [f"{e['family']} {e['challenger']}: {e['answer']} {e['reasons'][:150]}" for e in told or []]
                    say(f"{day}: validation {line['seconds']} s {words}")
            if line["deployment"] == "maintenance":
                say(f"{day}: {len(self.pager.found)} pages so far")

    async def told(self) -> dict[str, Any]:
        """What is kept of it."""
        from ml import versions
        from warehouse import audit, drift, validations

        async with self.warehouse.as_tenant(TENANT) as db:
            asked = await drift.requests(TENANT, db)
            lines = await audit.read(TENANT, db, 1000)
            judged = [
                (each, await validations.newest(TENANT, db, each.id)) for each in await validations.listed(TENANT, db)
            ]
        held = await asyncio.to_thread(versions.listed, self.servers.mlflow)
        return {
            "start": self.start,
            "pages": [(met.isoformat(), family) for met, family in self.pager.found],
            "runs": [{**line, "result": None} for line in self.carrier.told],
            "drift_asked": [
                {"view": e.view, "asked": e.asked, "delivered": e.delivered, "run": e.flow_run, "why": e.reason}
                for e in asked
            ],
            "validations": [
                {
                    "family": e.family,
                    "champion": e.champion,
                    "challenger": e.challenger,
                    "started": e.started,
                    "promoted": e.promoted,
                    "answer": look.answer if look else "",
                    "final": look.final if look else False,
                    "until": look.until if look else None,
                    "reasons": list(look.reasons) if look else [],
                }
                for e, look in judged
            ],
            "versions": [
                {
                    "family": v.family,
                    "version": v.version,
                    "aliases": v.aliases,
                    "judges": v.judges,
                    "run": v.run,
                    "data_end": v.tags.get("data_end"),
                    "gate": v.tags.get("gate"),
                    "reason": v.tags.get("gate_reason"),
                }
                for v in held
            ],
            "audit": [
                {"at": e.time, "what": e.what, "who": e.who, "subject": e.subject, "after": e.after} for e in lines
            ],
            "sabotaged": self.sabotaged,
        }


async def _lived(seed: int, days: float, found: Servers) -> dict[str, Any]:
    from prefect.client.orchestration import get_client

    from tests.benchmarks._lifecycle_world import SERIES, Evenings, Pager
    from warehouse.database import Warehouse

    world = Evenings(seed, SERIES, days, 0.0, faults=False, changed=CHANGED)
    warehouse = Warehouse(found.app_url, found.dispatcher_url)
    try:
        async with get_client() as client:
            carrier = Carrier(client)
            await carrier.switch_schedules_off()
            life = Life(world, warehouse, found, carrier, Pager(world, None), None)  # type: ignore[arg-type]
            await life.live()
            return await life.told()
    finally:
        await warehouse.close()


def lived(asked: tuple[int, float]) -> dict[str, Any]:
    """One seed, in a process of its own: Prefect reads where its server is when it is imported."""
    seed, days = asked
    began = monotonic()
    with servers(TENANT) as found:
        os.environ.update(found.environment)
        told = asyncio.run(_lived(seed, days, found))
    return told | {"seed": seed, "seconds": round(monotonic() - began)}


def main() -> int:
    """Run it and tell."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="which platforms (default 1 2)")
    parser.add_argument("--days", type=float, default=DAYS, help=f"how long (default {DAYS:g})")
    parser.add_argument("--json", type=Path, help="write the result to this file, its page and picture beside it")
    options = parser.parse_args()
    began = monotonic()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        lives = list(pool.map(lived, [(seed, options.days) for seed in options.seeds]))
    told = document(lives, changed=CHANGED, days=options.days)
    publish(told, monotonic() - began, options.json, page)
    if options.json is not None:
        options.json.with_suffix(".png").write_bytes(picture(told))
    return 0 if told["figures"]["sabotage_promoted"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

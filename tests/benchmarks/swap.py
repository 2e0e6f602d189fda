"""Hot swaps under load: champions change under a watcher that ticks, while it and MLflow are killed in the middle.

A watcher ticks in a process of its own on a real PostgreSQL and a real MLflow and asks for champions many times a
second, as console/watch.py does every ten seconds. The alias goes to and fro between two versions; the watcher is
killed at stated times after the alias moved, and in the middle of downloads; so is MLflow. Of each tick it is asked
whether it is stored once, and whether what it told is what the version that it names gives alone, bit for bit.
`make bench NAME=swap`.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from console.stack.postgres import EmbeddedPostgres
from ml import registry
from ml.champion import Champion
from ml.detectors.isolation_forest import ForestDetector
from tests.benchmarks._published import publish, say
from tests.integration import warmed
from tests.integration.servers import mlflow_in
from tests.integration.swapping import (
    FAMILY,
    THRESHOLD,
    Drill,
    Scores,
    Site,
    Stored,
    Verdict,
    alone,
    dropped,
    prepared,
    read,
    stored,
    verdict,
    whole_of,
)
from tests.unit.transcoders import NOON
from warehouse import tenants
from warehouse.database import Warehouse
from warehouse.migrate import RolePasswords, create_database, migrate

TENANT = "swap"
PARTS, PACE = 12, 0.5
#: Of each round: moves that nobody waits for, seconds apart; then one that is waited for; then a kill of the watcher,
#: so many seconds after a move, or in a download. Kills of MLflow come among them; ticks go on without it for a while.
UNSEEN, APART = 3, 0.3
AFTER, IN_DOWNLOAD = [round(0.05 * number, 2) for number in range(16)], 6
SERVERS, TICKS_WITHOUT = (6, 14), 10
MUST_SWAPS, MUST_KILLS = 100, 20


def drilled(drill: Drill, until: float) -> None:
    """Rounds of swaps and kills, as long as there is time: until the monotonic clock says so."""
    drill.start()
    try:
        for number, seconds in enumerate([*AFTER, *[None] * IN_DOWNLOAD]):
            if monotonic() > until:
                say("the time is over")
                break
            drill.swap_unseen(UNSEEN, APART)
            drill.swap_and_see()
            drill.kill_in_download() if seconds is None else drill.kill_after(seconds)
            say(f"{drill.moved} moves; kill {len(drill.killed)}, {drill.killed[-1]} s after the alias had moved")
            if number in SERVERS:
                drill.kill_server_in_download(TICKS_WITHOUT)
                say("MLflow was killed in a download, and is back")
        drill.swap_and_see()
    finally:
        drill.stop()


def planted(site: Site, whole: Mapping[str, Scores], version: str, ticks: int) -> int:
    """How many scores of a model that lacks half of its trees are seen to be none of the whole one's."""
    detector = registry.fetch(site.mlflow_url, FAMILY, version).detector
    assert isinstance(detector, ForestDetector)
    assert detector.pipeline is not None
    forest = detector.pipeline[-1]
    forest.estimators_ = forest.estimators_[: len(forest.estimators_) // 2]
    told = alone(site, Champion(FAMILY, detector, THRESHOLD, 0.01), ticks)
    name = next(each for each in whole if each.endswith(f"/{version}"))
    return sum(whole[name].get(key) != score for key, score in told.items())


async def bench(server: EmbeddedPostgres, folder: Path, seconds: float) -> tuple[Drill, Verdict, Stored, int]:
    """Run the drill and hold what it left against each version alone."""
    passwords = RolePasswords(app=secrets.token_urlsafe(), dispatcher=secrets.token_urlsafe())
    migrate(create_database(server.url("postgres"), "tonewatch"), passwords)
    app_url = server.url("tonewatch", "tonewatch_app", passwords.app)
    warehouse = Warehouse(app_url)
    async with warehouse.as_tenant(TENANT) as db:
        await tenants.add(TENANT, db, name=TENANT, profile="demo", at=NOON)
    made = folder / "mlflow"
    made.mkdir()
    (folder / "watcher").mkdir()
    with mlflow_in(made) as mlflow:
        site = Site(TENANT, app_url, mlflow.url, folder / "watcher", PARTS, PACE)
        versions = await prepared(warehouse, site)
        nursery = multiprocessing.get_context("forkserver")
        nursery.set_forkserver_preload([warmed.__name__, __spec__.name])
        drill = Drill(site, mlflow, versions, nursery)
        await asyncio.to_thread(drilled, drill, monotonic() + seconds)
        lines = read(site)
        say(f"{len(lines)} ticks; now each version alone")
        whole = await asyncio.to_thread(whole_of, site, versions, lines[-1]["tick"] + 1)
        seen = await asyncio.to_thread(planted, site, whole, versions[0], 200)
    kept = await stored(warehouse, site, whole)
    await warehouse.close()
    return drill, verdict(lines, whole), kept, seen


def document(drill: Drill, found: Verdict, kept: Stored, seen: int) -> dict[str, Any]:
    """The result."""
    kills = len(drill.killed)
    return {
        "name": "swap",
        "figures": {
            "swaps": drill.moved,
            "taken_up": found.swaps,
            "kills": kills + drill.servers_killed,
            "ticks": max(kept.numbers),
            "dropped": dropped(kept.numbers),
            "half_loaded": found.half_loaded + found.mixed + kept.half_loaded,
            "scores": found.scores,
        },
        "baselines": {"half_a_forest_seen": seen},
        "goals": {
            "swaps": f"must >= {MUST_SWAPS}",
            "kills": f"must >= {MUST_KILLS}",
            "dropped": "must be 0",
            "half_loaded": "must be 0",
        },
        "details": {
            **asdict(found),
            "stored_findings": kept.findings,
            "watcher_killed_after_s": drill.killed,
            "of_these_in_a_download": drill.in_download,
            "mlflow_killed_in_a_download": drill.servers_killed,
            "load_average": round(os.getloadavg()[0], 2),
        },
        "data": f"made: {PARTS} transcoders, {25 * PARTS:,} samples a tick, a tick every {PACE} s or "
        "as fast as it goes; two isolation forests",
        "seed": [1, 2],
    }


def page(document: dict[str, Any]) -> str:
    """The same for people."""
    figures, details = document["figures"], document["details"]
    kills = ", ".join(f"{seconds:g}" for seconds in details["watcher_killed_after_s"])
    lines = [
        "# Hot swaps",
        "",
        f"{document['machine']}, {document['date']}; {document['data']}. Made by `make bench NAME=swap`.",
        "",
        f"- The alias moved **{figures['swaps']}** times; {figures['taken_up']} times a tick was judged by the other "
        "one than the tick before: moves that follow one another fast, and kills, overtake each other.",
        f"- **{figures['kills']}** kills (-9): the watcher {len(details['watcher_killed_after_s'])} times, "
        f"{details['of_these_in_a_download']} of these with a download under way, and MLflow "
        f"{details['mlflow_killed_in_a_download']} times in the middle of one.",
        f"- **{figures['ticks']:,}** ticks, of which **{figures['dropped']}** are not stored exactly once.",
        f"- **{figures['scores']:,}** scores that ticks told, and {details['stored_findings']:,} stored findings, of "
        f"which **{figures['half_loaded']}** are not, bit for bit, what the version that they name gives alone. In a "
        "tick one version judges everything.",
        f"- Does the count see anything? Of a forest that lacks half of its trees it finds "
        f"{document['baselines']['half_a_forest_seen']:,} scores in 200 ticks.",
        "",
        f"The watcher was killed so many seconds after the alias had moved: {kills}.",
        "",
        f"Longest from tick to tick in one process: {details['longest_s']:.2f} s, with swaps going on all the time; a "
        f"pause is the machine's, too. Load average at the end: {details['load_average']}. No tick waits for a fetch.",
        "",
        "What falls short:",
        "",
        f"- {details['unjudged']:,} ticks in which either version would have told something were judged by no model: a "
        "watcher that has just started ticks with rules alone until the registry has said who is champion. The kills "
        "here make such starts; a swap alone makes none.",
        "- The platform is made, the ticks are the watcher's own (`flows/detection.py`, `tasks/fetch.py`), its loops "
        "are not: they are driven here, so that each tick can be compared.",
        "- A watcher that is killed between a tick's commit and the line by which this benchmark hears of it has "
        "stored that tick; its scores are compared by its stored findings alone.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run it and tell; 1 when a must is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    parser.add_argument("--minutes", type=float, default=60.0, help="no further round is begun after so long")
    options = parser.parse_args()
    began, folder = monotonic(), Path(tempfile.mkdtemp(prefix="tonewatch-bench-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user when we are root
    database = folder / "postgres"
    database.mkdir(mode=0o711)
    server = EmbeddedPostgres(database, secrets.token_urlsafe())
    try:
        server.start()
        told = document(*asyncio.run(bench(server, folder, options.minutes * 60)))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    publish(told, monotonic() - began, options.json, page)
    figures = told["figures"]
    short = figures["swaps"] < MUST_SWAPS or figures["kills"] < MUST_KILLS
    return int(short or figures["dropped"] > 0 or figures["half_loaded"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())

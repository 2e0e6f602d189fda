"""A real Prometheus scrapes the soundstage and remote-writes for ten minutes, while gateway and PostgreSQL are killed.

Each is killed (-9) five times, in turns. At the end every sample that Prometheus holds must be in the warehouse once.
`make pushed ARGS="--minutes 10 --kills 5"` writes docs/results/pushed.json and its page.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.campaign.calm import RESULTS, ROOT
from tests.integration.pushed import PROMETHEUS, Pushed, pushing, until
from tonewatch.clock import SYSTEM


@contextmanager
def soundstage(seed: int) -> Iterator[Path]:
    """A soundstage of its own; gives the file that says where its inventory is."""
    with tempfile.TemporaryDirectory(prefix="tw-pushed-stage-") as folder:
        command = [sys.executable, "-m", "soundstage", "run", "--dir", folder, "--seed", str(seed)]
        command += ["--channels", "2", "--players", "20", "--day", "90"]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            yield Path(folder)
        finally:
            process.terminate()
            process.wait(30)


async def targets(folder: Path) -> list[str]:
    """host:port of every process of the soundstage that exposes metrics."""
    file = folder / "stage.json"

    async def written() -> bool:
        return file.exists()

    await until(written, 60, "the soundstage says where it is")
    address = json.loads(file.read_text(encoding="utf-8"))["inventory_url"]
    async with httpx.AsyncClient() as client:
        inventory = (await client.get(address)).json()
    return sorted({urlsplit(part["metrics_url"]).netloc for part in inventory["components"] if part.get("metrics_url")})


async def run(minutes: float, kills: int, seed: int) -> dict[str, Any]:
    """The whole: what Prometheus held, what is missing, what is there twice."""
    with soundstage(seed) as folder:
        async with pushing() as pushed:
            began = SYSTEM.now()
            where = await targets(folder)
            await pushed.start_prometheus([{"job_name": "soundstage", "static_configs": [{"targets": where}]}])
            print(f"  {len(where)} targets of the soundstage are scraped every second", flush=True)
            await _killing(pushed, minutes * 60, kills)
            held, missing, repeated = await pushed.missing(began, f"{round(minutes * 60 + 600)}s")
            return {
                "minutes": minutes,
                "killed": pushed.killed,
                "targets": len(where) + 1,
                "samples": held,
                "missing": len(missing),
                "repeated": repeated,
            }


async def _killing(pushed: Pushed, seconds: float, kills: int) -> None:
    began, clock = asyncio.get_running_loop().time(), asyncio.get_running_loop().time
    for number in range(2 * kills):
        # Spread over the time; nothing is waited for but the time itself.
        await asyncio.sleep(max(0.0, began + (number + 0.5) * seconds / (2 * kills) - clock()))
        victim, kill = (("gateway", pushed.kill_gateway), ("PostgreSQL", pushed.kill_postgres))[number % 2]
        await kill()
        print(f"  [{clock() - began:5.0f} s] {victim} was killed and is back", flush=True)
    await asyncio.sleep(max(0.0, began + seconds - clock()))


def main() -> int:
    """Run it; 1 if a sample is missing or there twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    parser.add_argument("--kills", type=int, default=5, help="how often each is killed (default 5)")
    parser.add_argument("--seed", type=int, default=1, help="the soundstage's seed (default 1)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of pushed.json and pushed.md")
    options = parser.parse_args()
    if PROMETHEUS is None:
        parser.error("prometheus is not installed here (Debian: apt-get install prometheus)")
    figures = asyncio.run(run(options.minutes, options.kills, options.seed))
    record = {
        "figures": figures,
        "baselines": {"samples": "what Prometheus' own API gives of the same time"},
        "goals": {"missing": 0, "repeated": 0},
        "data": "soundstage, 2 channels, 20 players, and Prometheus itself, scraped each second by Debian's Prometheus",
        "seed": options.seed,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "pushed.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (options.out / "pushed.md").write_text(page(record), encoding="utf-8")
    print(json.dumps(figures, indent=1))
    return int(bool(figures["missing"] or figures["repeated"]))


def page(record: dict[str, Any]) -> str:
    """The same for people."""
    figures = record["figures"]
    return (
        f"# Pushed\n\n{record['data']}; {figures['minutes']:g} minutes; {record['machine']}; {record['date']}. "
        "Made by `make pushed`.\n\n"
        f"While it ran the gateway was killed (-9) {figures['killed']['gateway']} times and PostgreSQL "
        f"{figures['killed']['postgres']} times.\n\n"
        "| samples that Prometheus holds | missing in the warehouse | there more than once |\n|---|---|---|\n"
        f"| {figures['samples']} | {figures['missing']} | {figures['repeated']} |\n"
    )


if __name__ == "__main__":
    sys.exit(main())

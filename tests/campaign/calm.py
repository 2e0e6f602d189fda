"""Clean soundstage, watched: no incident may be opened, and memory and disk must stay flat.

Memory is told part by part, and disk in two: the hot samples, which are kept on purpose until 48 hours are over and
whose rate is therefore the platform's and no leak, and all the rest, which must not grow.

Each run lasts 20 minutes or more and is added to docs/results/calm.json: `make calm ARGS="--seed 1 --minutes 21"`.
Starved seconds (console/starvation.py) are marked and not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import text

from console.commands import run as run_with
from warehouse.database import Warehouse

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
SAMPLE_SECONDS = 30.0
LEAST_MINUTES = 20.0
WANTED_MINUTES = 60.0
DAY_SECONDS = 90.0
MIB = 1024 * 1024
SAMPLES = text("""
    select coalesce(sum(pg_total_relation_size(oid)), 0) from pg_class
    where relkind = 'r' and (relname ~ '^sample_' or relname = 'delivery')
""")

#: (seconds since the calm began, MiB)
Points = list[tuple[float, float]]


class Meter:
    """Memory (PSS) of the stack's parts and size of its state folder, every half minute while it is calm, in MiB."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.memory: dict[str, Points] = defaultdict(list)
        self.disk: dict[str, Points] = defaultdict(list)
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to measure."""
        self._thread.start()

    def end(self) -> None:
        """Measure no more."""
        self.stop.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while True:
            at = time.monotonic() - began
            parts, whole, samples = pss_mib(self.state), disk_mib(self.state), samples_mib(self.state)
            for part, size in {**parts, "all": sum(parts.values())}.items():
                self.memory[part].append((at, size))
            for kind, size in {"all": whole, "samples": samples, "rest": whole - samples}.items():
                self.disk[kind].append((at, size))
            if self.stop.wait(SAMPLE_SECONDS):
                return


def pss_mib(state: Path) -> dict[str, float]:
    """Proportional set size, in MiB, of each part that the stack's record names, its children included."""
    record = json.loads((state / "stack.json").read_text(encoding="utf-8"))
    owner = {part["pid"]: part["name"] for part in record["parts"] if part.get("pid")}
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended while we looked
    grown = True
    while grown:
        children = {pid: owner[parent] for pid, parent in parents.items() if parent in owner and pid not in owner}
        owner |= children
        grown = bool(children)
    sizes: dict[str, float] = defaultdict(float)
    for pid, part in owner.items():
        sizes[part] += _pss(pid) / MIB
    return sizes


def samples_mib(state: Path) -> float:
    """Size of the tables of hot samples with their indexes, in MiB."""

    async def ask(warehouse: Warehouse) -> float:
        async with warehouse.as_dispatcher() as db:
            return float((await db.execute(SAMPLES)).scalar_one()) / MIB

    return run_with(state, ask)


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def disk_mib(folder: Path) -> float:
    """Size of everything below `folder`, in MiB."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except OSError:
            continue  # a database's file may go while we look
    return total / MIB


def slope(points: Points) -> float:
    """Growth per hour by Theil and Sen's median of slopes (Sen 1968): one burst moves it little."""
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(points) for b in points[i + 1 :] if b[0] > a[0]]
    return round(3600 * statistics.median(slopes), 2) if slopes else 0.0


def run(seed: int, minutes: float) -> dict[str, Any]:
    """One run of the demo without a fault; what came of it."""
    folder = Path(tempfile.mkdtemp(prefix="tonewatch-calm-"))
    folder.chmod(0o711)  # the embedded database of a root's run belongs to another user
    state, result = folder / "state", folder / "result.json"
    state.mkdir(mode=0o711)
    command = [sys.executable, "-m", "console.cli", "demo", "--faults", "none", "--calm", str(minutes)]
    command += ["--seed", str(seed), "--out", str(folder / "out"), "--json", str(result), "--state-dir", str(state)]
    began = datetime.now(UTC)
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    meter, lines = Meter(state), []
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            print("   ", line, end="", flush=True)
            if "watching the calm" in line and not meter.memory:
                meter.start()
            if "gathering" in line and meter.memory and not meter.stop.is_set():
                meter.end()
        process.wait()
        if not result.exists():
            raise SystemExit(f"the demo gave no result (status {process.returncode}); last lines: {lines[-5:]}")
        told = json.loads(result.read_text(encoding="utf-8"))
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)
    starved = float(told["host_starved_s"])
    return {
        "seed": seed,
        "began": began.isoformat(),
        "minutes": minutes,
        "starved_s": starved,
        "unstarved_minutes": round(max(0.0, minutes - starved / 60), 2),
        "incidents": told["false_incidents"],
        "memory": {part: growth(points) for part, points in meter.memory.items()},
        "disk": {kind: growth(points) for kind, points in meter.disk.items()},
        "commit": commit(),
    }


def growth(points: Points) -> dict[str, float]:
    """First and last size in MiB, and the growth per hour over the whole and over the second half of the run."""
    return {
        "first_mib": round(points[0][1], 1),
        "last_mib": round(points[-1][1], 1),
        "mib_per_hour": slope(points[len(points) // 4 :]),
        "second_half_mib_per_hour": slope(points[len(points) // 2 :]),
    }


def commit() -> str:
    """The commit that is checked out."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def write(folder: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """Add the run to calm.json and write its page anew."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "calm.json"
    runs = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.exists() else []
    runs.append(fresh)
    seeds = sorted({each["seed"] for each in runs})
    counted = {seed: [each for each in runs if each["seed"] == seed] for seed in seeds}
    record = {
        "figures": {
            f"seed-{seed}": {
                "unstarved_minutes": round(sum(each["unstarved_minutes"] for each in mine), 1),
                "compressed_days": round(sum(each["unstarved_minutes"] for each in mine) * 60 / DAY_SECONDS, 1),
                "incidents": sum(each["incidents"] for each in mine),
                "starved_s": sum(each["starved_s"] for each in mine),
            }
            for seed, mine in counted.items()
        },
        "runs": runs,
        "baselines": {},
        "goals": {"unstarved_minutes": f"must be {WANTED_MINUTES:g} for two seeds", "incidents": 0},
        "data": "soundstage without faults, 2 channels, 20 players, real time, after two compressed days of learning",
        "seed": seeds,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }
    file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (folder / "calm.md").write_text(page(record), encoding="utf-8")
    return record


def page(record: dict[str, Any]) -> str:
    """The same for people."""
    lines = ["# Calm", "", f"{record['data']}; {record['machine']}; {record['date']}. Made by `make calm`.", ""]
    lines += ["| seed | unstarved minutes | compressed days | incidents | starved s |", "|---|---|---|---|---|"]
    for name, figure in record["figures"].items():
        cells = [name.removeprefix("seed-"), *figure.values()]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    lines += [
        "",
        "First and last size, MiB, and growth in MiB an hour after the first quarter and in the second half.",
        "",
    ]
    lines += ["| seed | began | minutes | what | first | last | growth | second half |", "|" + "---|" * 8]
    for each in record["runs"]:
        head = f"| {each['seed']} | {each['began'][:16]} | {each['minutes']:g} | "
        for kind in ("memory", "disk"):
            for what, figure in each[kind].items():
                lines.append(
                    f"{head}{kind}: {what} | "
                    + " | ".join("-" if size is None else f"{size:g}" for size in figure.values())
                    + " |"
                )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run once and add it; 1 if an incident was opened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="the soundstage's seed (default 1)")
    parser.add_argument("--minutes", type=float, default=21.0, help=f"length, at least {LEAST_MINUTES:g} (default 21)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of calm.json and calm.md")
    options = parser.parse_args()
    if options.minutes < LEAST_MINUTES:
        parser.error(f"a run shorter than {LEAST_MINUTES:g} minutes shows no growth")
    fresh = run(options.seed, options.minutes)
    record = write(options.out, fresh)
    print(json.dumps(record["figures"], indent=1))
    return int(fresh["incidents"] > 0)


if __name__ == "__main__":
    sys.exit(main())

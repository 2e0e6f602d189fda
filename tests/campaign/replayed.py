"""A soundstage with a fault is watched and recorded, and the recording is replayed: do the findings hash the same?

Twice in this process and once in another, by the rules alone; and twice, in processes of their own, with the champions
that the demo has learned. `make replayed ARGS="--minutes 60"` writes docs/results/replayed.json and its page. What the
watcher found live stands beside it: a replay hears each sample at its own time, the watcher when it came.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from console.commands import connected_settings
from console.commands import run as run_with
from flows.replay import replay
from tests.campaign.calm import RESULTS, ROOT, commit
from tonewatch.recording import open_recording
from tonewatch.records import Finding
from tonewatch.settings import load_profile
from warehouse import findings
from warehouse.database import Warehouse

TENANT = PROFILE = "demo"
#: The demo learns for two compressed days before, and the fault takes its time after the calm.
AROUND_MINUTES = 4.0
PATIENCE_S = 900.0


def tonewatch(*words: str) -> str:
    """What a command said; it must end well."""
    command = [sys.executable, "-m", "console.cli", *words]
    told = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    return told.stdout


class Demo:
    """A demo that stays up after its fault. Close it."""

    def __init__(self, folder: Path, minutes: float, fault: str, seed: int, patience_s: float = PATIENCE_S) -> None:
        self.state, self.result = folder / "state", folder / "result.json"
        self.state.mkdir(mode=0o711)
        calm = max(0.0, minutes - AROUND_MINUTES)
        command = [sys.executable, "-m", "console.cli", "demo", "--faults", fault, "--calm", f"{calm:g}", "--keep"]
        command += ["--seed", str(seed), "--out", str(folder / "out"), "--json", str(self.result)]
        command += ["--state-dir", str(self.state)]
        self.began = datetime.now(UTC)
        self._until = time.monotonic() + minutes * 60 + patience_s
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)

    @property
    def stage(self) -> Path | None:
        """The folder of its soundstage as soon as that is on air, long before there is a result."""
        for announced in Path("/tmp").glob("tonewatch-demo-*/stage/stage.json"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                pid = json.loads(announced.read_text(encoding="utf-8"))["pid"]
                status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
                if int(status.rpartition(")")[2].split()[1]) == self._process.pid:
                    return announced.parent
        return None

    def wait(self) -> dict[str, Any]:
        """Until the fault is over; the demo's result. Raises SystemExit: it gave none."""
        while not self.result.exists() or not self.result.read_text(encoding="utf-8").endswith("}\n"):
            if self._process.poll() is not None or time.monotonic() > self._until:
                raise SystemExit(f"the demo gave no result (status {self._process.returncode})")
            time.sleep(1.0)  # another process can only be asked
        told: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        return told

    def close(self) -> None:
        """Take it down."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(120)


def run(minutes: float, fault: str, seed: int, kept: Path | None) -> dict[str, Any]:
    """One demo, recorded and replayed; what came of it."""
    folder = Path(tempfile.mkdtemp(prefix="tonewatch-replayed-"))
    folder.chmod(0o711)  # the embedded database of a root's run belongs to another user
    recording = kept or folder / "recording"
    demo = Demo(folder, minutes, fault, seed)
    try:
        came_to = demo.wait()
        end = datetime.now(UTC)
        start = max(demo.began, end - timedelta(minutes=minutes))
        stretch = ("--from", start.isoformat(), "--to", end.isoformat())
        state = ("--state-dir", str(demo.state))
        told = json.loads(tonewatch("record", *stretch, "--out", str(recording), "--tenant", TENANT, "--json", *state))
        mlflow = connected_settings(demo.state).mlflow_tracking_uri
        again = replays(recording, mlflow)
        live = _live(demo.state, start, end)
    finally:
        demo.close()
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "minutes": round((end - start).total_seconds() / 60, 1),
        "fault": fault,
        "seed": seed,
        "recording": {name: told[name] for name in ("hash", "series", "samples", "changes", "sessions")},
        "replays": again,
        "live": sorted({_name(each) for each in live}),
        "starved_s": float(came_to["host_starved_s"]),
        "commit": commit(),
    }


def replays(recording: Path, mlflow: str | None) -> dict[str, Any]:
    """Hashes of the replays, and what the first of each kind found."""
    opened = open_recording(recording)
    began = time.monotonic()
    first = replay(opened, load_profile(PROFILE))
    seconds = time.monotonic() - began
    second = replay(open_recording(recording), load_profile(PROFILE))
    other = json.loads(tonewatch("replay", str(recording), "--profile", PROFILE, "--json"))
    found: dict[str, Any] = {
        "rules": {
            "hashes": [first.hash, second.hash, other["hash"]],
            "findings": len(first.findings),
            "named": sorted({_name(each) for each in first.findings}),
            "seconds": round(seconds, 1),
            "ticks": first.ticks,
        }
    }
    if mlflow is not None:
        scored = [
            json.loads(tonewatch("replay", str(recording), "--profile", PROFILE, "--models", mlflow, "--json"))
            for _ in range(2)
        ]
        found["champions"] = {
            "hashes": [each["hash"] for each in scored],
            "findings": len(scored[0]["findings"]),
            "named": sorted({f"{each['entity']} {each['symptom']}" for each in scored[0]["findings"]}),
        }
    return found


def _name(finding: Finding) -> str:
    return f"{finding.entity} {finding.symptom}"


def _live(state: Path, start: datetime, end: datetime) -> list[Finding]:
    async def ask(warehouse: Warehouse) -> list[Finding]:
        async with warehouse.as_tenant(TENANT) as db:
            found = await findings.since(TENANT, db, start)
        return [each for each in found if each.ended < end]

    return run_with(state, ask)


def same(fresh: Mapping[str, Any]) -> bool:
    """Whether every kind of replay gave one hash."""
    return all(len(set(each["hashes"])) == 1 for each in fresh["replays"].values())


def write(folder: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """Write replayed.json and its page."""
    record = {
        "figures": {
            "same_hash": same(fresh),
            "replays": {kind: len(each["hashes"]) for kind, each in fresh["replays"].items()},
            "findings": {kind: each["findings"] for kind, each in fresh["replays"].items()},
            "minutes": fresh["minutes"],
            "samples": fresh["recording"]["samples"],
            "replay_s": fresh["replays"]["rules"]["seconds"],
            "live_also_replayed": len(set(fresh["live"]) & _named(fresh)),
            "live": len(fresh["live"]),
        },
        "run": fresh,
        "baselines": {},
        "goals": {"same_hash": "must be true: twice, and in another process"},
        "data": f"soundstage, 2 channels, 20 players, real time, with {fresh['fault']} in it; recorded by its watcher",
        "seed": fresh["seed"],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "replayed.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (folder / "replayed.md").write_text(page(record), encoding="utf-8")
    return record


def _named(fresh: Mapping[str, Any]) -> set[str]:
    """What any replay found."""
    return {name for each in fresh["replays"].values() for name in each["named"]}


def page(record: dict[str, Any]) -> str:
    """The same for people."""
    ran = record["run"]
    lines = ["# Replay", "", f"{record['data']}; {record['machine']}; {record['date']}. Made by `make replayed`.", ""]
    told = ran["recording"]
    lines += [
        f"{ran['minutes']} minutes, {told['series']} series, {told['samples']:,} samples; host starved for "
        f"{ran['starved_s']:g} s; commit {ran['commit']}. The recording's hash is `{told['hash']}`.",
        "",
        "| judged by | replays | findings | one hash | hashes |",
        "|---|---|---|---|---|",
    ]
    for kind, each in ran["replays"].items():
        hashes = sorted(set(each["hashes"]))
        one = "yes" if len(hashes) == 1 else "NO"
        lines.append(f"| {kind} | {len(each['hashes'])} | {each['findings']} | {one} | `{'`, `'.join(hashes)}` |")
    only_live, only_replayed = set(ran["live"]) - _named(ran), _named(ran) - set(ran["live"])
    lines += [
        "",
        f"The watcher found {len(ran['live'])} kinds of thing live; of these {len(set(ran['live']) & _named(ran))} "
        "were found again. A replay hears each sample at its own time, the watcher when it came.",
        "",
        f"Only live: {', '.join(sorted(only_live)) or 'none'}. Only in a replay: "
        f"{', '.join(sorted(only_replayed)) or 'none'}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run it; 1 if a hash differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the recording (default 60)")
    parser.add_argument("--fault", default="transcoder-crash", help="which fault is in it (default transcoder-crash)")
    parser.add_argument("--seed", type=int, default=1, help="of the soundstage and the fault (default 1)")
    parser.add_argument("--recording", type=Path, help="new folder in which the recording is kept (default: nowhere)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of replayed.json and replayed.md")
    options = parser.parse_args()
    if options.minutes < 1:
        parser.error("--minutes must be 1 or more")
    fresh = run(options.minutes, options.fault, options.seed, options.recording)
    record = write(options.out, fresh)
    print(json.dumps(record["figures"], indent=1))
    return int(not record["figures"]["same_hash"])


if __name__ == "__main__":
    sys.exit(main())

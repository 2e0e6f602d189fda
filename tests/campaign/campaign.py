"""The demo again and again: three seeds, Prefect killed during the fault, Prefect frozen during the fault.

Writes docs/results/campaign.json and its page. Takes about 40 minutes: `make campaign`.
A run on a starved machine (more than 5 % of its seconds) is void, repeated once, and counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
VOID_SHARE = 0.05
RECORDED_SECONDS = 120.0
#: What the record keeps of a result beside the fault itself.
KEPT = ("recorded", "false_incidents", "host_starved_s", "started_s", "memory_mib")
FLOWS = ("detection", "correlation", "remediation", "training")


@dataclass(frozen=True)
class Case:
    """One run: its seed, and what is done to the Prefect server when the fault is injected."""

    name: str
    seed: int
    disturb: int | None = None


CASES = (
    Case("seed-1", 1),
    Case("seed-2", 2),
    Case("seed-3", 3),
    Case("prefect-killed", 4, signal.SIGKILL),
    Case("prefect-frozen", 5, signal.SIGSTOP),
)


@dataclass
class Run:
    """A demo as a child process, with its outputs in a folder of its own."""

    case: Case
    folder: Path
    lines: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    frozen: int | None = None

    def go(self) -> dict[str, Any]:
        """Run it; the result with `recorded` (runs that Prefect shows completed) added."""
        self.state.mkdir(mode=0o711, parents=True)
        command = [sys.executable, "-m", "console.cli", "demo", "--seed", str(self.case.seed), "--keep"]
        command += ["--out", str(self.folder / "out"), "--json", str(self.result), "--state-dir", str(self.state)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        began = time.monotonic()
        try:
            self._follow()
            recorded = self._recorded() if self.result.exists() else {}
        finally:
            self._thaw()
            self.process.send_signal(signal.SIGINT)
            self.process.wait(120)
        if not self.result.exists():
            raise SystemExit(f"{self.case.name}: the demo gave no result; its last lines: {self.lines[-5:]}")
        result: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        return {**result, "recorded": recorded, "seconds": round(time.monotonic() - began)}

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    def _follow(self) -> None:
        """Read its lines until its result is there; disturb Prefect at the injection, thaw it afterwards."""
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            print("   ", line, end="", flush=True)
            if ": injected" in line or "] injected" in line:
                self._disturb()
            if ": over" in line or "have passed" in line:
                self._thaw()
            if self.result.exists() and "gathering" not in line:
                return

    def _disturb(self) -> None:
        if self.case.disturb is None:
            return
        pid = self._part("prefect")["pid"]
        os.kill(pid, self.case.disturb)
        self.frozen = pid if self.case.disturb == signal.SIGSTOP else None

    def _thaw(self) -> None:
        if self.frozen is not None:
            os.kill(self.frozen, signal.SIGCONT)
            self.frozen = None

    def _part(self, name: str) -> dict[str, Any]:
        record = json.loads((self.state / "stack.json").read_text(encoding="utf-8"))
        return next(part for part in record["parts"] if part["name"] == name)

    def _recorded(self) -> dict[str, int]:
        """Completed runs per flow, once those of the incident are there or time is up."""
        deadline = time.monotonic() + RECORDED_SECONDS
        counts: dict[str, int] = {}
        while time.monotonic() < deadline:
            counts = self._completed()
            if all(counts.get(flow) for flow in FLOWS):
                break
            time.sleep(2)  # Prefect is another process: there is nothing to await
        return counts

    def _completed(self) -> dict[str, int]:
        url = json.loads((self.state / "stack.json").read_text(encoding="utf-8"))["prefect_api_url"]
        counts = {}
        for flow in FLOWS:
            wanted = {"flows": {"name": {"any_": [flow]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
            try:
                counts[flow] = int(httpx.post(f"{url}/flow_runs/count", json=wanted, timeout=5).text)
            except (httpx.HTTPError, ValueError):
                return counts
        return counts


def mended(result: dict[str, Any]) -> bool:
    """What each run must show."""
    if not result["faults"] or result["false_incidents"]:
        return False
    return all(
        fault["detected_s"] is not None
        and fault["cause_named"] == fault["cause_true"]
        and fault["impact_ended_s"] is not None
        and fault["impact_ended_s"] <= 60
        and fault["verdict"] == "worked"
        for fault in result["faults"]
    ) and all(result["recorded"].get(flow) for flow in FLOWS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of cases, separated by commas")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of campaign.json and campaign.md")
    options = parser.parse_args()
    chosen = [case for case in CASES if not options.only or case.name in options.only.split(",")]
    runs, void = {}, 0
    for case in chosen:
        result = once(case)
        if starved(result):
            void += 1
            print(f"{case.name}: void, starved for {result['host_starved_s']} of {result['seconds']} s; repeated")
            result = once(case)
        runs[case.name] = result
        print(f"{case.name}: {'as it must be' if mended(result) else 'NOT as it must be'}", flush=True)
    write(options.out, runs, void)
    return 0 if all(map(mended, runs.values())) else 1


def once(case: Case) -> dict[str, Any]:
    """One run in a folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="tonewatch-campaign-"))
    folder.chmod(0o711)  # the embedded database of a root's run belongs to another user
    try:
        return Run(case, folder).go()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def starved(result: dict[str, Any]) -> bool:
    return bool(result["host_starved_s"] > VOID_SHARE * result["seconds"])


def write(folder: Path, runs: dict[str, dict[str, Any]], void: int) -> None:
    """campaign.json and campaign.md; cases that were not run now keep what an earlier run found, with its date."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "campaign.json"
    before = json.loads(file.read_text(encoding="utf-8"))["figures"] if file.exists() else {}
    today = datetime.now(UTC).date().isoformat()
    fresh = {
        name: {
            **result["faults"][0],
            **{
                key: result[key] for key in ("recorded", "false_incidents", "host_starved_s", "started_s", "memory_mib")
            },
            "date": today,
        }
        for name, result in runs.items()
    }
    figures = {case.name: (before | fresh)[case.name] for case in CASES if case.name in before | fresh}
    record = {
        "figures": figures,
        "void_runs": void,
        "baselines": {"without Tonewatch": "the supervisor's own restarts are off: the channel stays silent"},
        "goals": {"impact_ended_s": "must be at most 60, goal 30", "verdict": "worked", "false_incidents": 0},
        "data": "soundstage, 2 channels, 20 players, real time",
        "seed": {case.name: case.seed for case in CASES if case.name in figures},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": today,
    }
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (folder / "campaign.md").write_text(page(record), encoding="utf-8")


def page(record: dict[str, Any]) -> str:
    """The same for people."""
    head = [
        "run",
        "detected after s",
        "cause",
        "impact ended after s",
        "verdict",
        "controlled",
        "listener-minutes lost",
    ]
    head += ["false incidents", "starved s", "runs in Prefect"]
    cell: list[Callable[[str, dict[str, Any]], Any]] = [
        lambda name, fault: name,
        lambda name, fault: fault["detected_s"],
        lambda name, fault: fault["cause_named"],
        lambda name, fault: fault["impact_ended_s"],
        lambda name, fault: fault["verdict"],
        lambda name, fault: fault["controlled"],
        lambda name, fault: fault["listener_minutes_lost"],
        lambda name, fault: fault["false_incidents"],
        lambda name, fault: fault["host_starved_s"],
        lambda name, fault: ", ".join(f"{flow} {count}" for flow, count in fault["recorded"].items()),
    ]
    lines = [
        "# Campaign",
        "",
        f"{record['data']}; {record['machine']}; {record['date']}; void runs repeated: {record['void_runs']}.",
        "Made by `make campaign`.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for name, fault in record["figures"].items():
        lines.append("| " + " | ".join(str(show(name, fault)) for show in cell) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
